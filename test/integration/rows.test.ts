/** `upsert`, `transaction` and `id`: writes that return their token. */
import type Database from "better-sqlite3";
import { describe, expect, it, vi } from "vitest";
import { join, makePeer } from "../support/peer.ts";

const schema = `
  CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT NOT NULL, tag TEXT DEFAULT 'none', n);
  CREATE TABLE "odd ""table" ("key ""one" TEXT, k2 BLOB, "select" TEXT, twice AS ("select" || 'x'),
    PRIMARY KEY ("key ""one", k2)) WITHOUT ROWID;
  CREATE TABLE local (id INTEGER PRIMARY KEY);
`;

const tables = ["note", 'odd "table'];

/** The patches of a table as `operation columns`. */
const patches = (db: Database.Database, table: string) =>
  db.prepare(`SELECT _op || ' ' || _columns FROM "${table}_patches"`).pluck().all();

describe("upsert", () => {
  it("inserts, then updates just the named columns", () => {
    const { db, replica } = makePeer({ schema, tables });
    expect(replica.upsert("note", { id: 1, body: "a", n: 1n })).toBe(`${replica.peerId}.1`);
    // Without `body`, which must not be NULL.
    expect(replica.upsert("NOTE", { id: 1, tag: null, n: undefined })).toBe(`${replica.peerId}.2`);
    expect(db.prepare("SELECT * FROM note").all()).toEqual([{ id: 1, body: "a", tag: null, n: 1 }]);
    expect(patches(db, "note")).toEqual(['insert ["id","body","tag","n"]', 'update ["tag"]']);
  });

  it("writes only what differs, and nothing when the row has but a key", () => {
    const { db, replica } = makePeer({ schema, tables });
    const token = replica.upsert("note", { id: 1, body: "a" });
    expect(replica.upsert("note", { id: 1, body: "a" })).toBe(token);
    expect(replica.upsert("note", { id: 1 })).toBe(token);
    expect(patches(db, "note")).toHaveLength(1);
  });

  it("quotes names, takes blobs, and reaches other peers with its token", async () => {
    const [here, there] = [makePeer({ schema, tables }), makePeer({ schema, tables })];
    join(here, there);
    const key = { 'key "one': "x", k2: new Uint8Array([1, 2]) };
    const first = here.replica.upsert('odd "table', { ...key, select: "one" }) ?? "";
    await there.replica.wait(first);
    const second = there.replica.upsert('odd "table', { ...key, SELECT: "two" }) ?? "";
    await here.replica.wait(second);
    const row = { ...key, k2: Buffer.from([1, 2]), select: "two", twice: "twox" };
    expect(here.db.prepare('SELECT * FROM "odd ""table"').all()).toEqual([row]);
  });

  it("refuses rows that do not fit, and tables that are not replicated", () => {
    const { replica } = makePeer({ schema, tables });
    const invalid = expect.objectContaining({ code: "INVALID_ROW" });
    const odd = { 'key "one': "x", k2: new Uint8Array() };
    expect(() => replica.upsert("note", { id: 1, bodi: "" })).toThrow(invalid);
    expect(() => replica.upsert("note", { body: "" })).toThrow(invalid);
    expect(() => replica.upsert("note", { id: 1, body: "", BODY: "" })).toThrow(invalid);
    expect(() => replica.upsert('odd "table', { ...odd, twice: "" })).toThrow(invalid);
    const local = expect.objectContaining({ code: "TABLE_NOT_REPLICATED" });
    expect(() => replica.upsert("local", { id: 1 })).toThrow(local);
    expect(() => replica.upsert("note", { id: 1 })).toThrow(/NOT NULL/);
    expect(replica.token()).toMatch(/\.0$/);
  });

  it("has no token inside a transaction, and is undone with it", () => {
    const { db, replica } = makePeer({ schema, tables });
    const undone = db.transaction(() => {
      expect(replica.upsert("note", { id: 1, body: "a" })).toBeUndefined();
      throw new Error("undo");
    });
    expect(undone).toThrow("undo");
    expect(db.prepare("SELECT * FROM note").all()).toEqual([]);
    const token = replica.transaction(() => {
      for (let id = 1; id < 200; id++) replica.upsert("note", { id, body: "a", n: id });
    });
    expect(token).toBe(`${replica.peerId}.1`);
  });

  it("goes on after the schema has changed", async () => {
    const { db, replica } = makePeer({ schema, tables });
    replica.upsert("note", { id: 1, body: "a" });
    expect(() => replica.upsert("note", { id: 1, later: 1 })).toThrow(/no column/);
    db.exec("ALTER TABLE note ADD COLUMN later");
    await vi.waitFor(() => replica.upsert("note", { id: 1, later: "b", body: "c" }));
    replica.upsert("note", { id: 2, body: "d" });
    expect(db.prepare("SELECT id, body, later FROM note").raw().all()).toEqual([
      [1, "c", "b"],
      [2, "d", null],
    ]);
  });
});

describe("transaction", () => {
  it("commits as one changeset, or not at all", () => {
    const { db, replica } = makePeer({ schema, tables });
    const insert = db.prepare("INSERT INTO note (id, body) VALUES (?, 'a')");
    const token = replica.transaction(() => {
      insert.run(1);
      insert.run(2);
    });
    expect(token).toBe(`${replica.peerId}.1`);
    const fail = () => {
      insert.run(3);
      insert.run(3);
    };
    expect(() => replica.transaction(fail)).toThrow(/UNIQUE/);
    expect(() => replica.transaction(async () => insert.run(4))).toThrow(TypeError);
    expect(db.inTransaction).toBe(false);
    expect(replica.token()).toBe(token);
    expect(replica.transaction(() => undefined)).toBe(token);
  });

  it("is a savepoint inside another one", () => {
    const { db, replica } = makePeer({ schema, tables });
    const insert = db.prepare("INSERT INTO note (id, body) VALUES (?, 'a')");
    const token = replica.transaction(() => {
      insert.run(1);
      const failing = () =>
        replica.transaction(() => {
          insert.run(2);
          throw new Error("inner");
        });
      expect(failing).toThrow("inner");
      expect(replica.transaction(() => insert.run(3))).toBeUndefined();
    });
    expect(token).toBe(`${replica.peerId}.1`);
    expect(db.prepare("SELECT id FROM note").pluck().all()).toEqual([1, 3]);
  });

  it("survives a rollback inside, and ends with the replica", async () => {
    const { db, replica } = makePeer({ schema, tables });
    db.exec("CREATE TRIGGER t BEFORE INSERT ON local BEGIN SELECT RAISE(ROLLBACK, 'no'); END");
    const rolledBack = () => db.exec("INSERT INTO local VALUES (1)");
    expect(() => replica.transaction(rolledBack)).toThrow("no");
    expect(db.inTransaction).toBe(false);
    await replica.close();
    expect(() => replica.transaction(() => undefined)).toThrow(/closed/);
    expect(() => replica.upsert("note", { id: 1, body: "" })).toThrow(/closed/);
  });
});

describe("id", () => {
  it("gives ids that never repeat, in ascending order", () => {
    const { replica } = makePeer({ schema, tables });
    const ids = Array.from({ length: 1000 }, () => replica.id());
    expect(new Set(ids).size).toBe(1000);
    expect([...ids].sort((a, b) => a - b)).toEqual(ids);
    expect(ids.every(Number.isSafeInteger)).toBe(true);
  });
});
