/** `selfTest`: what an application's own suite calls for each of its tables. */
import Database from "better-sqlite3";
import { expect, it } from "vitest";
import { attach, selfTest } from "../../src/index.ts";

const schema = `
  CREATE TABLE list (id TEXT PRIMARY KEY) STRICT;
  CREATE TABLE item (
    list TEXT REFERENCES list (id), n INTEGER, "the text" TEXT NOT NULL, price REAL, data BLOB,
    anything, "both" AS ("the text" || anything), PRIMARY KEY (list, n)
  ) WITHOUT ROWID;
  CREATE INDEX by_text ON item ("the text");
  CREATE VIEW texts AS SELECT "the text" FROM item;
  CREATE VIRTUAL TABLE found USING fts5(body);
  CREATE TRIGGER find AFTER INSERT ON item BEGIN
    INSERT INTO found (body) VALUES (new."the text");
  END;
`;
const row = {
  list: "a",
  n: 2n ** 60n,
  "the text": "with a \0 in it, and é",
  price: 2,
  data: new Uint8Array([0, 1, 255]),
  anything: 9007199254740993n,
};

function open(sql = schema): Database.Database {
  const db = new Database(":memory:");
  db.exec(sql);
  return db;
}

it("passes for a table whose columns all arrive, and leaves the database alone", async () => {
  const db = open();
  const before = db.serialize();
  expect(await selfTest(db, "item", row)).toEqual({ ok: true, differences: [], untested: [] });
  expect(db.serialize()).toEqual(before);
  const replica = attach(db, { tables: ["item"], watchFile: false });
  db.exec(
    `INSERT INTO list VALUES ('a'); INSERT INTO item (list, n, "the text") VALUES ('a', 1, '')`,
  );
  expect(await selfTest(db, "ITEM", row)).toMatchObject({ ok: true });
  expect(db.prepare("SELECT count(*) FROM item").pluck().get()).toBe(1);
  expect(replica.token()).toMatch(/\.1$/);
  await replica.close();
  db.close();
});

it("says which columns were not tested", async () => {
  const db = open();
  const { price, data, ...rest } = row;
  const result = await selfTest(db, "item", rest);
  expect(result).toEqual({ ok: false, differences: [], untested: ["price", "data"] });
  await expect(selfTest(db, "item", { ...row, prize: price })).rejects.toThrow(/prize/);
  await expect(selfTest(db, "item", { data })).rejects.toThrow(/part of the key/);
  await expect(selfTest(db, "nothing", row)).rejects.toThrow(/nothing/);
  db.close();
});

it("finds what a trigger makes different on another peer", async () => {
  const db = open(`
    CREATE TABLE t (id INTEGER PRIMARY KEY, a, b);
    CREATE TRIGGER drop_merged AFTER UPDATE OF a ON t WHEN mergelite_merging() BEGIN
      DELETE FROM t WHERE id = new.id;
    END;
  `);
  const { ok, differences } = await selfTest(db, "t", { id: 1, a: "x", b: "y" });
  expect(ok).toBe(false);
  expect(differences).toContainEqual({
    column: "b",
    step: "to null",
    sent: "'y' 79",
    received: "no row",
  });
  db.close();
});
