/**
 * State where a replica knows of no row is written many rows at a time. Where a trigger of the
 * user's exists, if only on another table, it is merged patch by patch: both have to end the same.
 */
import { expect, it } from "vitest";
import { native } from "../../src/native.ts";
import { closedAfterEach } from "../support/databases.ts";
import { dump, mergeAll, openRaw, pull, type RawReplica, recordsOf } from "../support/replica.ts";
import { transferState, trimAll } from "../support/state.ts";

const open = closedAfterEach();

const tables = ["item", "word"];
const loose = `
  CREATE TABLE item (id INTEGER PRIMARY KEY, a, b, u);
  CREATE TABLE word (k TEXT PRIMARY KEY COLLATE NOCASE NOT NULL, n);`;
const strict = `
  CREATE TABLE item (id INTEGER PRIMARY KEY, a CHECK (a IS NOT 'bad'), b NOT NULL DEFAULT 'none',
    u UNIQUE, later DEFAULT 'later');
  CREATE TABLE word (k TEXT PRIMARY KEY COLLATE NOCASE NOT NULL, n);`;
let clockMs = Date.UTC(2026, 0, 1);

function replica(sql: string): RawReplica {
  const made = openRaw(":memory:", sql, tables);
  open.push(made.db);
  native.setClock(made.handle, clockMs);
  return made;
}

function later(...replicas: RawReplica[]): void {
  clockMs += 10;
  for (const { handle } of replicas) native.setClock(handle, clockMs);
}

/** Rows inserted, changed later, deleted, parked without their insert, at odds with constraints. */
function source(): RawReplica {
  const [here, other] = [replica(loose), replica(loose)];
  const insert = here.db.prepare("INSERT INTO item VALUES (?, ?, ?, ?)");
  for (let i = 1; i <= 1500; i++) {
    insert.run(i, i % 100 === 7 ? "bad" : `a${i}`, i % 9 === 0 ? null : i / 4, i % 1450);
  }
  const word = here.db.prepare("INSERT INTO word VALUES (?, ?)");
  for (let i = 0; i < 300; i++) word.run(`Word ${i}`, Buffer.from([i & 255]));
  later(here, other);
  pull(here, other);
  other.db.exec("INSERT INTO item VALUES (5000, 1, 2, 5000)");
  later(here, other);
  other.db.exec(`
    UPDATE item SET a = 'changed' WHERE id % 5 = 0;
    UPDATE item SET a = 'again', b = id WHERE id % 10 = 0;
    UPDATE word SET n = NULL WHERE k LIKE '%7'`);
  pull(other, here);
  later(here, other);
  here.db.exec("DELETE FROM item WHERE id % 11 = 0; DELETE FROM word WHERE k LIKE '%3'");
  // The insert of 6000 is never merged here, its update is.
  const lost = replica(loose);
  lost.db.exec("INSERT INTO item VALUES (6000, 1, 2, 6000)");
  const second = replica(loose);
  pull(lost, second);
  later(here, second);
  second.db.exec("UPDATE item SET a = 'waits' WHERE id = 6000");
  native.learnShapes(here.handle, native.shapes(second.handle, 0).descriptors);
  mergeAll(here, recordsOf(second, second.peerId));
  trimAll(here);
  return here;
}

function everything({ db }: RawReplica): unknown[] {
  const parked = "SELECT table_name, key, peer, timestamp, reason, shape, patch";
  return [
    ...tables.map((table) => dump(db, table)),
    ...tables.map((table) => dump(db, `_mergelite_clock_${table}`)),
    db.prepare("SELECT peer, held, merged, folded, trimmed FROM _mergelite_origins").all().slice(1),
    db.prepare(`${parked} FROM _mergelite_parked ORDER BY 1, 2, 3, 4, 5`).raw().all(),
  ];
}

it.each([
  { name: "of one schema", sql: loose, bytesMax: 1 << 19 },
  { name: "in small chunks", sql: loose, bytesMax: 3000 },
  { name: "into constraints", sql: strict, bytesMax: 1 << 19 },
  { name: "into constraints in small chunks", sql: strict, bytesMax: 3000 },
])("ends as patch by patch: $name", ({ sql, bytesMax }) => {
  const here = source();
  const [many, single] = [replica(sql), replica(sql)];
  single.db.exec(`
    CREATE TEMP TABLE aside (x);
    CREATE TEMP TRIGGER aside_insert AFTER INSERT ON aside BEGIN SELECT 1; END`);
  for (const to of [many, single]) {
    later(to);
    expect(transferState(here, to, { bytesMax }).complete).toBe(true);
  }
  expect(everything(many)).toEqual(everything(single));
  expect(many.db.prepare("SELECT count(*) FROM item").pluck().get()).toBeGreaterThan(1000);
  expect(many.db.prepare("SELECT count(*) FROM _mergelite_parked").pluck().get()).not.toBe(0);
});

it("merges what a replica wrote where the sender has rows, too", () => {
  const here = source();
  const to = replica(loose);
  to.db.exec("INSERT INTO item VALUES (3, 'own', 0, 'own'), (9000, 'own', 0, 'too')");
  transferState(here, to, { bytesMax: 20_000 });
  pull(to, here);
  expect(dump(to.db, "item")).toEqual(dump(here.db, "item"));
});

it("leaves a counted key counting on", () => {
  const counted = `
    CREATE TABLE item (id INTEGER PRIMARY KEY AUTOINCREMENT, a, b, u);
    CREATE TABLE word (k TEXT PRIMARY KEY COLLATE NOCASE NOT NULL, n);`;
  const to = replica(counted);
  transferState(source(), to);
  to.db.exec("INSERT INTO item (a) VALUES ('next')");
  expect(to.db.prepare("SELECT id FROM item WHERE a = 'next'").pluck().get()).toBe(5001);
});
