/**
 * A golden vector of state: the bytes of a chunk and its cursor, read again by what docs/format.md
 * says alone. `MERGELITE_GOLDEN=write` makes the file anew, as in golden.test.ts.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { afterAll, describe, expect, it } from "vitest";
import { native } from "../../src/native.ts";
import { temporaryFolder } from "../support/folder.ts";
import { attachRaw, dump, maintainAll, openRaw, patiently } from "../support/replica.ts";
import { Cursor, hash64, readShape, sealed } from "./format-reader.ts";

const peer = 4_242_424_242_424_242;
const wallMs = Date.UTC(2026, 0, 2, 3, 4, 5, 678);
const file = join(import.meta.dirname, "../fixtures/golden/state-chunk.json");
const schema = "CREATE TABLE note (k TEXT, id INTEGER, a, b, PRIMARY KEY (k, id)) WITHOUT ROWID";
const statements = [
  "INSERT INTO note VALUES ('one', 1, 'first', 1.5), ('two', 2, NULL, x'00ff'), ('two', 3, 3, 3)",
  "UPDATE note SET a = 'changed' WHERE id = 1",
  "DELETE FROM note WHERE id = 3",
];

interface Golden {
  chunk: string;
  next: string;
}

const folder = temporaryFolder();
const open: { close(): unknown }[] = [];
afterAll(() => {
  for (const db of open) db.close();
});

const hexOf = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");
const bytesOf = (hex: string) => new Uint8Array(Buffer.from(hex, "hex"));

function sender() {
  // Opened again, so that nothing remembers the peer id that was drawn.
  const path = folder.file();
  const first = openRaw(path, schema, []);
  first.db.prepare("UPDATE _mergelite_origins SET peer = ? WHERE ordinal = 1").run(peer);
  native.close(first.handle);
  first.db.close();
  const db = new Database(path);
  open.push(db);
  const replica = attachRaw(db);
  native.setClock(replica.handle, wallMs);
  native.replicate(replica.handle, "note");
  for (const statement of statements) db.exec(statement);
  return replica;
}

function made(): Golden {
  const replica = sender();
  for (;;) {
    const read = native.readState(replica.handle, new Uint8Array(0), 1e6, patiently);
    if (!read.more) return { chunk: hexOf(read.chunk), next: hexOf(read.next) };
    maintainAll(replica);
  }
}

function golden(): Golden {
  if (process.env.MERGELITE_GOLDEN === "write") {
    writeFileSync(file, `${JSON.stringify(made(), undefined, 2)}\n`);
  }
  return JSON.parse(readFileSync(file, "utf8")) as Golden;
}

/** The chunk as the offset tables of docs/format.md have it. */
function readChunk(bytes: Uint8Array) {
  const body = bytes.subarray(0, -4);
  expect(sealed(body)).toEqual(bytes);
  const cursor = new Cursor(body);
  const sized = () => cursor.take(Number(cursor.varint()));
  const text = () => Buffer.from(sized()).toString();
  const format = cursor.byte();
  const flags = cursor.byte();
  const many = <Item>(read: () => Item) => Array.from({ length: Number(cursor.varint()) }, read);
  const swept = cursor.varint();
  const origins = many(() => [cursor.varint(), cursor.varint(), cursor.varint()]);
  const shapes = many(() => readShape(sized()));
  const table = text();
  const order = cursor.little(8).toString(16).padStart(16, "0");
  const after = hexOf(sized());
  const items = many(() => {
    const head = Number(cursor.varint());
    const timestamp = cursor.little(7);
    const sequence = cursor.varint();
    const patch = hexOf(sized());
    return { origin: head >> 3, flags: head & 7, timestamp, sequence, patch };
  });
  expect(cursor.left).toBe(0);
  return { format, flags, swept, origins, shapes, table, order, after, items };
}

describe("the golden chunk of state", () => {
  it("is what is read now", () => {
    expect(made()).toEqual(golden());
  });

  it("reads as docs/format.md says", () => {
    const chunk = readChunk(bytesOf(golden().chunk));
    const first = BigInt(wallMs - 1_735_689_600_000) * 8192n;
    expect(chunk).toMatchObject({ format: 1, flags: 3, swept: 0n, table: "note", after: "" });
    expect(chunk.origins).toEqual([[BigInt(peer), 3n, first + 16n]]);
    expect(chunk.shapes[0]).toMatchObject({ table: "note", columns: ["a", "b"] });
    expect(chunk.order).toBe(hash64(Buffer.from("UTF-8 TEXT 0 INTEGER 0")));
    const [insert, update, second, gone] = chunk.items;
    expect(chunk.items).toHaveLength(4);
    // Of the first row an insert that goes on, and an update of its column `a`.
    expect(insert).toMatchObject({ origin: 0, flags: 1, timestamp: first, sequence: 0n });
    expect(update).toMatchObject({ flags: 0, timestamp: first + 8n });
    expect(update?.patch).toBe(
      `0213${Buffer.from("one").toString("hex")}09011b${Buffer.from("changed").toString("hex")}`,
    );
    expect(second).toMatchObject({ flags: 0, timestamp: first });
    expect(gone).toMatchObject({ flags: 0, timestamp: first + 16n });
    expect(gone?.patch).toBe(`0313${Buffer.from("two").toString("hex")}0103`);
  });

  it("makes the same rows of an empty file", () => {
    const { chunk, next } = golden();
    const to = openRaw(":memory:", schema, ["note"]);
    open.push(to.db);
    native.startState(to.handle, 0);
    const merged = native.mergeState(to.handle, bytesOf(chunk), bytesOf(next), 0, 0, patiently);
    expect(merged).toMatchObject({ complete: true, more: false, rows: 3 });
    expect(dump(to.db, "note")).toEqual(dump(sender().db, "note"));
  });
});
