/**
 * What every run of every scenario shares: one schema, the file a run starts from, peers that wrote
 * before, between and after it, and what has to hold once SQLite works again.
 */
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import Database from "better-sqlite3";
import { expect } from "vitest";
import { native } from "../../src/native.ts";
import {
  attachRaw,
  dump,
  heldOf,
  maintainAll,
  openRaw,
  progressOf,
  pull,
  type RawReplica,
} from "../support/replica.ts";
import { horizonOf, transferState } from "../support/state.ts";

export const tables = ["item", "word", "uni", "touched", "child", "spare"] as const;
export const schema = `
  CREATE TABLE item (id INTEGER PRIMARY KEY, a TEXT DEFAULT 'none', b BLOB, c REAL);
  CREATE TABLE word (k TEXT COLLATE NOCASE PRIMARY KEY, v) WITHOUT ROWID;
  CREATE TABLE uni (id INTEGER PRIMARY KEY, name TEXT UNIQUE, n INT CHECK (n >= 0));
  CREATE TABLE touched (id INTEGER PRIMARY KEY, a, n INTEGER DEFAULT 0);
  CREATE TRIGGER touched_update AFTER UPDATE OF a ON touched WHEN NOT mergelite_merging()
    BEGIN UPDATE touched SET n = coalesce(n, 0) + 1 WHERE id = NEW.id; END;
  CREATE TABLE child (id INTEGER PRIMARY KEY, item INTEGER REFERENCES item (id) ON DELETE CASCADE);
  CREATE TABLE spare (id INTEGER PRIMARY KEY);
  CREATE TABLE later (id INTEGER PRIMARY KEY, v);
  CREATE TABLE plain (id INTEGER PRIMARY KEY, v);
`;
const rows = `
  INSERT INTO item VALUES (1, 'a', x'01', 1.5), (2, 'b', x'02', 2.5), (3, 'c', x'03', 3), (4, 'd', NULL, 4);
  INSERT INTO word VALUES ('One', 1), ('Two', 2), ('Three', 3);
  INSERT INTO uni VALUES (1, 'x', 1), (2, 'y', 2), (3, 'z', 3);
  INSERT INTO touched VALUES (1, 'p', 0), (2, 'q', 0);
  INSERT INTO child VALUES (1, 1), (2, 1), (3, 2);
  INSERT INTO spare VALUES (1);
  INSERT INTO later VALUES (1, 'early'), (2, zeroblob(40)), (3, 'third');
`;

const startMs = Date.UTC(2026, 0, 1);
/** Seconds at which the peers write; the run itself is at 20. */
const second = (count: number) => startMs + count * 1000;
export const nowMs = second(20);

/** Writes of a peer on the rows that scenarios write too. */
function writeOn(replica: RawReplica, atSecond: number, name: string): void {
  native.setClock(replica.handle, second(atSecond));
  replica.db.exec(`
    UPDATE item SET a = '${name}' WHERE id IN (1, 2);
    UPDATE item SET c = ${atSecond} WHERE id = 3;
    DELETE FROM item WHERE id = 4;
    INSERT OR REPLACE INTO item VALUES (5, '${name}', x'05', 5), (${100 + atSecond}, '${name}', NULL, 0);
    UPDATE word SET v = '${name}' WHERE k = 'two';
    INSERT OR REPLACE INTO word VALUES ('FOUR', '${name}');
    INSERT OR IGNORE INTO uni VALUES (${10 + atSecond}, 'taken', ${atSecond}), (4, '${name}', 4);
    UPDATE touched SET a = '${name}' WHERE id = 2;
    DELETE FROM child WHERE id = 3;
  `);
}

export interface Stage {
  /** What a subject merges in its scenario. */
  remote: RawReplica;
  /** The file every run starts from. */
  image: Buffer;
  /** A replica in memory that has heard of nothing since the beginning. */
  observe: () => RawReplica;
  /** Concurrent peers: one wrote before the run, one after it, and one in between. */
  early: RawReplica;
  after: RawReplica;
  between: RawReplica;
}

export interface StageOptions {
  file: string;
  journal: "WAL" | "DELETE";
  /** What the remote peer and the subject do before the run. */
  remotely: (remote: RawReplica) => void;
  prepare: (subject: RawReplica, remote: RawReplica) => void;
}

export function makeStage({ file, journal, remotely, prepare }: StageOptions): Stage {
  const origin = openRaw(":memory:", "SELECT 1", []);
  native.setClock(origin.handle, startMs);
  origin.db.exec(schema);
  for (const table of tables) native.replicate(origin.handle, table);
  origin.db.exec(rows);
  const start = () => {
    const replica = openRaw(":memory:", schema, tables);
    native.setClock(replica.handle, startMs);
    pull(origin, replica);
    return replica;
  };
  const remote = start();
  native.setClock(remote.handle, second(10));
  remotely(remote);
  const peers = [
    [5, "early"],
    [30, "after"],
    [15, "between"],
  ] as const;
  const [early, after, between] = peers.map(([atSecond, name]) => {
    const peer = start();
    writeOn(peer, atSecond, name);
    return peer;
  }) as [RawReplica, RawReplica, RawReplica];
  const subject = openRaw(file, schema, tables);
  if (journal === "DELETE") subject.db.pragma("journal_mode = DELETE");
  native.setClock(subject.handle, second(1));
  pull(origin, subject);
  subject.db.exec("INSERT INTO later VALUES (1, 'early'), (2, zeroblob(40)), (3, 'third')");
  prepare(subject, remote);
  native.close(subject.handle);
  subject.db.close();
  const blank = openRaw(":memory:", schema, tables);
  const blankImage = blank.db.serialize();
  blank.db.close();
  const observe = () => {
    const observer = attachRaw(new Database(blankImage));
    native.setClock(observer.handle, second(300));
    return observer;
  };
  return { remote, image: readFileSync(file), observe, early, after, between };
}

function atTime(replica: RawReplica): RawReplica {
  native.setClock(replica.handle, nowMs);
  return replica;
}

/** The file as every run finds it; without an image, as it is. */
export function openSubject(file: string, image: Buffer | undefined): Database.Database {
  if (image !== undefined) {
    for (const end of ["-wal", "-shm", "-journal"]) rmSync(file + end, { force: true });
    writeFileSync(file, image);
  }
  const db = new Database(file, { timeout: 0 });
  db.pragma("foreign_keys = ON");
  return db;
}

export function attachSubject(db: Database.Database): RawReplica {
  return atTime(attachRaw(db));
}

const replicated = (replica: RawReplica) => {
  const names = new Set([...tables, "later"] as string[]);
  return native.tables(replica.handle).filter((name) => names.has(name));
};

export function dumpAll(db: Database.Database, names: readonly string[]): string[][] {
  return names.map((name) => [name, ...dump(db, name)]);
}

/** Nothing is damaged, and the connection is as its user left it. */
function expectSound({ db }: RawReplica): void {
  const problems = db.prepare("PRAGMA integrity_check").pluck().all() as string[];
  // Merged rows may violate a CHECK: that is shown and reported, not refused.
  const damage = problems.filter((text) => text !== "ok" && !text.startsWith("CHECK constraint"));
  expect(damage).toEqual([]);
  const settings = ["ignore_check_constraints", "foreign_keys", "recursive_triggers"];
  expect(settings.map((name) => db.pragma(name, { simple: true }))).toEqual([0, 1, 0]);
}

const columnNames = (db: Database.Database, table: string) =>
  db.prepare("SELECT name FROM pragma_table_info(?)").pluck().all(table) as string[];

/** Whoever replays this replica's log has its rows. */
export function expectLogAndTablesAgree(subject: RawReplica, observer: RawReplica): void {
  expectSound(subject);
  const names = replicated(subject);
  for (const name of names) native.replicate(observer.handle, name);
  if (columnNames(subject.db, "item").length > columnNames(observer.db, "item").length) {
    observer.db.exec("ALTER TABLE item ADD COLUMN d DEFAULT 'dd'");
  }
  // By now the time of what came too early has come.
  native.setClock(subject.handle, second(180));
  maintainAll(subject);
  const horizon = horizonOf(subject);
  if ([...horizon].some(([peerId, last]) => heldOf(observer, peerId) < last)) {
    transferState(subject, observer);
  }
  pull(subject, observer);
  maintainAll(observer);
  for (const { held, merged } of progressOf(observer)) expect(merged).toBe(held);
  expect(dumpAll(observer.db, names)).toEqual(dumpAll(subject.db, names));
}

/** The subject merges what everyone wrote, and so does the observer, in another order. */
export function expectConvergence(
  subject: RawReplica,
  observer: RawReplica,
  peers: readonly RawReplica[],
): void {
  for (const peer of peers) pull(peer, subject);
  maintainAll(subject);
  for (const peer of peers.toReversed()) pull(peer, observer);
  expectLogAndTablesAgree(subject, observer);
  const vectorOf = (replica: RawReplica) =>
    new Map(progressOf(replica).map(({ peerId, held }) => [peerId, held]));
  const [here, there] = [vectorOf(subject), vectorOf(observer)];
  for (const [peerId, held] of there)
    expect([peerId, here.get(peerId) ?? 0]).toEqual([peerId, held]);
}

/** A statement of ours that nobody finalized keeps the connection, and its WAL, alive. */
export function closeForGood(db: Database.Database, file: string): void {
  db.close();
  expect(existsSync(`${file}-wal`)).toBe(false);
  expect(existsSync(`${file}-journal`)).toBe(false);
}
