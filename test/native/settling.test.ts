/**
 * Withheld rows are tried again when what kept them out has changed, and not whenever something is
 * merged: counted, with hundreds of them and small merges.
 */
import { expect, it } from "vitest";
import { native } from "../../src/native.ts";
import { closedAfterEach } from "../support/databases.ts";
import { temporaryFolder } from "../support/folder.ts";
import {
  maintainAll,
  mergeAll,
  openRaw,
  patiently,
  type RawReplica,
  recordsOf,
} from "../support/replica.ts";
import { transferState, trimAll } from "../support/state.ts";

const open = closedAfterEach();

const rows = 300;
const loose = "CREATE TABLE IF NOT EXISTS item (id INTEGER PRIMARY KEY, u, n)";
const unique = "CREATE TABLE IF NOT EXISTS item (id INTEGER PRIMARY KEY, u UNIQUE, n NOT NULL)";

const folder = temporaryFolder();

function replica(sql: string, file = ":memory:"): RawReplica {
  const made = openRaw(file, sql, ["item"]);
  open.push(made.db);
  return made;
}

/** Writes a row a commit, `from` and up. */
function write({ db }: RawReplica, from: number, n: number | null = 0): void {
  const insert = db.prepare("INSERT INTO item VALUES (?, ?, ?)");
  for (let i = 0; i < rows; i++) insert.run(from + i, i, n);
}

/** Merges what `from` has written after a sequence, a changeset at a time. */
function mergeSingly(to: RawReplica, from: RawReplica, after = 0): void {
  for (let sequence = after + 1; ; sequence++) {
    const record = native.readLog(from.handle, from.peerId, sequence, sequence, 1);
    if (record.length === 0) return;
    mergeAll(to, record);
  }
}

const tries = ({ handle }: RawReplica) => native.counters(handle).withheldTries;
const shown = ({ db }: RawReplica) =>
  db.prepare("SELECT count(*), total(id >= 1000) FROM item").raw().get();

it("tries a younger row once, and once more when the older one is gone", () => {
  const [old, young, here] = [replica(loose), replica(loose), replica(unique)];
  write(old, 0);
  write(young, 1000);
  mergeSingly(here, old);
  mergeSingly(here, young);
  expect(shown(here)).toEqual([rows, 0]);
  expect(tries(here)).toBeLessThanOrEqual(2 * rows);
  const before = tries(here);
  for (let i = 0; i < rows; i++) old.db.prepare("DELETE FROM item WHERE id = ?").run(i);
  mergeSingly(here, old, rows);
  expect(shown(here)).toEqual([rows, rows]);
  expect(tries(here) - before).toBeLessThanOrEqual(2 * rows);
});

it("withholds younger rows that were there first with as few tries", () => {
  const [old, young, here] = [replica(loose), replica(loose), replica(unique)];
  write(old, 0);
  write(young, 1000);
  mergeSingly(here, young);
  mergeSingly(here, old);
  expect(shown(here)).toEqual([rows, 0]);
  expect(tries(here)).toBeLessThanOrEqual(4 * rows);
});

it("looks at what this peer writes itself", () => {
  const [old, young, here] = [replica(loose), replica(loose), replica(unique)];
  write(old, 0);
  write(young, 1000);
  mergeSingly(here, old);
  mergeSingly(here, young);
  maintainAll(here);
  const before = tries(here);
  here.db.exec("UPDATE item SET u = -id - 1 WHERE id < 10");
  maintainAll(here);
  expect(shown(here)).toEqual([rows + 10, 10]);
  expect(tries(here) - before).toBeLessThanOrEqual(20);
  // Values that are taken again are not looked for.
  here.db.exec("UPDATE item SET n = n + 1");
  maintainAll(here);
  expect(tries(here) - before).toBeLessThanOrEqual(20 + 2 * rows);
});

it("leaves rows alone that lack a value until they get one", () => {
  const [there, here] = [replica(loose), replica(unique)];
  write(there, 0, null);
  mergeSingly(here, there);
  expect(shown(here)).toEqual([0, 0]);
  expect(tries(here)).toBeLessThanOrEqual(2 * rows);
  const before = tries(here);
  there.db.exec("UPDATE item SET n = 1 WHERE id = 7");
  mergeSingly(here, there, rows);
  expect(shown(here)).toEqual([1, 0]);
  expect(tries(here) - before).toBeLessThanOrEqual(2);
});

it("tries rows of state once, however small the chunks are", () => {
  const [old, young, here] = [replica(loose), replica(loose), replica(unique)];
  write(old, 0);
  write(young, 1000);
  mergeAll(old, recordsOf(young, young.peerId));
  maintainAll(old);
  trimAll(old);
  expect(transferState(old, here, { bytesMax: 200 }).complete).toBe(true);
  expect(shown(here)).toEqual([rows, 0]);
  expect(tries(here)).toBeLessThanOrEqual(2 * rows);
});

it("tries all again once after another connection has written", () => {
  const [old, young] = [replica(loose), replica(loose)];
  const file = folder.file();
  const here = replica(unique, file);
  write(old, 0);
  write(young, 1000);
  mergeAll(here, recordsOf(old, old.peerId));
  mergeAll(here, recordsOf(young, young.peerId));
  const other = replica(unique, file);
  other.db.exec("DELETE FROM item WHERE id < 10");
  maintainAll(other);
  const before = tries(here);
  young.db.exec("DELETE FROM item WHERE id >= 1200");
  mergeSingly(here, young, rows);
  expect(shown(here)).toEqual([rows, 10]);
  expect(tries(here) - before).toBeLessThanOrEqual(rows + 10);
});

it("tries all again when the schema has changed", () => {
  const [old, young, here] = [replica(loose), replica(loose), replica(unique)];
  write(old, 0);
  write(young, 1000);
  mergeAll(here, recordsOf(old, old.peerId));
  mergeAll(here, recordsOf(young, young.peerId));
  const before = tries(here);
  here.db.exec("CREATE INDEX by_n ON item (n)");
  while (native.maintain(here.handle, patiently).more);
  expect(tries(here) - before).toBe(rows);
});

it("remembers nothing where a trigger of the application's may fire", () => {
  const [old, young, here] = [replica(loose), replica(loose), replica(unique)];
  here.db.exec(`
    CREATE TABLE told (id);
    CREATE TRIGGER tell AFTER DELETE ON item BEGIN INSERT INTO told VALUES (old.id); END`);
  write(old, 0);
  write(young, 1000);
  mergeAll(here, recordsOf(old, old.peerId));
  mergeAll(here, recordsOf(young, young.peerId));
  expect(shown(here)).toEqual([rows, 0]);
  const before = tries(here);
  old.db.exec("DELETE FROM item WHERE id = 5");
  mergeSingly(here, old, rows);
  expect(shown(here)).toEqual([rows, 1]);
  expect(tries(here) - before).toBe(rows);
});
