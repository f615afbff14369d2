/** Schema changes on a replicated table: capture goes on, and peers converge. */
import Database from "better-sqlite3";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { attach } from "../../src/attach.ts";
import { native } from "../../src/native.ts";
import { temporaryFolder } from "../support/folder.ts";
import {
  converge,
  dump,
  handleOf,
  maintainAll,
  openRaw,
  type RawReplica,
} from "../support/replica.ts";

const schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, a, b)";
const folder = temporaryFolder();
let here: RawReplica;
let there: RawReplica;

beforeEach(() => {
  here = openRaw(folder.file(), schema, ["t"]);
  there = openRaw(folder.file(), schema, ["t"]);
  here.db.exec("INSERT INTO t VALUES (1, 1, 1), (2, 2, 2)");
  converge([here, there]);
});
afterEach(() => {
  here.db.close();
  there.db.close();
});

function patches(): unknown[] {
  return here.db
    .prepare("SELECT _op, id, _columns FROM t_patches WHERE _sequenceId > 1 AND _peerId = ?")
    .raw()
    .all(here.peerId);
}

describe("in WAL mode", () => {
  test("an added column is captured from the next statement on", () => {
    here.db.exec("ALTER TABLE t ADD COLUMN c DEFAULT 5");
    expect(patches()).toEqual([]);
    here.db.exec("UPDATE t SET c = 6 WHERE id = 1; INSERT INTO t VALUES (3, 3, 3, 3)");
    there.db.exec("ALTER TABLE t ADD COLUMN c DEFAULT 5");
    converge([here, there]);
    expect(dump(there.db, "t")).toEqual(dump(here.db, "t"));
    expect(here.db.prepare("SELECT c FROM t").pluck().all()).toEqual([6, 5, 3]);
  });

  test("what the altering transaction writes to the new column is logged", () => {
    here.db.exec("BEGIN; ALTER TABLE t ADD COLUMN c; UPDATE t SET c = 7 WHERE id = 2; COMMIT");
    expect(patches()).toEqual([["update", 2, '["c"]']]);
  });

  test("what it writes to other columns is refused, and nothing stays", () => {
    expect(() =>
      here.db.exec("BEGIN; ALTER TABLE t ADD COLUMN c; UPDATE t SET a = 7; COMMIT"),
    ).toThrow(/SCHEMA_STALE/);
    if (here.db.inTransaction) here.db.exec("ROLLBACK");
    expect(here.db.prepare("SELECT * FROM t WHERE id = 1").get()).toEqual({ id: 1, a: 1, b: 1 });
  });

  test("a rebuilt table goes on, and its rows are logged anew", () => {
    here.db.exec(
      "BEGIN; CREATE TABLE n (id INTEGER PRIMARY KEY, a, b); INSERT INTO n SELECT id, a + 10, b FROM t " +
        "WHERE id = 1; DROP TABLE t; ALTER TABLE n RENAME TO t; COMMIT; INSERT INTO t VALUES (9, 9, 9)",
    );
    converge([here, there]);
    expect(dump(there.db, "t")).toEqual(dump(here.db, "t"));
    expect(there.db.prepare("SELECT id, a FROM t").raw().all()).toEqual([
      [1, 11],
      [9, 9],
    ]);
  });

  test("a UNIQUE index made later is watched for REPLACE", () => {
    here.db.exec("CREATE UNIQUE INDEX later ON t (b); INSERT OR REPLACE INTO t VALUES (5, 5, 2)");
    converge([here, there]);
    expect(there.db.prepare("SELECT id FROM t ORDER BY id").pluck().all()).toEqual([1, 5]);
  });

  test("a renamed table goes on under its new name, and a dropped one is no longer replicated", () => {
    here.db.exec("ALTER TABLE t RENAME TO u; INSERT INTO u VALUES (5, 5, 5)");
    expect(native.tables(here.handle)).toEqual(["u"]);
    here.db.exec("DROP TABLE u");
    expect(native.tables(here.handle)).toEqual([]);
  });

  test("a table with another key starts anew", () => {
    here.db.exec("DROP TABLE t; CREATE TABLE t (a, b, PRIMARY KEY (a, b)) WITHOUT ROWID");
    native.replicate(here.handle, "t");
    here.db.exec("INSERT INTO t VALUES (1, 2)");
    const other = openRaw(
      folder.file(),
      "CREATE TABLE t (a, b, PRIMARY KEY (a, b)) WITHOUT ROWID",
      ["t"],
    );
    converge([here, other]);
    expect(other.db.prepare("SELECT * FROM t").raw().all()).toEqual([[1, 2]]);
    other.db.close();
  });
});

test("an ordinary table of the companion's name is refused, not taken for one", () => {
  here.db.exec("CREATE TABLE x (id INTEGER PRIMARY KEY); CREATE TABLE x_patches (y)");
  expect(() => native.replicate(here.handle, "x")).toThrow(
    expect.objectContaining({ code: "COMPANION_NAME" }),
  );
});

test("automatic checkpoints go on as they were set", () => {
  here.db.pragma("wal_autocheckpoint = 0");
  const again = openRaw(folder.file(), schema, ["t"]);
  const insert = again.db.prepare("INSERT INTO t VALUES (?, zeroblob(3000), 1)");
  for (let i = 0; i < 2500; i++) insert.run(i);
  // Three pages a commit, and at most four times what SQLite lets it grow to.
  const [frames] = again.db.pragma("wal_checkpoint(NOOP)") as { log: number }[];
  expect(frames?.log ?? 0).toBeLessThan(4100);
  again.db.close();
  maintainAll(there);
});

test("a disk full at the moment of renewal loses nothing of a table made anew", () => {
  const rows = "WITH n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 5000)";
  here.db.exec(`${rows} INSERT OR REPLACE INTO t SELECT i, zeroblob(20), i FROM n`);
  converge([here, there]);
  here.db.exec(
    `BEGIN; DROP TABLE t; ${schema}; ${rows} INSERT INTO t SELECT 2 * i, zeroblob(20), i FROM n; ` +
      `PRAGMA max_page_count = ${Number(here.db.pragma("page_count", { simple: true }))}; COMMIT`,
  );
  expect(() => maintainAll(here)).toThrow(/full/);
  here.db.pragma("max_page_count = 1000000");
  converge([here, there]);
  expect(dump(there.db, "t")).toEqual(dump(here.db, "t"));
  expect(there.db.prepare("SELECT count(*), min(id) FROM t").raw().get()).toEqual([5000, 2]);
});

test.each(["DELETE", "TRUNCATE", "PERSIST", "MEMORY"])(
  "in journal_mode %s a change is adopted as soon as it is committed",
  async (mode) => {
    const db = new Database(folder.file());
    db.exec(`PRAGMA journal_mode = ${mode}; ${schema}`);
    const replica = attach(db, { tables: ["t"] });
    const other = openRaw(folder.file(), `${schema}; ALTER TABLE t ADD COLUMN c`, ["t"]);
    try {
      db.exec("ALTER TABLE t ADD COLUMN c; INSERT INTO t (id, a, b, c) VALUES (1, 2, 3, 4)");
      db.exec("BEGIN; CREATE UNIQUE INDEX one ON t (c); COMMIT");
      db.exec("INSERT OR REPLACE INTO t (id, c) VALUES (2, 4)");
      expect(db.prepare("SELECT _op FROM t_patches").pluck().all()).toHaveLength(3);
      converge([{ db, handle: handleOf(db), peerId: replica.peerId }, other]);
      expect(dump(other.db, "t")).toEqual(dump(db, "t"));
    } finally {
      await replica.close();
      for (const one of [db, other.db]) one.close();
    }
  },
);
