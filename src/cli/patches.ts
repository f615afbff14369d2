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
  const keys = db
    .prepare("SELECT name FROM pragma_table_xinfo(?, 'main') WHERE pk > 0 ORDER BY pk")
    .pluck()
    .all(table) as string[];
  const select = db.prepare(
    `SELECT *, _op, _columns FROM ${quoteName(`${table}_patches`)}
     WHERE _peerId = ? AND _sequenceId >= ?`,
  );
  // A value of 64 bits must not lose its last digits.
  select.safeIntegers();
  for (const { peerId, first, last } of rangesOf(changesets)) {
    for (const patch of select.iterate(peerId, first) as IterableIterator<Patch>) {
      if (patch._sequenceId > last) break;
      linesByToken.get(`${peerId}.${patch._sequenceId}`)?.push(toLine(patch, keys));
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

function toLine(patch: Patch, keys: readonly string[]): PatchLine {
  const wallMs = wallMsOf(Number(patch._patchedAt));
  const names = JSON.parse(patch._columns) as string[];
  const set = names.filter((name) => !keys.includes(name));
  const assign = (name: string) => `${name} = ${toLiteral(patch[name])}`;
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
  return Object.fromEntries(names.map((name) => [name, toJsonValue(patch[name])]));
}
