/** Capture beside what else SQLite does with a file, a connection and a statement. */
import { copyFileSync } from "node:fs";
import Database from "better-sqlite3";
import { expect, it } from "vitest";
import { native } from "../../src/native.ts";
import { closedAfterEach } from "../support/databases.ts";
import { temporaryFolder } from "../support/folder.ts";
import {
  attachRaw,
  dump,
  handleOf,
  heldOf,
  maintainAll,
  openRaw,
  pull,
  type RawReplica,
} from "../support/replica.ts";

const folder = temporaryFolder();
const schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, v, u UNIQUE)";
const open = closedAfterEach();

function replica(): RawReplica {
  const made = openRaw(folder.file(), schema, ["t"]);
  open.push(made.db);
  made.db.exec("INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3)");
  return made;
}

function opened(file: string): RawReplica {
  const db = new Database(file);
  open.push(db);
  return attachRaw(db);
}

function expectCopy(of: RawReplica): void {
  const there = openRaw(":memory:", schema, ["t"]);
  open.push(there.db);
  pull(of, there);
  expect(dump(there.db, "t")).toEqual(dump(of.db, "t"));
}

it("goes on after VACUUM, and in what VACUUM INTO has made", () => {
  const here = replica();
  here.db.exec("DELETE FROM t WHERE id = 2; VACUUM; UPDATE t SET v = 'after' WHERE id = 1");
  const copy = folder.file();
  here.db.prepare("VACUUM INTO ?").run(copy);
  here.db.exec("REPLACE INTO t VALUES (4, 'd', 3)");
  expectCopy(here);
  const restored = opened(copy);
  restored.db.exec("INSERT INTO t VALUES (9, 'in the copy', 9)");
  expectCopy(restored);
});

it("captures in the copy that db.backup() has made, and during the backup", async () => {
  const here = replica();
  const copy = folder.file();
  let pages = 0;
  await here.db.backup(copy, {
    progress: () => {
      here.db.exec(`INSERT INTO t (v) VALUES ('during ${pages}')`);
      return pages++ < 3 ? 1 : 1000;
    },
  });
  expect(pages).toBeGreaterThan(1);
  const restored = opened(copy);
  restored.db.exec("UPDATE t SET v = 'restored' WHERE id = 1");
  expectCopy(restored);
  expectCopy(here);
});

it("captures while checkpoints of every kind are made", () => {
  const here = replica();
  for (const mode of ["PASSIVE", "FULL", "RESTART", "TRUNCATE"]) {
    here.db.exec(`INSERT INTO t (v) VALUES ('${mode}')`);
    here.db.pragma(`wal_checkpoint(${mode})`);
    here.db.exec(`UPDATE t SET v = v || '!' WHERE v = '${mode}'`);
  }
  expect(heldOf(here, here.peerId)).toBe(9);
  expectCopy(here);
});

it("captures in a file that changes between WAL and the rollback journal", () => {
  const here = replica();
  for (const mode of ["DELETE", "WAL", "TRUNCATE", "MEMORY", "PERSIST", "WAL"]) {
    expect(here.db.pragma(`journal_mode = ${mode}`, { simple: true })).toBe(mode.toLowerCase());
    here.db.exec(`INSERT INTO t (v) VALUES ('${mode}'); UPDATE t SET v = v || 1 WHERE id = 1`);
    here.db.exec("BEGIN; DELETE FROM t; ROLLBACK");
  }
  expectCopy(here);
});

it("leaves TEMP tables and tables of attached databases alone", () => {
  const here = replica();
  here.db.exec("ATTACH ':memory:' AS aside; CREATE TABLE aside.t (id INTEGER PRIMARY KEY, v, u)");
  here.db.exec("CREATE TEMP TABLE scratch (id INTEGER PRIMARY KEY, v)");
  here.db.exec(`BEGIN; INSERT INTO aside.t VALUES (1, 1, 1); INSERT INTO scratch VALUES (1, 1);
    INSERT INTO t (v) SELECT v FROM aside.t; COMMIT`);
  expect(heldOf(here, here.peerId)).toBe(2);
  // A TEMP table of the name stands before it.
  here.db.exec(
    "CREATE TEMP TABLE t (id INTEGER PRIMARY KEY, v, u); INSERT INTO t VALUES (7, 7, 7)",
  );
  here.db.exec("INSERT INTO main.t (v) VALUES ('main')");
  expect(here.db.prepare("SELECT id FROM t").pluck().all()).toEqual([7]);
  expect(heldOf(here, here.peerId)).toBe(3);
  here.db.exec("DROP TABLE temp.t");
  expectCopy(here);
});

it("captures what is written while a statement is iterated, here and by another connection", () => {
  const here = replica();
  const other = opened(here.db.name);
  here.db.unsafeMode();
  const rows = here.db.prepare("SELECT id FROM t ORDER BY id").iterate();
  expect(rows.next().value).toEqual({ id: 1 });
  here.db.exec("INSERT INTO t VALUES (10, 'while iterating', 10)");
  other.db.exec("INSERT INTO t VALUES (11, 'beside', 11)");
  // The snapshot that is being read is older than the other's commit: SQLite refuses, all of it.
  expect(() => here.db.exec("UPDATE t SET v = 1")).toThrow(/locked|SNAPSHOT/);
  expect([...rows].length).toBeGreaterThan(0);
  const returning = here.db.prepare("DELETE FROM t WHERE id < 3 RETURNING id").iterate();
  returning.next();
  here.db.exec("UPDATE t SET v = 'between' WHERE id = 10");
  expect([...returning].length).toBe(1);
  here.db.unsafeMode(false);
  expect(heldOf(here, here.peerId)).toBeGreaterThan(3);
  expectCopy(here);
});

it("reads through a read-only connection, and writes nothing through it", () => {
  const here = replica();
  const db = new Database(here.db.name, { readonly: true });
  open.push(db);
  handleOf(db);
  expect(db.prepare("SELECT count(*) FROM t_patches").pluck().get()).toBe(3);
  expect(() => db.exec("DELETE FROM t")).toThrow(/readonly/);
  expect(() => attachRaw(db)).toThrow(/readonly/);
  expectCopy(here);
});

it("begins no changeset for a transaction that only reads, or that a read-only pragma refuses", () => {
  const here = replica();
  here.db.exec("BEGIN; SELECT * FROM t; COMMIT");
  here.db.pragma("query_only = ON");
  expect(() => here.db.exec("DELETE FROM t")).toThrow(/readonly/);
  here.db.pragma("query_only = OFF");
  expect(heldOf(here, here.peerId)).toBe(1);
});

it("takes a copied file for what it is: the same rows, in the same log", () => {
  const here = replica();
  here.db.pragma("wal_checkpoint(TRUNCATE)");
  const copy = folder.file();
  copyFileSync(here.db.name, copy);
  const copied = opened(copy);
  expect(dump(copied.db, "t")).toEqual(dump(here.db, "t"));
  expectCopy(copied);
});

it("replicates STRICT, WITHOUT ROWID and shadow-like names by what they are", () => {
  const here = replica();
  here.db.exec(`CREATE VIRTUAL TABLE search USING fts5 (body);
    CREATE TABLE search_notes (id TEXT PRIMARY KEY, v ANY) STRICT, WITHOUT ROWID;
    CREATE TABLE "strict" (id INTEGER PRIMARY KEY, "without" CHECK ("without" <> ')'))`);
  native.replicate(here.handle, "search_notes");
  native.replicate(here.handle, "strict");
  expect(() => native.replicate(here.handle, "search_content")).toThrow(
    expect.objectContaining({ code: "TABLE_UNSUPPORTED" }),
  );
  here.db.exec("INSERT INTO search_notes VALUES ('a', 1.0); INSERT INTO \"strict\" VALUES (1, 2)");
  maintainAll(here);
  expect(here.db.prepare("SELECT id FROM search_notes_patches").pluck().all()).toEqual(["a"]);
});
