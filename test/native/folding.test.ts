/** Row clocks move from memory into the clock tables: losers must lose before, during and after. */
import Database from "better-sqlite3";
import { describe, expect, it } from "vitest";
import { native } from "../../src/native.ts";
import { closedAfterEach } from "../support/databases.ts";
import { temporaryFolder } from "../support/folder.ts";
import {
  attachRaw,
  maintainAll,
  mergeAll,
  openRaw,
  patiently,
  pull,
  type RawReplica,
  recordsOf,
  teachShapes,
} from "../support/replica.ts";

const folder = temporaryFolder();
const open = closedAfterEach();

const schema = "CREATE TABLE note (k TEXT PRIMARY KEY NOT NULL, a, b)";

function replica(file = ":memory:"): RawReplica {
  const made = openRaw(file, schema, ["note"]);
  open.push(made.db);
  return made;
}

function again(file: string): RawReplica {
  const db = new Database(file);
  open.push(db);
  return attachRaw(db);
}

/** How many rows hold each value: what is compared, for the keys are long. */
function counts({ db }: RawReplica): unknown[] {
  return db.prepare("SELECT a, count(*) AS rows FROM note GROUP BY a").all();
}

const nowMs = Date.UTC(2026, 0, 1);

/** Long keys: eleven thousand rows make a generation of clocks that has to be folded. */
function insertMany({ db }: RawReplica, count: number, value: string): void {
  db.prepare(
    `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
     INSERT INTO note SELECT printf('%01500d', i * 7919 % 1000003), ?, i FROM n WHERE true
     ON CONFLICT DO UPDATE SET a = excluded.a`,
  ).run(count, value);
}

const rows = 11_000;

/** A peer whose writes are all older: they must lose against everything already there. */
function olderPeer(): RawReplica {
  const older = replica();
  native.setClock(older.handle, nowMs - 1000);
  insertMany(older, rows, "older");
  return older;
}

describe("folding", () => {
  it("keeps what merging knew, in slices, and across connections", () => {
    const older = olderPeer();
    const file = folder.file();
    const here = replica(file);
    native.setClock(here.handle, nowMs);
    insertMany(here, rows, "newer");
    const expected = counts(here);
    for (let i = 0; native.maintain(here.handle, 1).more; i++) expect(i).toBeLessThan(10_000);
    expect(here.db.prepare("SELECT count(*) FROM _mergelite_clock_note").pluck().get()).toBe(rows);
    pull(older, here);
    expect(counts(here)).toEqual(expected);
    const later = again(file);
    native.setClock(later.handle, nowMs);
    const older2 = olderPeer();
    pull(older2, later);
    expect(counts(later)).toEqual(expected);
  });

  it("merges between the slices", () => {
    const older = olderPeer();
    const here = replica();
    native.setClock(here.handle, nowMs);
    teachShapes(older, here);
    insertMany(here, rows, "newer");
    const expected = counts(here);
    const records = recordsOf(older, older.peerId);
    // Absorbing what was written here fills memory; the fold then begins with one chunk.
    native.maintain(here.handle, 1);
    mergeAll(here, records);
    expect(counts(here)).toEqual(expected);
    maintainAll(here);
    here.db.exec("UPDATE note SET a = 'newest' WHERE b % 2");
    const latest = counts(here);
    pull(olderPeer(), here);
    expect(counts(here)).toEqual(latest);
  });

  it("is seen by another connection that had found the clock table empty", () => {
    const file = folder.file();
    const first = replica(file);
    const second = again(file);
    native.setClock(first.handle, nowMs);
    native.setClock(second.handle, nowMs);
    // Both have looked: no clocks yet.
    const bystander = replica();
    native.setClock(bystander.handle, nowMs - 2000);
    bystander.db.exec("INSERT INTO note VALUES ('bystander', 1, 1)");
    pull(bystander, second);
    maintainAll(first);
    insertMany(first, rows, "newer");
    maintainAll(first);
    expect(first.db.prepare("SELECT count(*) FROM _mergelite_clock_note").pluck().get()).toBe(
      rows + 1,
    );
    const expected = counts(first);
    pull(olderPeer(), second);
    expect(counts(second)).toEqual(expected);
  });

  it("by another connection takes along a transaction that was read in part", () => {
    const file = folder.file();
    const [here, there] = [replica(file), replica()];
    const other = again(file);
    for (const { handle } of [here, there, other]) native.setClock(handle, nowMs);
    here.db.exec("INSERT INTO note VALUES ('k', 'a', 1)");
    maintainAll(other);
    // One stamp over many parts: the row dies in the first of them and comes back in the last.
    here.db.exec("BEGIN; DELETE FROM note");
    const fill = here.db.prepare("INSERT INTO note VALUES (?, zeroblob(1100000), 1)");
    for (let n = 0; n < 20; n++) fill.run(`${n}`);
    here.db.exec("INSERT INTO note VALUES ('k', 'b', 2); COMMIT");
    expect(native.maintain(other.handle, 1).more).toBe(true);
    pull(here, there);
    there.db.exec("UPDATE note SET a = 'c' WHERE k = 'k'");
    native.setClock(here.handle, nowMs + 1000);
    here.db.exec("INSERT INTO note VALUES ('l', 'd', 3)");
    const none = new Float64Array();
    native.trim(here.handle, 2 ** 52, none, none, 1, patiently);
    pull(there, other);
    expect(other.db.prepare("SELECT a FROM note WHERE k = 'k'").pluck().get()).toBe("c");
  });

  it("survives the rollback of a table's return", () => {
    const here = replica();
    native.setClock(here.handle, nowMs);
    here.db.exec("CREATE TABLE spare (id INTEGER PRIMARY KEY)");
    native.replicate(here.handle, "spare");
    insertMany(here, 10, "newer");
    maintainAll(here);
    const expected = counts(here);
    // Taking a table back folds everything; the rollback undoes that in the file.
    here.db.exec("DROP TABLE spare_patches");
    here.db.exec("BEGIN; CREATE VIRTUAL TABLE spare_patches USING mergelite(spare); ROLLBACK");
    const older = replica();
    native.setClock(older.handle, nowMs - 1000);
    insertMany(older, 10, "older");
    pull(older, here);
    expect(counts(here)).toEqual(expected);
  });

  it("survives the rollback of a table's leaving", () => {
    for (const undo of ["ROLLBACK", "ROLLBACK TO s; COMMIT"]) {
      const here = replica();
      native.setClock(here.handle, nowMs);
      insertMany(here, 10, "newer");
      maintainAll(here);
      const expected = counts(here);
      here.db.exec(`BEGIN; SAVEPOINT s; DROP TABLE note_patches; ${undo}`);
      const older = replica();
      native.setClock(older.handle, nowMs - 1000);
      insertMany(older, 10, "older");
      pull(older, here);
      expect([undo, counts(here)]).toEqual([undo, expected]);
    }
  });

  it("keeps the clocks of a table while it is not replicated", () => {
    const file = folder.file();
    const here = replica(file);
    native.setClock(here.handle, nowMs);
    insertMany(here, 10, "newer");
    here.db.exec("DROP TABLE note_patches");
    // Each of these reads the log's tail without the table.
    maintainAll(here);
    const other = again(file);
    maintainAll(other);
    here.db.exec(
      "DELETE FROM note WHERE b = 3; CREATE VIRTUAL TABLE note_patches USING mergelite(note)",
    );
    const older = replica();
    native.setClock(older.handle, nowMs - 1000);
    insertMany(older, 10, "older");
    pull(older, here);
    expect(counts(here)).toEqual([{ a: "newer", rows: 9 }]);
  });

  it("merges a delete that waited for its table, read from the log in between", () => {
    const there = replica();
    const file = folder.file();
    const here = openRaw(file, schema, []);
    open.push(here.db);
    native.setClock(there.handle, nowMs);
    native.setClock(here.handle, nowMs);
    there.db.exec(
      "INSERT INTO note VALUES ('k', 1, 1), ('l', 1, 1); DELETE FROM note WHERE k = 'k'",
    );
    pull(there, here);
    here.db.exec("INSERT INTO note VALUES ('k', 'from before', 0)");
    native.replicate(here.handle, "note");
    // A look at the clocks first, which reads the whole log, then what is parked.
    const other = again(file);
    const third = replica();
    native.setClock(third.handle, nowMs - 5000);
    third.db.exec("INSERT INTO note VALUES ('m', 1, 1)");
    pull(third, other);
    maintainAll(other);
    expect(other.db.prepare("SELECT k FROM note ORDER BY k").pluck().all()).toEqual(["l", "m"]);
  });

  it("folds in the middle of a transaction too large for memory, merged or read again", () => {
    const file = folder.file();
    const [there, here, older] = [replica(), replica(file), replica()];
    const insert = `WITH RECURSIVE n (i) AS (SELECT ? UNION ALL SELECT i + 1 FROM n WHERE i < ?)
      INSERT INTO note SELECT printf('%0170000d', i), 'new', i FROM n`;
    for (const { handle } of [there, here]) native.setClock(handle, nowMs);
    native.setClock(older.handle, nowMs - 1000);
    older.db.prepare(insert).run(1, 40);
    there.db.transaction(() => {
      there.db.prepare(insert).run(1, 250);
      there.db.exec("UPDATE note SET a = 'set' WHERE b % 3 = 0; DELETE FROM note WHERE b % 5 = 0");
      there.db.prepare(insert).run(251, 400);
      there.db.exec("UPDATE note SET b = -b WHERE b < 4 OR b > 390");
    })();
    const expected = counts(there);
    pull(there, here);
    const folded = here.db.prepare("SELECT count(*) FROM _mergelite_clock_note").pluck();
    expect(folded.get()).toBeGreaterThan(100);
    expect(native.counters(here.handle).clockCacheBytes).toBeLessThan(64 << 20);
    expect(counts(here)).toEqual(expected);
    const beside = again(file);
    // The writer reads its own log, which is as long.
    for (const replica of [here, beside, there]) {
      pull(older, replica);
      expect(counts(replica)).toEqual(expected);
    }
  });
});
