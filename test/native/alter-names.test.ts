/** Columns and tables that are renamed or dropped while peers keep the old ones, and back again. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { native } from "../../src/native.ts";
import { temporaryFolder } from "../support/folder.ts";
import { converge, dump, openRaw, progressOf, type RawReplica } from "../support/replica.ts";

const schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, a, b DEFAULT 7)";
const folder = temporaryFolder();
const modes = ["WAL", "DELETE", "TRUNCATE", "PERSIST", "MEMORY"] as const;
let here: RawReplica;
let there: RawReplica;

afterEach(() => {
  for (const { db } of [here, there]) db.close();
});

const all = (replica: RawReplica, table = "t") =>
  replica.db.prepare(`SELECT * FROM ${table} ORDER BY 1`).raw().all();
const logged = (replica: RawReplica) => progressOf(replica)[0]?.held;
const parked = (replica: RawReplica) =>
  replica.db.prepare("SELECT reason FROM _mergelite_parked").pluck().all();

describe.each(modes)("in journal_mode %s", (mode) => {
  beforeEach(() => {
    here = openRaw(folder.file(), schema, ["t"]);
    there = openRaw(folder.file(), schema, ["t"]);
    here.db.exec("INSERT INTO t VALUES (1, 1, 1), (2, 2, 7), (3, 3, 3)");
    converge([here, there]);
    for (const { db } of [here, there]) {
      db.pragma(`journal_mode = ${mode}`);
      expect(db.pragma("journal_mode", { simple: true })).toBe(mode.toLowerCase());
    }
  });

  test("a renamed column is the same column for peers that know its old name", () => {
    const before = logged(here);
    here.db.exec("ALTER TABLE t RENAME COLUMN a TO x");
    expect(logged(here)).toBe(before);
    here.db.exec("UPDATE t SET x = 'new' WHERE id = 1; INSERT INTO t VALUES (4, 4, 4)");
    there.db.exec("UPDATE t SET a = 'old' WHERE id = 2");
    converge([here, there]);
    expect(all(here)).toEqual([
      [1, "new", 1],
      [2, "old", 7],
      [3, 3, 3],
      [4, 4, 4],
    ]);
    expect(all(there)).toEqual([
      [1, 1, 1],
      [2, "old", 7],
      [3, 3, 3],
      [4, null, 4],
    ]);
    there.db.exec("ALTER TABLE t RENAME COLUMN a TO x");
    converge([here, there]);
    expect(all(there)).toEqual(all(here));
    expect(parked(there)).toEqual([]);
    here.db.exec("ALTER TABLE t RENAME COLUMN x TO a; UPDATE t SET a = 'back' WHERE id = 3");
    converge([here, there]);
    expect(all(there)).toEqual(all(here));
    expect(
      here.db.prepare("SELECT a FROM t_patches WHERE id = 1 AND _op = 'update'").pluck().all(),
    ).toEqual(["new"]);
  });

  test("a renamed key is the same key", () => {
    here.db.exec("ALTER TABLE t RENAME COLUMN id TO number");
    here.db.exec("UPDATE t SET a = 'new' WHERE number = 1; DELETE FROM t WHERE number = 2");
    there.db.exec("UPDATE t SET a = 'old' WHERE id = 3");
    there.db.exec("ALTER TABLE t RENAME COLUMN id TO number");
    converge([here, there]);
    expect(all(here)).toEqual([
      [1, "new", 1],
      [3, "old", 3],
    ]);
    expect(dump(there.db, "t")).toEqual(dump(here.db, "t"));
  });

  test("a renamed table is the same table for peers that know its old name", () => {
    const before = logged(here);
    here.db.exec("ALTER TABLE t RENAME TO u");
    expect(logged(here)).toBe(before);
    expect(native.tables(here.handle)).toEqual(["u"]);
    there.db.exec("UPDATE t SET a = 'old' WHERE id = 2");
    converge([here, there]);
    here.db.exec("UPDATE u SET b = 'new' WHERE id = 2; DELETE FROM u WHERE id = 1");
    converge([here, there]);
    expect(all(here, "u")).toEqual([
      [2, "old", "new"],
      [3, 3, 3],
    ]);
    there.db.exec("ALTER TABLE t RENAME TO u");
    converge([here, there]);
    expect(all(there, "u")).toEqual(all(here, "u"));
    expect(parked(there)).toEqual([]);
    expect(here.db.prepare("SELECT count(*) FROM u_patches").pluck().get()).toBe(6);
  });

  test("a dropped column does not stop peers that have it, and returns with all it had", () => {
    const before = logged(here);
    here.db.exec("ALTER TABLE t DROP COLUMN b");
    expect(logged(here)).toBe(before);
    here.db.exec("INSERT INTO t VALUES (4, 4); UPDATE t SET a = 'new' WHERE id = 1");
    there.db.exec("UPDATE t SET b = 'old' WHERE id = 2; INSERT INTO t VALUES (5, 5, 5)");
    converge([here, there]);
    expect(all(here)).toEqual([
      [1, "new"],
      [2, 2],
      [3, 3],
      [4, 4],
      [5, 5],
    ]);
    expect(all(there)).toEqual([
      [1, "new", 1],
      [2, 2, "old"],
      [3, 3, 3],
      [4, 4, 7],
      [5, 5, 5],
    ]);
    here.db.exec("ALTER TABLE t ADD COLUMN b DEFAULT 7");
    converge([here, there]);
    expect(all(here)).toEqual(all(there));
    expect(parked(here)).toEqual([]);
  });

  test("columns are dropped, added and renamed in any order", () => {
    const steps = [
      "ALTER TABLE t DROP COLUMN a",
      "ALTER TABLE t ADD COLUMN c DEFAULT 'c'",
      "ALTER TABLE t RENAME COLUMN b TO e",
      "ALTER TABLE t ADD COLUMN d NOT NULL DEFAULT 'd'",
      "ALTER TABLE t DROP COLUMN c",
    ];
    for (const [i, step] of steps.entries()) {
      here.db.exec(step);
      here.db.exec(`INSERT INTO t (id) VALUES (${10 + i}); UPDATE t SET id = id WHERE id = 1`);
      there.db.exec(`UPDATE t SET b = 'b${i}' WHERE id = 3; UPDATE t SET a = ${i} WHERE id = 2`);
      converge([here, there]);
    }
    for (const step of steps) there.db.exec(step);
    converge([here, there]);
    expect(dump(there.db, "t")).toEqual(dump(here.db, "t"));
    expect(all(here)[2]).toEqual([3, "b4", "d"]);
  });
});

describe("a column that something else needs", () => {
  beforeEach(() => {
    here = openRaw(folder.file(), schema, ["t"]);
    there = openRaw(folder.file(), schema, ["t"]);
    here.db.exec("INSERT INTO t VALUES (1, 1, 1)");
    converge([here, there]);
  });

  test.each([
    "CREATE VIEW v AS SELECT b FROM t",
    "CREATE TRIGGER g AFTER DELETE ON t BEGIN SELECT OLD.b; END",
    "CREATE INDEX i ON t (b)",
  ])("is not dropped: %s", (sql) => {
    here.db.exec(sql);
    expect(() => here.db.exec("ALTER TABLE t DROP COLUMN b")).toThrow(/b/);
    here.db.exec("UPDATE t SET b = 2");
    converge([here, there]);
    expect(all(there)).toEqual([[1, 1, 2]]);
  });

  test("is there again when the transaction that dropped it is rolled back", () => {
    here.db.exec("BEGIN; ALTER TABLE t DROP COLUMN b; ROLLBACK");
    here.db.exec("UPDATE t SET b = 2");
    converge([here, there]);
    expect(all(there)).toEqual([[1, 1, 2]]);
    expect(here.db.pragma("legacy_alter_table", { simple: true })).toBe(0);
    here.db.exec("BEGIN; ALTER TABLE t DROP COLUMN b; COMMIT; INSERT INTO t VALUES (2, 2)");
    converge([here, there]);
    expect(all(there)).toEqual([
      [1, 1, 2],
      [2, 2, 7],
    ]);
  });
});
