/** The anomalies of docs/consistency.md, as they are told there. */
import { setTimeout as sleep } from "node:timers/promises";
import Database from "better-sqlite3";
import { afterEach, beforeEach, expect, test } from "vitest";
import { attach, type Replica } from "../../src/index.ts";
import { memoryPair } from "../../src/transport/memory.ts";

interface Peer {
  db: Database.Database;
  replica: Replica;
}

const schema = `
  CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER);
  CREATE TABLE booking (id TEXT PRIMARY KEY NOT NULL, account INTEGER, amount INTEGER);
  CREATE TABLE doctor (name TEXT PRIMARY KEY NOT NULL, on_call INTEGER);
  CREATE TABLE person (id TEXT PRIMARY KEY NOT NULL, street TEXT, city TEXT, email TEXT UNIQUE);
  CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT);
  CREATE TABLE parent (id INTEGER PRIMARY KEY);
  CREATE TABLE child (id INTEGER PRIMARY KEY, parent INTEGER REFERENCES parent (id));
`;
const tables = ["account", "booking", "doctor", "person", "note", "parent", "child"];

let a: Peer;
let b: Peer;

function open(): Peer {
  const db = new Database(":memory:");
  db.exec(schema);
  return { db, replica: attach(db, { tables }) };
}

beforeEach(() => {
  a = open();
  b = open();
});
afterEach(async () => {
  await a.replica.close();
  await b.replica.close();
});

/** Lets the peers meet for as long as it takes them to exchange everything. */
async function meet(): Promise<void> {
  const [left, right] = memoryPair();
  const connection = a.replica.connect(left);
  b.replica.connect(right);
  for (const [reader, writer] of [
    [a, b],
    [b, a],
  ] as const) {
    const token = writer.replica.token();
    if (!token.endsWith(".0")) await reader.replica.wait(token);
  }
  await connection.close();
}

/** A, and then B a moment later by every clock. */
async function write(onA: string, onB: string): Promise<void> {
  a.db.exec(onA);
  await sleep(5);
  b.db.exec(onB);
  await meet();
}

function bothShow(sql: string, value: unknown): void {
  for (const { db } of [a, b]) expect(db.prepare(sql).pluck().get()).toEqual(value);
}

test("lost update: one of two additions remains", async () => {
  a.db.exec("INSERT INTO account VALUES (1, 100)");
  await meet();
  await write(
    "UPDATE account SET balance = balance + 10 WHERE id = 1",
    "UPDATE account SET balance = balance + 5 WHERE id = 1",
  );
  bothShow("SELECT balance FROM account", 105);
});

test("sums of rows keep both", async () => {
  await write("INSERT INTO booking VALUES ('x', 1, 10)", "INSERT INTO booking VALUES ('y', 1, 5)");
  bothShow("SELECT 100 + sum(amount) FROM booking WHERE account = 1", 115);
});

test("write skew: nobody is on call", async () => {
  a.db.exec("INSERT INTO doctor VALUES ('ann', 1), ('bob', 1)");
  await meet();
  const leave = (name: string) =>
    `UPDATE doctor SET on_call = 0
     WHERE name = '${name}' AND (SELECT sum(on_call) FROM doctor) > 1`;
  await write(leave("ann"), leave("bob"));
  bothShow("SELECT sum(on_call) FROM doctor", 0);
});

test("columns of one row merge by themselves", async () => {
  a.db.exec("INSERT INTO person (id) VALUES ('p7')");
  await meet();
  await write(
    "UPDATE person SET street = 'Elm 1', city = 'Bern' WHERE id = 'p7'",
    "UPDATE person SET city = 'Rome' WHERE id = 'p7'",
  );
  bothShow("SELECT street || ', ' || city FROM person", "Elm 1, Rome");
});

test("an update that did not see the delete does not bring the row back", async () => {
  a.db.exec("INSERT INTO note VALUES (1, 'draft 1')");
  await meet();
  await write("DELETE FROM note WHERE id = 1", "UPDATE note SET body = 'draft 2' WHERE id = 1");
  bothShow("SELECT count(*) FROM note", 0);
  const waiting = { table: "note", reason: "row", count: 1 };
  for (const { replica } of [a, b]) expect(replica.status().parked).toEqual([waiting]);
});

test("of two inserts of one key the later one wins in all columns", async () => {
  await write(
    "INSERT INTO person (id, street) VALUES ('p', 'Elm 1')",
    "INSERT INTO person (id, city) VALUES ('p', 'Rome')",
  );
  bothShow("SELECT street IS NULL AND city = 'Rome' FROM person", 1);
});

test("a unique value on two peers: the row born first keeps it, the other one waits", async () => {
  await write(
    "INSERT INTO person (id, email) VALUES ('p1', 'a@example.org')",
    "INSERT INTO person (id, email) VALUES ('p2', 'a@example.org')",
  );
  bothShow("SELECT group_concat(id) FROM person", "p1");
  for (const { replica } of [a, b]) {
    expect(replica.status().parked).toMatchObject([{ table: "person", reason: "unique" }]);
  }
  a.db.exec("DELETE FROM person WHERE id = 'p1'");
  await meet();
  const ids = "SELECT group_concat(id) FROM person";
  await expect.poll(() => a.db.prepare(ids).pluck().get(), { timeout: 10_000 }).toBe("p2");
  bothShow(ids, "p2");
});

test("a child may lose its parent, on both peers alike", async () => {
  for (const { db } of [a, b]) db.pragma("foreign_keys = ON");
  a.db.exec("INSERT INTO parent VALUES (1)");
  await meet();
  await write("DELETE FROM parent", "INSERT INTO child VALUES (1, 1)");
  for (const { db } of [a, b]) expect(db.pragma("foreign_key_check")).toHaveLength(1);
});
