/** Replicas over the raw binding: what the tests of the native core are written against. */
import Database from "better-sqlite3";
import { extensionPath, type MergeResult, native } from "../../src/native.ts";

export interface RawReplica {
  db: Database.Database;
  handle: number;
  peerId: number;
}

/** A call that takes all the time it needs. */
export const patiently = 60_000;

export function handleOf(db: Database.Database): number {
  db.loadExtension(extensionPath);
  return Number(db.prepare("SELECT mergelite_handle()").pluck().get());
}

/** Loads the extension and opens the file as a replica. */
export function attachRaw(db: Database.Database): RawReplica {
  const handle = handleOf(db);
  const { peerId } = native.open(handle, "", "", () => {});
  return { db, handle, peerId };
}

/** Opens a file (or `:memory:`), runs `schema`, and replicates `tables`. */
export function openRaw(file: string, schema: string, tables: readonly string[]): RawReplica {
  const db = new Database(file);
  if (file !== ":memory:") db.pragma("journal_mode = WAL");
  db.exec(schema);
  const replica = attachRaw(db);
  native.replicateAll(replica.handle, tables);
  return replica;
}

export interface Progress {
  peerId: number;
  held: number;
  merged: number;
}

export function progressOf(replica: RawReplica): Progress[] {
  const flat = native.vector(replica.handle);
  const list: Progress[] = [];
  for (let i = 0; i < flat.length; i += 3) {
    list.push({ peerId: flat[i] ?? 0, held: flat[i + 1] ?? 0, merged: flat[i + 2] ?? 0 });
  }
  return list;
}

export function heldOf(replica: RawReplica, peerId: number): number {
  return progressOf(replica).find((one) => one.peerId === peerId)?.held ?? 0;
}

/** All changesets `from` holds of `origin` after `after`, as records. */
export function recordsOf(from: RawReplica, origin: number, after = 0): Uint8Array {
  return native.readLog(from.handle, origin, after + 1, 2 ** 40 - 1, 2 ** 30);
}

/**
 * Merges records completely, calling again as long as there is more, or while a trigger says
 * RAISE(ROLLBACK).
 */
export function mergeAll(to: RawReplica, records: Uint8Array): MergeResult {
  let offset = 0;
  for (let undone = 0; ; ) {
    const result = native.merge(to.handle, records, offset, patiently);
    if (result.busy && !to.db.inTransaction && undone++ < 100) continue;
    if (result.busy || result.unknownShapes.length > 0 || !result.more) return result;
    if (result.consumed === offset) maintainAll(to);
    offset = result.consumed;
  }
}

export function maintainAll(replica: RawReplica): MergeResult {
  for (;;) {
    const result = native.maintain(replica.handle, patiently);
    if (result.busy || !result.more) return result;
  }
}

export function teachShapes(from: RawReplica, to: RawReplica): void {
  native.learnShapes(to.handle, native.shapes(from.handle, 0).descriptors);
}

/** Brings `to` everything `from` has, origin by origin. */
export function pull(from: RawReplica, to: RawReplica): void {
  teachShapes(from, to);
  for (const { peerId, held } of progressOf(from)) {
    const known = heldOf(to, peerId);
    if (peerId === to.peerId || held <= known) continue;
    mergeAll(to, recordsOf(from, peerId, known));
  }
}

/** Of every origin the next changesets that `from` has and `to` has not, as far as shapes are known. */
export function deliver(from: RawReplica, to: RawReplica, changesets: number): void {
  for (const { peerId, held } of progressOf(from)) {
    const first = heldOf(to, peerId) + 1;
    if (peerId === to.peerId || held < first) continue;
    const last = Math.min(first + changesets - 1, held);
    mergeAll(to, native.readLog(from.handle, peerId, first, last, 2 ** 30));
  }
}

/** Exchanges everything between all replicas. */
export function converge(replicas: readonly RawReplica[]): void {
  for (let round = 0; round < 2; round++) {
    for (const to of replicas) {
      for (const from of replicas) if (from !== to) pull(from, to);
      maintainAll(to);
    }
  }
}

export const quoted = (name: string): string => `"${name.replaceAll('"', '""')}"`;

/**
 * A query for every row of a table as text that differs whenever a value or its type does. Bytes are
 * compared as well: `quote()` ends a text at its first NUL.
 */
export function dumpQuery(db: Database.Database, table: string): Database.Statement {
  const columns = db.prepare("SELECT name FROM pragma_table_xinfo(?)").all(table) as {
    name: string;
  }[];
  const shown = columns.map(({ name }) => {
    const column = quoted(name);
    const bytes = `hex(CAST(${column} AS BLOB))`;
    return `typeof(${column}) || ' ' || quote(${column}) || iif(typeof(${column}) = 'text', ' ' || ${bytes}, '')`;
  });
  return db.prepare(`SELECT ${shown.join(", ")} FROM ${quoted(table)}`).raw();
}

export function dump(db: Database.Database, table: string): string[] {
  return dumpWith(dumpQuery(db, table));
}

export function dumpWith(query: Database.Statement): string[] {
  const rows = query.all() as string[][];
  return rows.map((row) => row.join(" | ")).sort();
}
