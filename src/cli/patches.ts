/** The patches of one table, for `mergelite log --table`. */

import { wallMsOf } from "../log/timestamp.ts";
import { type Changeset, rangesOf } from "./changesets.ts";
import { type Database, quoteName } from "./database.ts";
import { formatTimestamp } from "./timestamp.ts";
import { toJsonValue, toLiteral } from "./values.ts";

export interface PatchLine {
  readonly cells: string[];
  readonly json: unknown;
}

/** Patches of `table` in these changesets, in the changesets' order. */
export function patchesOf(
  db: Database.Database,
  table: string,
  changesets: readonly Changeset[],
): PatchLine[] {
  const linesByToken = new Map<string, PatchLine[]>();
  for (const { peerId, sequence } of changesets) linesByToken.set(`${peerId}.${sequence}`, []);
  const columns = columnsOf(db, table);
  const select = db.prepare(
    `SELECT *, _op, _columns FROM ${quoteName(`${table}_patches`)}
     WHERE _peerId = ? AND _sequenceId >= ?`,
  );
  // A value of 64 bits must not lose its last digits.
  select.safeIntegers();
  for (const { peerId, first, last } of rangesOf(changesets)) {
    for (const patch of select.iterate(peerId, first) as IterableIterator<Patch>) {
      if (patch._sequenceId > last) break;
      linesByToken.get(`${peerId}.${patch._sequenceId}`)?.push(toLine(patch, columns));
    }
  }
  return [...linesByToken.values()].flat();
}

interface Patch extends Record<string, unknown> {
  readonly _patchedAt: bigint;
  readonly _sequenceId: bigint;
  readonly _peerId: bigint;
  readonly _op: string;
  readonly _columns: string;
}

interface Columns {
  readonly keys: readonly string[];
  /** Of a column that its origin may know by an earlier name; `undefined` when it is not here. */
  readonly nameOf: (name: string) => string | undefined;
}

function columnsOf(db: Database.Database, table: string): Columns {
  const names = db.prepare("SELECT name FROM pragma_table_xinfo(?, 'main')").pluck();
  const keys = db
    .prepare("SELECT name FROM pragma_table_xinfo(?, 'main') WHERE pk > 0 ORDER BY pk")
    .pluck()
    .all(table) as string[];
  const known = db.prepare(
    `SELECT lower(c.name) AS name, c.id FROM main._mergelite_columns AS c
     JOIN main._mergelite_tables AS t ON t.id = c.table_id WHERE t.name = ?`,
  );
  const ids = new Map(
    (known.all(table) as { name: string; id: number }[]).map(({ name, id }) => [name, id]),
  );
  const namesById = new Map<number | undefined, string>();
  const namesNow = new Map<string, string>();
  for (const name of names.all(table) as string[]) {
    namesNow.set(lowered(name), name);
    const id = ids.get(lowered(name));
    if (id !== undefined) namesById.set(id, name);
  }
  const nameOf = (name: string) =>
    namesNow.get(lowered(name)) ?? namesById.get(ids.get(lowered(name)));
  return { keys, nameOf };
}

/** As SQLite compares names. */
function lowered(name: string): string {
  return name.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
}

function toLine(patch: Patch, { keys, nameOf }: Columns): PatchLine {
  const wallMs = wallMsOf(Number(patch._patchedAt));
  const named = (JSON.parse(patch._columns) as string[]).map((name) => nameOf(name) ?? name);
  const set = [...new Set(named)].filter((name) => !keys.includes(name));
  const assign = (name: string) =>
    Object.hasOwn(patch, name)
      ? `${name} = ${toLiteral(patch[name])}`
      : `${name} (no such column here)`;
  return {
    cells: [
      formatTimestamp(wallMs),
      `${patch._peerId}.${patch._sequenceId}`,
      patch._op,
      keys.map(assign).join(", "),
      set.map(assign).join(", "),
    ],
    json: {
      peerId: Number(patch._peerId),
      sequence: Number(patch._sequenceId),
      timestamp: Number(patch._patchedAt),
      wallTime: wallMs === undefined ? null : new Date(wallMs).toISOString(),
      operation: patch._op,
      key: pick(patch, keys),
      values: pick(patch, set),
    },
  };
}

function pick(patch: Patch, names: readonly string[]): Record<string, unknown> {
  const here = names.filter((name) => Object.hasOwn(patch, name));
  return Object.fromEntries(here.map((name) => [name, toJsonValue(patch[name])]));
}
