/** Capture by several connections, threads and processes, and in files of every kind. */
import { spawnSync } from "node:child_process";
import { Worker } from "node:worker_threads";
import Database from "better-sqlite3";
import { expect, it } from "vitest";
import { extensionPath, native } from "../../src/native.ts";
import { closedAfterEach } from "../support/databases.ts";
import { temporaryFolder } from "../support/folder.ts";
import { attachRaw, dump, heldOf, openRaw, pull, type RawReplica } from "../support/replica.ts";

const folder = temporaryFolder();
const open = closedAfterEach();

const schema = "CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, v, u UNIQUE)";

function replica(file = folder.file(), prepare = ""): RawReplica {
  const db = new Database(file);
  open.push(db);
  db.exec(`${prepare};${schema}`);
  const made = attachRaw(db);
  native.replicate(made.handle, "t");
  return made;
}

function second(first: RawReplica): RawReplica {
  const db = new Database(first.db.name);
  open.push(db);
  return attachRaw(db);
}

function expectCopy(of: RawReplica, prepare = ""): void {
  const there = openRaw(":memory:", `${prepare};${schema}`, ["t"]);
  open.push(there.db);
  pull(of, there);
  expect(dump(there.db, "t")).toEqual(dump(of.db, "t"));
  expect(dump(of.db, "t")).not.toEqual([]);
}

/** A transaction whose COMMIT is refused, for another connection reads; it stays open. */
function refuseCommit({ db }: RawReplica, sql: string): void {
  const reader = new Database(db.name);
  open.push(reader);
  db.pragma("busy_timeout = 0");
  db.exec(sql);
  const rows = reader.prepare("SELECT * FROM t").iterate();
  rows.next();
  expect(() => db.exec("COMMIT")).toThrow(/locked/);
  expect(db.inTransaction).toBe(true);
  rows.return?.();
}

const statements = [
  "INSERT INTO t VALUES ('ä', 'größe', 1), ('b', '💡', 2), ('c', CAST(x'c3a4' AS BLOB), NULL)",
  "BEGIN; UPDATE t SET v = v || 'é' WHERE k = 'ä'; SAVEPOINT s; DELETE FROM t; ROLLBACK TO s; COMMIT",
  "REPLACE INTO t VALUES ('d', NULL, 1)",
  "UPDATE t SET k = upper(k), v = '' WHERE k = 'b'",
];

it.each(["DELETE", "TRUNCATE", "PERSIST", "MEMORY", "WAL"])(
  "works with journal_mode %s",
  (mode) => {
    const here = replica(folder.file(), `PRAGMA journal_mode = ${mode}`);
    for (const sql of statements) here.db.exec(sql);
    expectCopy(here);
  },
);

it.each(["UTF-16le", "UTF-16be"])("works in a database of encoding %s", (encoding) => {
  const here = replica(folder.file(), `PRAGMA encoding = '${encoding}'`);
  for (const sql of statements) here.db.exec(sql);
  expect(here.db.pragma("encoding", { simple: true })).toBe(encoding);
  expectCopy(here, `PRAGMA encoding = '${encoding}'`);
  // And back: what UTF-8 peers wrote is the same text here.
  const there = openRaw(":memory:", schema, ["t"]);
  open.push(there.db);
  there.db.exec("INSERT INTO t VALUES ('ö', 'über 💡', 9); UPDATE t SET v = 'ß' WHERE k = 'ö'");
  pull(there, here);
  expect(here.db.prepare("SELECT v FROM t WHERE k = 'ö'").pluck().get()).toBe("ß");
});

it("gives every connection of one file the next sequence", () => {
  const first = replica(folder.file(), "PRAGMA journal_mode = WAL");
  const others = [second(first), second(first)];
  for (let i = 0; i < 30; i++) {
    const { db } = [first, ...others][i % 3] ?? first;
    db.exec(`INSERT INTO t VALUES ('${i}', ${i}, ${i}); UPDATE t SET v = v + 1 WHERE k <= '${i}'`);
    if (i % 7 === 0) db.exec(`BEGIN; DELETE FROM t WHERE k = '${i}'; ROLLBACK`);
  }
  expect(heldOf(first, first.peerId)).toBe(60);
  for (const one of others) expect(one.peerId).toBe(first.peerId);
  expectCopy(others[0] ?? first);
});

it("keeps a commit that was refused with BUSY, with one sequence", () => {
  const first = replica(folder.file(), "PRAGMA journal_mode = DELETE");
  first.db.exec("INSERT INTO t VALUES ('a', 1, 1)");
  refuseCommit(first, "BEGIN; INSERT INTO t VALUES ('b', 2, 2)");
  first.db.exec("INSERT INTO t VALUES ('c', 3, 3); COMMIT");
  expect(heldOf(first, first.peerId)).toBe(2);
  first.db.exec("INSERT INTO t VALUES ('d', 4, 4)");
  expectCopy(first);
});

it.each([
  ["a row that REPLACE took before it", "REPLACE INTO t VALUES ('c', 3, 1)"],
  ["a row that a trigger changed before it", "INSERT INTO t VALUES ('touched', 3, 3)"],
])("keeps %s when a savepoint is returned to after BUSY", (_, sql) => {
  const first = replica(folder.file(), "PRAGMA journal_mode = DELETE");
  first.db.exec(`INSERT INTO t VALUES ('a', 1, 1), ('b', 2, 2);
    CREATE TEMP TRIGGER early AFTER INSERT ON t WHEN NEW.k = 'touched'
    BEGIN UPDATE t SET v = 'by the trigger' WHERE k = NEW.k; END`);
  refuseCommit(first, `BEGIN; ${sql}; SAVEPOINT s; DELETE FROM t WHERE k = 'b'`);
  first.db.exec("ROLLBACK TO s; COMMIT");
  expect(heldOf(first, first.peerId)).toBe(2);
  expectCopy(first);
});

it("commits after BUSY and a statement that failed", () => {
  const first = replica(folder.file(), "PRAGMA journal_mode = DELETE");
  first.db.exec("INSERT INTO t VALUES ('a', 1, 1)");
  refuseCommit(first, "BEGIN; INSERT INTO t VALUES ('b', 2, 2)");
  expect(() => first.db.exec("INSERT INTO t VALUES ('c', 3, 3), ('d', 4, 1)")).toThrow(/UNIQUE/);
  first.db.exec("COMMIT");
  expect(heldOf(first, first.peerId)).toBe(2);
  expectCopy(first);
});

it("captures what a worker thread writes to the same file", async () => {
  const first = replica(folder.file(), "PRAGMA journal_mode = WAL");
  const code = `const Database = require("better-sqlite3");
    const db = new Database(${JSON.stringify(first.db.name)});
    db.loadExtension(${JSON.stringify(extensionPath)});
    for (let i = 0; i < 200; i++) db.prepare("INSERT INTO t VALUES (?, ?, ?)").run("worker " + i, i, i);
    db.close();`;
  const worker = new Worker(code, { eval: true });
  const ended = new Promise<number>((resolve, reject) => {
    worker.on("error", reject);
    worker.on("exit", resolve);
  });
  for (let i = 0; i < 200; i++) {
    first.db.prepare("INSERT INTO t VALUES (?, ?, ?)").run(`main ${i}`, i, i + 1000);
    if (i % 20 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  expect(await ended).toBe(0);
  expect(heldOf(first, first.peerId)).toBe(400);
  expectCopy(first);
});

it("lets no connection without the extension write unseen", () => {
  const first = replica(folder.file(), "PRAGMA journal_mode = WAL");
  first.db.exec("INSERT INTO t VALUES ('a', 1, 1)");
  const plain = new Database(first.db.name);
  open.push(plain);
  for (const sql of ["INSERT INTO t VALUES ('b', 1, 2)", "UPDATE t SET v = 2", "DELETE FROM t"]) {
    expect(() => plain.exec(sql)).toThrow(/no such (function|table).*mergelite_capture/);
  }
  expect(plain.prepare("SELECT v FROM t").pluck().all()).toEqual([1]);
  expectCopy(first);
});

it("refuses to write through ATTACH into another database's log", () => {
  const first = replica();
  const other = replica();
  other.db.prepare("ATTACH ? AS there").run(first.db.name);
  expect(() => other.db.exec("INSERT INTO there.t VALUES ('a', 1, 1)")).toThrow(/CAPTURE_FOREIGN/);
  other.db.exec("INSERT INTO t VALUES ('mine', 1, 1)");
  expect(heldOf(first, first.peerId)).toBe(0);
  expectCopy(other);
});

it("captures in another process", () => {
  const first = replica(folder.file(), "PRAGMA journal_mode = WAL");
  const code = `const db = new (require("better-sqlite3"))(process.argv[1]);
    db.loadExtension(process.argv[2]);
    db.exec("INSERT INTO t VALUES ('there', 1, 1)")`;
  const ran = spawnSync(process.execPath, ["-e", code, first.db.name, extensionPath]);
  expect([ran.status, String(ran.stderr)]).toEqual([0, ""]);
  first.db.exec("INSERT INTO t VALUES ('here', 2, 2)");
  expect(heldOf(first, first.peerId)).toBe(2);
  expectCopy(first);
});

it("ignores capture functions that are called by hand", () => {
  const first = replica();
  expect(() => first.db.prepare("SELECT mergelite_capture(1, 2, 3)").get()).toThrow(/CAPTURE_/);
  expect(() => first.db.prepare("SELECT 1 FROM mergelite_capture_128(1, 2, 3)").all()).toThrow(
    /CAPTURE_/,
  );
  expect(() => first.db.prepare("SELECT mergelite_capture_row(1, 2, 3)").get()).toThrow(/CAPTURE_/);
  expect(() => first.db.exec("INSERT INTO mergelite_transaction (x) VALUES (1)")).not.toThrow();
  expect(heldOf(first, first.peerId)).toBe(0);
  first.db.exec("INSERT INTO t VALUES ('a', 1, 1)");
  expectCopy(first);
});
