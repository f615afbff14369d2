/** The companion table, what replication refuses, detaching, and closing in any order. */
import { existsSync } from "node:fs";
import Database from "better-sqlite3";
import { describe, expect, it } from "vitest";
import { native } from "../../src/native.ts";
import { closedAfterEach } from "../support/databases.ts";
import { temporaryFolder } from "../support/folder.ts";
import { attachRaw, dump, handleOf, openRaw, pull, type RawReplica } from "../support/replica.ts";

const folder = temporaryFolder();
const open = closedAfterEach();

const schema = 'CREATE TABLE t (id INTEGER PRIMARY KEY, a, "b ""x")';
function replica(file = ":memory:", sql = schema, tables: readonly string[] = ["t"]): RawReplica {
  const made = openRaw(file, sql, tables);
  open.push(made.db);
  return made;
}

describe("the companion", () => {
  it("shows every patch, tells NULL from untouched, and filters", () => {
    const here = replica();
    here.db.exec(
      "INSERT INTO t VALUES (1, 'x', 2.0); UPDATE t SET a = NULL; BEGIN; UPDATE t SET id = 2; DELETE FROM t; COMMIT",
    );
    const all = here.db
      .prepare('SELECT _sequenceId, _op, _columns, id, a, "b ""x" FROM t_patches')
      .raw()
      .all();
    expect(all).toEqual([
      [1, "insert", '["id","a","b \\"x"]', 1, "x", 2],
      [2, "update", '["a"]', 1, null, null],
      [3, "delete", "[]", 1, null, null],
      [3, "insert", '["id","a","b \\"x"]', 2, null, 2],
      [3, "delete", "[]", 2, null, null],
    ]);
    const count = (where: string) =>
      here.db.prepare(`SELECT count(*) FROM t_patches WHERE ${where}`).pluck().get();
    const self = `_peerId = ${here.peerId}`;
    expect(count(`${self} AND _sequenceId > 1`)).toBe(4);
    expect(count(`${self} AND _sequenceId >= 3 AND _op = 'delete'`)).toBe(2);
    expect(count(`${self} AND _sequenceId = 2`)).toBe(1);
    expect(count(`${self} AND _sequenceId > 1 AND _sequenceId < 3`)).toBe(1);
    expect(count("_peerId = 5 OR _peerId = -1 OR _peerId IS NULL")).toBe(0);
    expect(count(`${self} AND _sequenceId > ${2n ** 62n}`)).toBe(0);
    expect(count(`${self} AND _sequenceId > -5 AND id = 2`)).toBe(2);
    expect(count(`_peerId = '${here.peerId}' AND _sequenceId > 1.5`)).toBe(4);
    expect(here.db.prepare("SELECT min(_patchedAt) > 1000000 FROM t_patches").pluck().get()).toBe(
      1,
    );
  });

  it("shows every patch once where conditions are joined by OR", () => {
    const [here, there] = [replica(), replica()];
    here.db.exec("INSERT INTO t (id) VALUES (1), (2); INSERT INTO t (id) VALUES (3)");
    for (const id of [11, 12, 13]) there.db.exec(`INSERT INTO t (id) VALUES (${id})`);
    pull(there, here);
    const since = (peer: RawReplica, sequence: number) =>
      `(_peerId = ${peer.peerId} AND _sequenceId > ${sequence})`;
    const ids = (where: string) =>
      here.db.prepare(`SELECT id FROM t_patches WHERE ${where} ORDER BY id`).pluck().all();
    expect(ids(`${since(here, 0)} OR ${since(there, 1)}`)).toEqual([1, 2, 3, 12, 13]);
    expect(ids(`${since(here, 1)} OR ${since(here, 0)}`)).toEqual([1, 2, 3]);
    const places = here.db.prepare("SELECT _patch FROM t_patches WHERE id < 10 ORDER BY id");
    expect(places.pluck().all()).toEqual([1, 2, 1]);
  });

  it("is read-only and keeps its name", () => {
    const here = replica();
    for (const sql of [
      "INSERT INTO t_patches (id) VALUES (1)",
      "DELETE FROM t_patches",
      "UPDATE t_patches SET a = 1",
    ]) {
      expect(() => here.db.exec(sql)).toThrow(/may not be modified/);
    }
    expect(() => here.db.exec("ALTER TABLE t_patches RENAME TO other_patches")).toThrow();
    expect(native.tables(here.handle)).toEqual(["t"]);
  });

  it("ends replication when dropped, and takes up what changed meanwhile when it returns", () => {
    const here = replica();
    const there = replica();
    here.db.exec("INSERT INTO t VALUES (1, 'stays', 1), (2, 'goes', 1), (3, 'changes', 1)");
    pull(here, there);
    here.db.exec("DROP TABLE t_patches");
    expect(native.tables(here.handle)).toEqual([]);
    here.db.exec(
      "DELETE FROM t WHERE id = 2; UPDATE t SET a = 'changed' WHERE id = 3; INSERT INTO t VALUES (4, 'came', 1)",
    );
    there.db.exec("INSERT INTO t VALUES (5, 'sent meanwhile', 1)");
    pull(there, here);
    expect(dump(here.db, "t")).toHaveLength(3);
    here.db.exec("CREATE VIRTUAL TABLE t_patches USING mergelite(t)");
    native.maintain(here.handle, 1000);
    pull(here, there);
    expect(dump(there.db, "t")).toEqual(dump(here.db, "t"));
    expect(dump(here.db, "t").map((row) => row.split(" | ")[0])).toEqual([
      "integer 1",
      "integer 3",
      "integer 4",
      "integer 5",
    ]);
  });

  it.each([
    ["CREATE TABLE x (a)", "TABLE_NO_KEY"],
    ["CREATE VIEW x AS SELECT 1 AS id", "TABLE_UNSUPPORTED"],
    ["CREATE VIRTUAL TABLE x USING fts5(a)", "TABLE_UNSUPPORTED"],
    ["CREATE TABLE x (id INTEGER PRIMARY KEY, _peerId)", "TABLE_RESERVED_COLUMN"],
    ["CREATE TABLE x (id INTEGER PRIMARY KEY, _patch)", "TABLE_RESERVED_COLUMN"],
    ["CREATE TABLE x (k TEXT PRIMARY KEY, v); INSERT INTO x VALUES (NULL, 1)", "KEY_NULL"],
    ["", "TABLE_MISSING"],
  ])("refuses %s with %s", (sql, code) => {
    const here = replica();
    here.db.exec(sql);
    const refused = expect.objectContaining({ code, hint: expect.stringMatching(/./) });
    expect(() => native.replicate(here.handle, "x")).toThrow(refused);
    expect(() => here.db.exec("CREATE VIRTUAL TABLE x_patches USING mergelite(x)")).toThrow(code);
    here.db.exec("INSERT INTO t VALUES (1, 1, 1)");
    expect(native.tables(here.handle)).toEqual(["t"]);
  });

  it("starts with all tables or with none", () => {
    const here = replica();
    here.db.exec("CREATE TABLE a (id INTEGER PRIMARY KEY); CREATE TABLE x (y)");
    here.db.exec("CREATE TABLE b (id INTEGER PRIMARY KEY); INSERT INTO b VALUES (1), (2)");
    const refused = expect.objectContaining({ code: "TABLE_NO_KEY" });
    expect(() => native.replicateAll(here.handle, ["a", "b", "x"])).toThrow(refused);
    expect(native.tables(here.handle)).toEqual(["t"]);
    here.db.exec("INSERT INTO a VALUES (1); INSERT INTO t VALUES (1, 1, 1)");
    expect(native.status(here.handle).logRows).toBe(1);
    native.replicateAll(here.handle, ["a", "t", "B", "b"]);
    expect(native.tables(here.handle)).toEqual(["t", "a", "b"]);
    expect(here.db.prepare("SELECT id FROM b_patches").pluck().all()).toEqual([1, 2]);
    here.db.exec("INSERT INTO a VALUES (2); INSERT INTO b VALUES (3)");
    expect(here.db.prepare("SELECT id FROM a_patches").pluck().all()).toEqual([1, 2]);
    expect(here.db.prepare("SELECT count(*) FROM b_patches").pluck().get()).toBe(3);
    native.replicateAll(here.handle, ["a", "b"]);
    expect(native.status(here.handle).logRows).toBe(5);
  });

  it("starts with several tables in a transaction that may be rolled back", () => {
    const here = replica();
    here.db.exec(
      "CREATE TABLE a (id INTEGER PRIMARY KEY); CREATE TABLE b (id INTEGER PRIMARY KEY)",
    );
    here.db.exec("BEGIN");
    native.replicateAll(here.handle, ["a", "b"]);
    here.db.exec("INSERT INTO a VALUES (1); ROLLBACK");
    expect(native.tables(here.handle)).toEqual(["t"]);
    here.db.exec("BEGIN");
    native.replicateAll(here.handle, ["b", "a"]);
    here.db.exec("INSERT INTO a VALUES (1); COMMIT");
    expect(native.tables(here.handle)).toEqual(["t", "b", "a"]);
    expect(here.db.prepare("SELECT id FROM a_patches").pluck().all()).toEqual([1]);
  });

  it("refuses other names and arguments", () => {
    const here = replica();
    for (const [sql, code] of [
      ["CREATE VIRTUAL TABLE other USING mergelite(t)", "COMPANION_NAME"],
      ["CREATE VIRTUAL TABLE u_patches USING mergelite", "COMPANION_ARGUMENT"],
      ["CREATE VIRTUAL TABLE u_patches USING mergelite(t, u)", "COMPANION_ARGUMENT"],
      ["CREATE VIRTUAL TABLE temp.t_patches USING mergelite(t)", "CAPTURE_FOREIGN"],
      [
        "CREATE VIRTUAL TABLE _mergelite_log_patches USING mergelite(_mergelite_log)",
        "TABLE_UNSUPPORTED",
      ],
    ]) {
      expect(() => here.db.exec(sql ?? "")).toThrow(code);
    }
  });
});

describe("detach", () => {
  it("leaves a plain database with the rows it had", () => {
    const file = folder.file();
    const here = replica(
      file,
      `${schema}; CREATE TABLE "o 'dd" (k TEXT PRIMARY KEY); CREATE TABLE mine_patches (a); CREATE TRIGGER own AFTER INSERT ON t BEGIN SELECT 1; END`,
      ["t", "o 'dd"],
    );
    here.db.exec(`INSERT INTO t VALUES (1, 1, 1); INSERT INTO "o 'dd" VALUES ('x')`);
    const before = dump(here.db, "t");
    native.detach(here.handle);
    here.db.exec("UPDATE t SET a = a");
    expect(dump(here.db, "t")).toEqual(before);
    open.pop()?.close();
    const plain = new Database(file);
    open.push(plain);
    const names = plain
      .prepare("SELECT name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' ORDER BY name")
      .pluck()
      .all();
    expect(names).toEqual(["mine_patches", "o 'dd", "own", "t"]);
    plain.exec("INSERT INTO t VALUES (2, 2, 2); DROP TABLE t");
    expect(plain.pragma("integrity_check", { simple: true })).toBe("ok");
    // And it can begin anew, as somebody else.
    plain.exec(schema);
    const again = attachRaw(plain);
    expect(again.peerId).not.toBe(here.peerId);
    native.replicate(again.handle, "t");
    plain.exec("INSERT INTO t VALUES (1, 1, 1)");
    expect(native.status(again.handle).logRows).toBe(1);
  });
});

describe("closing", () => {
  it("works in any order and leaves no file behind", () => {
    for (const order of ["db first", "native first", "db only"]) {
      const file = folder.file();
      const { db, handle } = openRaw(file, schema, ["t"]);
      db.exec("INSERT INTO t VALUES (1, 1, 1)");
      db.prepare("SELECT * FROM t_patches").all();
      native.maintain(handle, 100);
      if (order === "native first") native.close(handle);
      db.close();
      if (order === "db first") native.close(handle);
      expect([order, existsSync(`${file}-wal`)]).toEqual([order, false]);
      expect(() => native.vector(handle)).toThrow(expect.objectContaining({ code: "CLOSED" }));
      expect(() => native.close(handle)).not.toThrow();
    }
  });

  it("knows no handle that was never given, and none of a connection without system tables", () => {
    for (const handle of [0, -1, 1e9, Number.NaN]) {
      expect(() => native.status(handle)).toThrow(expect.objectContaining({ code: "CLOSED" }));
    }
    const db = new Database(":memory:");
    open.push(db);
    const handle = handleOf(db);
    for (const call of [
      () => native.vector(handle),
      () => native.status(handle),
      () => native.readLog(handle, 1, 1, 1, 1),
      () => native.shapes(handle, 0, 1),
    ]) {
      expect(call).toThrow(/no such table/);
    }
    expect(native.merge(handle, new Uint8Array([1, 2, 3]), 0, 10)).toMatchObject({
      consumed: 0,
      changesets: 0,
    });
    expect(() => native.detach(handle)).not.toThrow();
  });

  it("frees a connection that the garbage collector finds", () => {
    for (let i = 0; i < 20; i++)
      openRaw(":memory:", schema, ["t"]).db.exec("INSERT INTO t VALUES (1, 1, 1)");
    const here = replica();
    here.db.exec("INSERT INTO t VALUES (1, 1, 1)");
    expect(native.counters(here.handle).localCommits).toBe(1);
  });
});
