/** Old values: kept for who asks, exact over parts and savepoints, and gone with the log. */
import Database from "better-sqlite3";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { native } from "../../src/native.ts";
import { closedAfterEach } from "../support/databases.ts";
import { temporaryFolder } from "../support/folder.ts";
import {
  attachRaw,
  heldOf,
  openRaw,
  patiently,
  pull,
  type RawReplica,
} from "../support/replica.ts";
import { Undo } from "../support/undo.ts";

const folder = temporaryFolder();
const open = closedAfterEach();

const schema = `CREATE TABLE IF NOT EXISTS note (id INTEGER PRIMARY KEY, body, n UNIQUE);
  CREATE TABLE IF NOT EXISTS tag (id INTEGER PRIMARY KEY, x)`;

function make(file = ":memory:", { keep = ["note", "tag"] } = {}): RawReplica {
  const replica = openRaw(file, schema, ["note", "tag"]);
  open.push(replica.db);
  native.keepOldValues(replica.handle, keep, 0);
  return replica;
}

function undoOf(replica: RawReplica): Undo {
  return new Undo(replica, ["note", "tag"]);
}

const kept = ({ db }: RawReplica) =>
  db.prepare("SELECT count(*) FROM _mergelite_old").pluck().get() as number;
const triggers = ({ db }: RawReplica) =>
  db.prepare("SELECT count(*) FROM sqlite_schema WHERE name LIKE '%before%note'").pluck().get();

describe("old values", () => {
  it("are kept of the tables that were named, and of no others", () => {
    const here = make(":memory:", { keep: ["NOTE"] });
    here.db.exec("INSERT INTO tag VALUES (1, 1); UPDATE tag SET x = 2");
    expect(kept(here)).toBe(0);
    here.db.exec("INSERT INTO note VALUES (1, 'a', 1); UPDATE note SET body = 'b'");
    expect(kept(here)).toBe(2);
  });

  it("have a row that was there under its key in another spelling", () => {
    const spellings = `CREATE TABLE word (k TEXT COLLATE NOCASE PRIMARY KEY NOT NULL, v);
      CREATE TABLE number (k PRIMARY KEY NOT NULL, v)`;
    const here = openRaw(":memory:", spellings, ["word", "number"]);
    open.push(here.db);
    native.keepOldValues(here.handle, [], 1);
    const undo = new Undo(here, ["word", "number"]);
    for (const sql of [
      "INSERT INTO word VALUES ('a', 1), ('b', 2); INSERT INTO number VALUES (5, 1), (6, 2)",
      "REPLACE INTO word VALUES ('A', 3); REPLACE INTO number VALUES (5.0, 3)",
      "BEGIN; REPLACE INTO word VALUES ('B', 4), ('b', 5), ('B', 6); DELETE FROM word; COMMIT",
      "REPLACE INTO number VALUES (5, 4), (5.0, 5), (5, 6); UPDATE number SET k = 6.0 WHERE k = 6",
    ]) {
      here.db.exec(sql);
      expect(undo.difference()).toBeUndefined();
      expect(undo.unknown).toBe(0);
    }
  });

  it("are none of a row that a trigger changed before ours ran, whatever its values look like", () => {
    const here = openRaw(":memory:", "CREATE TABLE t (id INTEGER PRIMARY KEY, n)", ["t"]);
    open.push(here.db);
    native.keepOldValues(here.handle, [], 1);
    here.db.exec(`INSERT INTO t VALUES (6, 1); CREATE TEMP TRIGGER early AFTER INSERT ON t
      BEGIN UPDATE t SET n = n WHERE id = NEW.id; END`);
    const undo = new Undo(here, ["t"]);
    // Encoded, the new row's values are the key of a row that was noted and has no patch.
    here.db.exec(
      "BEGIN; INSERT OR IGNORE INTO t VALUES (6, 9); INSERT INTO t (n) VALUES (6); COMMIT",
    );
    expect(undo.difference()).toBeUndefined();
    expect(undo.unknown).toBe(0);
  });

  it("end when nobody wants them, and begin for later tables when all are wanted", () => {
    const here = make(":memory:", { keep: [] });
    expect(triggers(here)).toBe(0);
    native.keepOldValues(here.handle, [], 1);
    expect(triggers(here)).toBe(3);
    here.db.exec("CREATE TABLE later (id INTEGER PRIMARY KEY, x)");
    native.replicate(here.handle, "later");
    here.db.exec("INSERT INTO later VALUES (1, 1)");
    expect(kept(here)).toBe(1);
    native.keepOldValues(here.handle, [], 0);
    expect(triggers(here)).toBe(0);
    here.db.exec("DELETE FROM later; DELETE FROM note");
    expect(kept(here)).toBe(1);
  });

  it("cannot be kept of a table that is not replicated", () => {
    const here = make();
    here.db.exec("CREATE TABLE plain (id INTEGER PRIMARY KEY)");
    const refused = expect.objectContaining({ code: "TABLE_NOT_REPLICATED" });
    expect(() => native.keepOldValues(here.handle, ["plain"], 0)).toThrow(refused);
    expect(() => native.keepOldValues(here.handle, ["note", "none"], 0)).toThrow(refused);
    expect(triggers(here)).toBe(3);
  });

  it("are kept whoever writes the file, after restarts and schema changes", () => {
    const file = folder.file();
    const here = make(file);
    const undo = undoOf(here);
    here.db.exec("INSERT INTO note VALUES (1, 'a', 1), (2, 'b', 2)");
    expect(undo.difference()).toBeUndefined();
    const other = new Database(file);
    open.push(other);
    attachRaw(other);
    other.exec("UPDATE note SET body = 'other' WHERE id = 1; INSERT INTO tag VALUES (1, 1)");
    expect(undo.difference()).toBeUndefined();
    other.exec("ALTER TABLE note ADD COLUMN more DEFAULT 5");
    other.exec("ALTER TABLE note RENAME COLUMN body TO text");
    undo.difference();
    other.exec("REPLACE INTO note (id, text, n) VALUES (3, 'c', 2)");
    expect(undo.difference()).toBeUndefined();
    for (const db of open.splice(0)) db.close();
    const again = openRaw(file, schema, []);
    open.push(again.db);
    const later = undoOf(again);
    again.db.exec("UPDATE note SET id = id + 10, more = NULL; DELETE FROM tag");
    expect(later.difference()).toBeUndefined();
    expect([undo.unknown, later.unknown]).toEqual([0, 0]);
  });

  it("are those of before a transaction however often it changes a row", () => {
    const here = make();
    here.db.exec("INSERT INTO note VALUES (1, 'a', 1), (2, 'b', 2)");
    const undo = undoOf(here);
    here.db.exec(`BEGIN; UPDATE note SET body = 'x'; DELETE FROM note WHERE id = 1;
      INSERT INTO note VALUES (1, 'again', 3); UPDATE note SET id = 7 WHERE id = 2;
      INSERT INTO note (body) VALUES ('new'); DELETE FROM note WHERE body = 'new'; COMMIT`);
    expect(undo.difference()).toBeUndefined();
    expect(undo.unknown).toBe(0);
  });

  it("are exact in transactions of many parts, with savepoints", { timeout: 60_000 }, () => {
    const id = fc.integer({ min: 1, max: 12 });
    const kilobytes = fc.integer({ min: 1, max: 400 });
    const statement = fc.oneof(
      fc
        .tuple(id, kilobytes)
        .map(([n, k]) => `REPLACE INTO note VALUES (${n}, zeroblob(${k}000), ${n % 5})`),
      fc
        .tuple(id, kilobytes)
        .map(([n, k]) => `UPDATE note SET body = randomblob(${k}000) WHERE id >= ${n}`),
      fc.tuple(id, id).map(([a, b]) => `UPDATE OR REPLACE note SET id = ${a} WHERE id = ${b}`),
      kilobytes.map((k) => `INSERT INTO note (body) VALUES (zeroblob(${k}000))`),
      id.map((n) => `DELETE FROM note WHERE id = ${n}`),
      id.map((n) => `INSERT OR IGNORE INTO tag VALUES (${n}, hex(zeroblob(300000)))`),
      fc.constantFrom("SAVEPOINT a", "SAVEPOINT b", "ROLLBACK TO a", "RELEASE b", "ROLLBACK TO b"),
    );
    const history = fc.array(statement, { minLength: 10, maxLength: 60 });
    let parts = 0;
    const property = fc.property(history, (statements) => {
      const here = openRaw(":memory:", schema, ["note", "tag"]);
      try {
        native.keepOldValues(here.handle, [], 1);
        here.db.exec("INSERT INTO note (body) VALUES (1), (2), (3), (4), (5)");
        const undo = undoOf(here);
        const before = heldOf(here, here.peerId);
        here.db.exec("BEGIN");
        for (const sql of statements) {
          if (/^(ROLLBACK|RELEASE)/.test(sql)) here.db.exec(`SAVEPOINT ${sql.at(-1)}; ${sql}`);
          else here.db.exec(sql);
        }
        here.db.exec("COMMIT");
        parts = Math.max(parts, heldOf(here, here.peerId) - before);
        expect(undo.difference()).toBeUndefined();
      } finally {
        here.db.close();
      }
    });
    fc.assert(property, { numRuns: 12, seed: Number(process.env.PROPERTY_SEED ?? 1) });
    expect(parts).toBeGreaterThan(3);
  });

  it("are not kept of what is merged", () => {
    const [here, there] = [make(), make()];
    here.db.exec("INSERT INTO note VALUES (1, 'a', 1); UPDATE note SET body = 'b'");
    pull(here, there);
    expect(kept(there)).toBe(0);
    there.db.exec("UPDATE note SET body = 'c'");
    expect(kept(there)).toBe(1);
  });

  it("go when their changesets are trimmed, and move when these do", () => {
    const here = make();
    for (let n = 1; n <= 6; n++) here.db.prepare("INSERT INTO note VALUES (?, 'x', ?)").run(n, n);
    expect(kept(here)).toBe(6);
    const peerId = native.reissue(here.handle, 4);
    const undo = undoOf({ ...here, peerId });
    here.db.exec("DELETE FROM note");
    expect(undo.difference()).toBeUndefined();
    expect(undo.unknown).toBe(0);
    const none = new Float64Array();
    native.trim(here.handle, 2 ** 52, none, none, 1, patiently);
    const left =
      "SELECT count(*) FROM _mergelite_old WHERE id NOT IN (SELECT id FROM _mergelite_log)";
    expect(here.db.prepare(left).pluck().get()).toBe(0);
    expect(kept(here)).toBe(here.db.prepare("SELECT count(*) FROM _mergelite_log").pluck().get());
  });

  it("are kept of a commit that was refused and came through later", () => {
    const file = folder.file();
    const db = new Database(file, { timeout: 0 });
    open.push(db);
    db.exec(`PRAGMA journal_mode = DELETE; ${schema}; INSERT INTO note VALUES (1, 'a', 1)`);
    const here = attachRaw(db);
    native.replicateAll(here.handle, ["note", "tag"]);
    native.keepOldValues(here.handle, [], 1);
    const undo = undoOf(here);
    const reader = new Database(file);
    open.push(reader);
    const reading = reader.prepare("SELECT * FROM sqlite_schema").iterate();
    reading.next();
    db.exec("BEGIN; UPDATE note SET body = 'b'");
    expect(() => db.exec("COMMIT")).toThrow(expect.objectContaining({ code: "SQLITE_BUSY" }));
    db.exec("INSERT INTO tag VALUES (1, 1)");
    reading.return?.();
    db.exec("COMMIT");
    expect(undo.difference()).toBeUndefined();
    expect(undo.unknown).toBe(0);
  });
});
