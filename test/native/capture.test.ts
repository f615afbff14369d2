/**
 * Capture is exact: after every step the log, merged into an empty replica, gives the same table,
 * value for value and type for type.
 */
import { describe, expect, it } from "vitest";
import { everyWay, pair } from "../support/pair.ts";
import { dump, heldOf, mergeAll, recordsOf } from "../support/replica.ts";

const note = "CREATE TABLE note (id INTEGER PRIMARY KEY, a, b TEXT, c REAL, d BLOB, e, f)";

describe("statements", () => {
  it("captures inserts, updates, deletes, upserts, RETURNING and UPDATE FROM", () => {
    everyWay(
      note,
      ["note"],
      [
        "INSERT INTO note (id, a) VALUES (1, 'x'), (2, 'y'), (3, NULL)",
        "INSERT INTO note (a, b) VALUES ('automatic', 1) RETURNING id",
        "UPDATE note SET a = NULL WHERE id = 1",
        "UPDATE note SET b = 2, c = 2, f = 'f' WHERE id = 2",
        "UPDATE note SET a = a",
        "INSERT INTO note (id, b) VALUES (2, 'z') ON CONFLICT (id) DO UPDATE SET b = excluded.b || '!'",
        "INSERT INTO note (id, b) VALUES (2, 'z') ON CONFLICT DO NOTHING",
        "UPDATE note SET e = s.n FROM (SELECT 1 AS k, 10 AS n UNION SELECT 2, 20) AS s WHERE s.k = id",
        "INSERT INTO note SELECT id + 10, a, b, c, d, e, f FROM note",
        "REPLACE INTO note (id, f) VALUES (3, 'replaced')",
        "DELETE FROM note WHERE id > 12 RETURNING *",
        "DELETE FROM note",
        "INSERT INTO note (id) VALUES (1)",
      ],
    );
  });

  it("captures changed keys, under every name of the rowid, also onto rows that are there", () => {
    everyWay(
      note,
      ["note"],
      [
        "INSERT INTO note (id, a) VALUES (1, 'x'), (2, 'y'), (3, 'z'), (4, 'u')",
        "UPDATE note SET id = 9 WHERE id = 1",
        "UPDATE note SET rowid = 8, a = 'moved' WHERE id = 2",
        "UPDATE note SET oid = oid + 100 WHERE id = 3",
        "UPDATE note SET _rowid_ = 7, f = 1, b = 2 WHERE id = 4",
        "UPDATE OR REPLACE note SET id = 9 WHERE id = 8",
        "UPDATE OR IGNORE note SET id = 9 WHERE id = 7",
        "UPDATE note SET id = -id",
        "UPDATE OR REPLACE note SET id = id + 1",
      ],
    );
    everyWay(
      "CREATE TABLE t (x INT, y TEXT COLLATE NOCASE, v, PRIMARY KEY (x, y)) WITHOUT ROWID",
      ["t"],
      [
        "INSERT INTO t VALUES (1, 'a', 1), (1, 'b', 2), (2, 'a', 3)",
        "UPDATE t SET y = upper(y)",
        "UPDATE t SET y = lower(y), v = v + 1 WHERE x = 1",
        "UPDATE OR REPLACE t SET x = 1",
        "INSERT OR REPLACE INTO t VALUES (1, 'A', 9)",
        "INSERT INTO t VALUES (1, 'B', 9) ON CONFLICT DO UPDATE SET y = excluded.y, v = 0",
      ],
    );
  });

  it.each(["ABORT", "FAIL", "IGNORE", "REPLACE", "ROLLBACK"])(
    "captures what OR %s leaves of a statement with several rows",
    (or) => {
      const schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, u UNIQUE, v CHECK (v < 100))";
      const values = "(3, 'c', 1), (4, 'a', 2), (5, 'e', 3), (6, 'f', 100), (7, 'g', 1)";
      for (const begin of ["", "BEGIN; INSERT INTO t VALUES (100, 'first', 0); SAVEPOINT s;"]) {
        const both = pair(schema, ["t"]);
        both.step("INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 2)");
        if (begin !== "") both.step(begin);
        both.step(`INSERT OR ${or} INTO t VALUES ${values}`);
        both.step(`UPDATE OR ${or} t SET u = 'a' WHERE id > 1`);
        both.step(`UPDATE OR ${or} t SET v = v + 97`);
        if (both.here.db.inTransaction) both.step("COMMIT");
        both.same();
      }
    },
  );

  it("notes the rows that REPLACE removes through UNIQUE, and only those", () => {
    everyWay(
      `CREATE TABLE t (k TEXT PRIMARY KEY, u UNIQUE, p, q TEXT COLLATE NOCASE, UNIQUE (p, q));
       CREATE UNIQUE INDEX t_part ON t (p) WHERE q = 'only'`,
      ["t"],
      [
        "INSERT INTO t VALUES ('a', 1, 1, 'x'), ('b', 2, 2, 'x'), ('c', 3, 3, 'only'), ('d', NULL, 4, 4)",
        "REPLACE INTO t VALUES ('e', 1, 2, 'X')",
        "REPLACE INTO t VALUES ('a', 3, 9, 'only')",
        "REPLACE INTO t VALUES ('f', NULL, 9, 'only')",
        "UPDATE OR REPLACE t SET u = 7",
        "REPLACE INTO t VALUES ('x', 7, 1, 1); REPLACE INTO t VALUES ('e', 8, 1, 2)",
        "INSERT OR IGNORE INTO t VALUES ('y', 8, 5, 5)",
        "INSERT INTO t VALUES ('z', 8, 5, 5) ON CONFLICT (u) DO UPDATE SET p = 77",
      ],
    );
  });
});

describe("values", () => {
  it("keeps every value and its type", () => {
    const values = [
      "NULL",
      "0",
      "1",
      "-1",
      "9223372036854775807",
      "-9223372036854775808",
      "9007199254740993",
      "0.0",
      "-0.0",
      "1.0",
      "0.1",
      "1e308",
      "-1e-308",
      "9e999",
      "-9e999",
      "''",
      "'0'",
      "'1.0'",
      "CAST(x'610062' AS TEXT)",
      "CAST(x'ff' AS TEXT)",
      "'💡é'",
      "x''",
      "x'00'",
      "zeroblob(1000)",
    ];
    for (const type of ["", "INT", "TEXT", "REAL", "BLOB", "NUMERIC"]) {
      const both = pair(
        `CREATE TABLE t (id INTEGER PRIMARY KEY, v ${type}); CREATE TABLE k (k ${type} NOT NULL PRIMARY KEY)`,
        ["t", "k"],
      );
      for (const [id, value] of values.entries()) {
        both.step(
          `INSERT INTO t VALUES (${id}, ${value}); INSERT INTO t VALUES (${id + 100}, NULL)`,
        );
        both.step(`UPDATE t SET v = ${value} WHERE id = ${id + 100}`);
        if (value !== "NULL") both.step(`INSERT OR REPLACE INTO k VALUES (${value})`);
      }
      both.step("DELETE FROM k");
    }
  });

  it("takes large values and many columns", () => {
    const both = pair(note, ["note"]);
    both.here.db
      .prepare("INSERT INTO note (id, b, d) VALUES (1, ?, ?)")
      .run("é".repeat(600_000), Buffer.alloc(1_500_000, 7));
    both.same();
    both.step(
      "BEGIN; INSERT INTO note (id, d) VALUES (2, zeroblob(700000)); SAVEPOINT s; INSERT INTO note (id, d) VALUES (3, zeroblob(700000)); INSERT INTO note (id) VALUES (4); ROLLBACK TO s; INSERT INTO note (id) VALUES (5); COMMIT",
    );
    both.step(
      "BEGIN; SAVEPOINT s; INSERT INTO note (id, d) VALUES (6, zeroblob(1700000)); ROLLBACK TO s; INSERT INTO note (id) VALUES (7); UPDATE note SET d = zeroblob(1200000); RELEASE s; ROLLBACK",
    );
    for (const count of [100, 130, 900]) {
      const names = Array.from({ length: count }, (_, i) => `c${i}`);
      const wide = pair(`CREATE TABLE wide (id INTEGER PRIMARY KEY, ${names.join(", ")})`, [
        "wide",
      ]);
      wide.step(`INSERT INTO wide VALUES (1, ${names.map((_, i) => i).join(", ")})`);
      wide.step(`UPDATE wide SET ${names.map((name) => `${name} = ${name} || 'x'`).join(", ")}`);
      wide.step("UPDATE wide SET c3 = 1, c4 = 2, c99 = NULL");
      wide.step("UPDATE wide SET id = 2, c50 = 'moved'");
      wide.step("DELETE FROM wide");
    }
  });

  it("leaves generated columns out and takes STRICT tables and hostile names", () => {
    everyWay(
      "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT, twice INT AS (a * 2), thrice INT GENERATED ALWAYS AS (a * 3) STORED, b ANY) STRICT",
      ["t"],
      [
        "INSERT INTO t (id, a, b) VALUES (1, 2, 'x'), (2, NULL, 1.0)",
        "UPDATE t SET a = 7, b = x'00'",
        "DELETE FROM t WHERE a = 7 AND id = 1",
      ],
    );
    const table = `sel"ect '; --[]\``;
    const q = `"${table.replaceAll('"', '""')}"`;
    everyWay(
      `CREATE TABLE ${q} ("key "" 'x" TEXT NOT NULL, "from", "tab\tand ""quote""", "ключ 💡", rowid, PRIMARY KEY ("key "" 'x"))`,
      [table],
      [
        `INSERT INTO ${q} VALUES ('a', 1, 2, 3, 4), ('b', 5, 6, 7, 8)`,
        `UPDATE ${q} SET "from" = 2, "ключ 💡" = NULL, rowid = 7`,
        `UPDATE ${q} SET "key "" 'x" = 'c' WHERE "from" = 2 AND "key "" 'x" = 'a'`,
        `DELETE FROM ${q} WHERE "key "" 'x" = 'b'`,
      ],
    );
  });

  it("refuses NULL in a key and leaves no trace of it", () => {
    const both = pair("CREATE TABLE t (k TEXT PRIMARY KEY, v)", ["t"]);
    both.step("INSERT INTO t VALUES ('a', 1)");
    expect(() => both.here.db.exec("INSERT INTO t VALUES (NULL, 2)")).toThrow(/KEY_NULL/);
    both.here.db.exec("BEGIN; INSERT INTO t VALUES ('b', 1)");
    expect(() => both.here.db.exec("INSERT INTO t VALUES ('c', 1), (NULL, 2)")).toThrow(/KEY_NULL/);
    both.step("INSERT INTO t VALUES ('d', 1); COMMIT");
    expect(both.there.db.prepare("SELECT k FROM t ORDER BY k").pluck().all()).toEqual([
      "a",
      "b",
      "d",
    ]);
    // Where the rows of a failed update stay, the transaction must not commit.
    both.here.db.exec("BEGIN");
    expect(() => both.here.db.exec("UPDATE t SET k = NULL WHERE k <> 'a'")).toThrow(/KEY_NULL/);
    both.here.db.exec("COMMIT");
    both.same();
    expect(dump(both.here.db, "t")).toHaveLength(3);
  });
});

describe("transactions", () => {
  it("follows nested savepoints", () => {
    const both = pair(note, ["note"]);
    both.step(
      "SAVEPOINT a; INSERT INTO note (id) VALUES (1); SAVEPOINT b; INSERT INTO note (id) VALUES (2); ROLLBACK TO b; INSERT INTO note (id) VALUES (3); RELEASE a",
    );
    both.step(
      "BEGIN; SAVEPOINT a; SAVEPOINT b; SAVEPOINT c; INSERT INTO note (id) VALUES (4); RELEASE b; ROLLBACK TO a; INSERT INTO note (id) VALUES (5); COMMIT",
    );
    both.step(
      "BEGIN; INSERT INTO note (id) VALUES (6); SAVEPOINT a; UPDATE note SET a = 1; SAVEPOINT b; UPDATE note SET a = 2; ROLLBACK TO a; UPDATE note SET b = 3; ROLLBACK TO a; COMMIT",
    );
    both.step("BEGIN; SAVEPOINT a; INSERT INTO note (id) VALUES (7); ROLLBACK TO a; COMMIT");
    both.step("SAVEPOINT a; INSERT INTO note (id) VALUES (8); ROLLBACK TO a; RELEASE a");
    expect(heldOf(both.here, both.here.peerId)).toBe(3);
  });

  it("keeps parts of a large transaction right across savepoints", () => {
    const both = pair(
      "CREATE TABLE t (id INTEGER PRIMARY KEY, v); CREATE TABLE o (id INTEGER PRIMARY KEY, v)",
      ["t", "o"],
    );
    const many = (from: number, table: string) =>
      `WITH RECURSIVE n (i) AS (SELECT ${from} UNION ALL SELECT i + 1 FROM n WHERE i < ${from + 1499}) INSERT INTO ${table} SELECT i, zeroblob(1000) FROM n`;
    both.step("BEGIN; INSERT INTO o VALUES (1, 1)");
    both.step("SAVEPOINT a");
    both.step(many(1, "t"));
    both.step("SAVEPOINT b");
    both.step(many(10_000, "o"));
    both.step("UPDATE t SET v = 'short'");
    both.step("SAVEPOINT c");
    both.step(many(20_000, "t"));
    both.step("ROLLBACK TO c");
    both.step("INSERT INTO t VALUES (99999, 'after c')");
    both.step("ROLLBACK TO b");
    both.step("INSERT INTO o VALUES (88888, 'after b')");
    both.step(many(30_000, "t"));
    both.step("COMMIT");
    expect(both.there.db.prepare("SELECT count(*) FROM t").pluck().get()).toBe(3000);
    both.step("BEGIN; SAVEPOINT a");
    both.step(many(50_000, "t"));
    both.step("ROLLBACK TO a; COMMIT");
    both.step("INSERT INTO t VALUES (7777777, 'the sequence goes on')");
  });

  it("undoes the start of replication with its savepoint", () => {
    const both = pair("CREATE TABLE t (id INTEGER PRIMARY KEY, v)", ["t"]);
    both.here.db.exec("CREATE TABLE late (id INTEGER PRIMARY KEY); INSERT INTO late VALUES (1)");
    both.step("INSERT INTO t VALUES (1, 1)");
    for (const undo of [
      "ROLLBACK TO s; RELEASE s; INSERT INTO t VALUES (2, 2); COMMIT",
      "ROLLBACK",
    ]) {
      both.here.db.exec(
        "BEGIN; SAVEPOINT s; CREATE VIRTUAL TABLE late_patches USING mergelite(late)",
      );
      both.here.db.exec("INSERT INTO late VALUES (2)");
      both.here.db.exec(undo);
      both.step("INSERT OR REPLACE INTO t VALUES (3, 3)");
      both.here.db.exec("INSERT OR IGNORE INTO late VALUES (3)");
    }
    const here = both.here.peerId;
    const sequences = both.here.db
      .prepare("SELECT _sequenceId FROM t_patches WHERE _peerId = ?")
      .pluck()
      .all(here);
    expect(sequences).toEqual(sequences.map((_, index) => index + 1));
    both.here.db.exec("CREATE VIRTUAL TABLE late_patches USING mergelite(late)");
    both.there.db.exec(
      "CREATE TABLE late (id INTEGER PRIMARY KEY); CREATE VIRTUAL TABLE late_patches USING mergelite(late)",
    );
    both.same();
    expect(dump(both.there.db, "late")).toEqual(dump(both.here.db, "late"));
  });

  it("leaves last_insert_rowid and changes alone", () => {
    const { here } = pair(note, ["note"]);
    const insert = here.db.prepare("INSERT INTO note (a) VALUES (?)");
    expect(insert.run("x")).toEqual({ changes: 1, lastInsertRowid: 1 });
    here.db.exec("BEGIN");
    expect(insert.run("y")).toEqual({ changes: 1, lastInsertRowid: 2 });
    here.db.exec("COMMIT");
    const last = here.db.prepare("SELECT last_insert_rowid(), changes()").raw().get();
    expect(last).toEqual([2, 1]);
    expect(here.db.prepare("UPDATE note SET a = 1, f = 2").run().changes).toBe(2);
    expect(here.db.prepare("DELETE FROM note").run().changes).toBe(2);
  });
});

it("sends nothing for transactions that change nothing", () => {
  const both = pair(note, ["note"]);
  both.step("INSERT INTO note (id, a) VALUES (1, 1)");
  for (const sql of [
    "UPDATE note SET a = 1",
    "DELETE FROM note WHERE id = 5",
    "BEGIN; INSERT INTO note (id) VALUES (2); DELETE FROM note WHERE id = 7; ROLLBACK",
  ])
    both.step(sql);
  expect(heldOf(both.here, both.here.peerId)).toBe(1);
  expect(mergeAll(both.there, recordsOf(both.here, both.here.peerId)).duplicates).toBe(1);
});
