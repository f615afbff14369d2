/**
 * The merge rules as naively as they can be put. Stamps order all changesets in one line, and every
 * register keeps the newest write: so the tables are what one gets by running all patches in the
 * order of their stamps, on one row at a time. An insert sets the whole row, an update touches a row
 * that is there, a delete removes it.
 */
import type Database from "better-sqlite3";
import { quoted, type RawReplica } from "../support/replica.ts";
import type { TableSpec } from "./schema.ts";

type Row = Map<string, unknown>;

interface LoggedPatch {
  timestamp: bigint;
  peerId: bigint;
  position: number;
  operation: string;
  /** What the key is, whatever its spelling. */
  identity: string;
  values: Row;
  columns: string[];
}

/** A table's rows, each as one JSON text, as the model has them. */
export function modelRows(replicas: readonly RawReplica[], table: TableSpec): string[] {
  const patches = replicas.flatMap((replica) => readPatches(replica, table));
  patches.sort(
    (a, b) =>
      compare(a.timestamp, b.timestamp) || compare(a.peerId, b.peerId) || a.position - b.position,
  );
  const rows = new Map<string, Row>();
  for (const patch of patches) {
    if (patch.operation === "insert") rows.set(patch.identity, new Map(patch.values));
    if (patch.operation === "delete") rows.delete(patch.identity);
    const row = rows.get(patch.identity);
    if (patch.operation !== "update" || row === undefined) continue;
    for (const column of patch.columns) row.set(column, patch.values.get(column));
  }
  return [...rows.values()].map(rowText).sort();
}

/** The same text for what a replica's table holds. */
export function tableRows(db: Database.Database, table: string): string[] {
  const rows = db
    .prepare(`SELECT * FROM ${quoted(table)}`)
    .safeIntegers()
    .all();
  return rows.map((row) => rowText(new Map(Object.entries(row as object)))).sort();
}

/** Every origin's own changesets, as its own companion shows them. */
function readPatches({ db, peerId }: RawReplica, { name, keys, nocase }: TableSpec): LoggedPatch[] {
  const rows = db
    .prepare(
      `SELECT *, _op, _columns FROM ${quoted(`${name}_patches`)} WHERE _peerId = ? ORDER BY _sequenceId, _patch`,
    )
    .safeIntegers()
    .all(peerId) as Record<string, unknown>[];
  return rows.map((row, position) => {
    const { _patchedAt, _peerId, _sequenceId, _op, _columns, ...values } = row;
    return {
      timestamp: _patchedAt as bigint,
      peerId: _peerId as bigint,
      position,
      operation: String(_op),
      identity: JSON.stringify(keys.map((key) => identityPart(values[key], nocase === true))),
      values: new Map(Object.entries(values)),
      columns: JSON.parse(String(_columns)) as string[],
    };
  });
}

function identityPart(value: unknown, nocase: boolean): string {
  const whole = typeof value === "number" && Number.isInteger(value);
  const text = valueText(whole ? BigInt(value) : value);
  // SQLite folds ASCII only.
  return nocase ? text.replace(/[A-Z]/g, (letter) => letter.toLowerCase()) : text;
}

function rowText(row: Row): string {
  return [...row].map(([name, value]) => `${name}=${valueText(value)}`).join(" ");
}

function valueText(value: unknown): string {
  if (typeof value === "bigint") return `i${value}`;
  if (typeof value === "number") return Object.is(value, -0) ? "r-0" : `r${value}`;
  if (Buffer.isBuffer(value)) return `x${value.toString("hex")}`;
  return JSON.stringify(value);
}

function compare(a: bigint, b: bigint): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
