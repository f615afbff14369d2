/** Row clocks as text that is the same on every file: `docs/format.md` says how they are stored. */
import type Database from "better-sqlite3";
import { quoted } from "../support/replica.ts";

/** Where timestamps count from, by `docs/format.md`. */
const epochMs = Date.UTC(2025, 0, 1);

export interface RowClockView {
  nameOf(peerId: number): number;
  /** Clocks of what died before may be gone, at some peers earlier than at others. */
  readonly horizonMs: number;
}

/**
 * Every row clock in the file, folded before; peers as `view` names their ids, and columns by name.
 * Clocks may know of columns that the table had once, or not: not all peers have had them.
 */
export function rowClocks(db: Database.Database, table: string, view: RowClockView): string[] {
  const origins = db.prepare("SELECT ordinal, peer FROM _mergelite_origins").raw().all();
  const peers = new Map(
    (origins as [number, number][]).map(([ordinal, peer]) => [ordinal, view.nameOf(peer)]),
  );
  const columns = new Map(
    db
      .prepare(
        `SELECT id, name FROM _mergelite_columns WHERE table_id =
           (SELECT id FROM _mergelite_tables WHERE name = ?)
           AND name IN (SELECT name FROM pragma_table_info(?))`,
      )
      .raw()
      .all(table, table) as [number, string][],
  );
  const keys = db
    .prepare("SELECT name FROM pragma_table_info(?) WHERE pk > 0 ORDER BY pk")
    .pluck()
    .all(table) as string[];
  const key = keys.map((name) => `quote(${quoted(name)})`).join(" || ', ' || ");
  const rows = db
    .prepare(`SELECT ${key}, _mergelite_clock FROM ${quoted(`_mergelite_clock_${table}`)}`)
    .raw()
    .all() as [string, Buffer][];
  // Floors are told in whole milliseconds, and lie within one.
  const horizon = view.horizonMs > epochMs ? (view.horizonMs - epochMs + 1) * 8192 : 0;
  return rows
    .map(([name, clock]) => ({ name, ...readClock(clock, { peers, columns, horizon }) }))
    .filter(({ isAlive, newest }) => isAlive || newest >= horizon)
    .map(({ name, text }) => `${name}: ${text}`)
    .sort();
}

interface ReadView {
  readonly peers: ReadonlyMap<number, number>;
  readonly columns: ReadonlyMap<number, string>;
  readonly horizon: number;
}

function readClock(
  clock: Buffer,
  { peers, columns, horizon }: ReadView,
): { text: string; isAlive: boolean; newest: number } {
  const flags = clock.readUInt8(0);
  const parts: string[] = [];
  let at = 1;
  const varint = () => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = clock.readUInt8(at++);
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
  };
  const peer = () => peers.get(varint()) ?? "?";
  let life = 0;
  let newest = 0;
  if ((flags & 1) !== 0) {
    life = clock.readUIntLE(1, 6) + clock.readUInt8(7) * 2 ** 48;
    at = 8;
    newest = life;
    const isAlive = (flags & 2) !== 0;
    const name = peer();
    // What has died before is as if it had never been, for columns that wait for the row.
    if (isAlive || life >= horizon) parts.push(`${isAlive ? "alive" : "dead"} ${life}@${name}`);
  }
  while (at < clock.byteLength) {
    const column = columns.get(varint());
    const timestamp = life + varint();
    newest = Math.max(newest, timestamp);
    const name = peer();
    if (column !== undefined) parts.push(`${column} ${timestamp}@${name}`);
  }
  const text = [...parts.slice(0, 1), ...parts.slice(1).sort()].join(", ");
  return { text, isAlive: (flags & 3) === 3, newest };
}
