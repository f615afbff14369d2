/**
 * What a table was before a transaction, from what it is now and from the old values that the file
 * keeps: they are exact when this gives the rows that were seen then.
 */
import { createHash } from "node:crypto";
import type Database from "better-sqlite3";
import { LogLookup } from "../../src/log/lookup.ts";
import { PayloadReader, readShape, type Shape } from "../../src/log/payload.ts";
import { readRecords } from "../../src/log/records.ts";
import { native, type SqlValue } from "../../src/native.ts";
import { heldOf, quoted, type RawReplica } from "./replica.ts";

/** Rows by key, of each table; values with their types. */
type Rows = Map<string, Map<string, string>>;

export class Undo {
  readonly #replica: RawReplica;
  readonly #tables: readonly string[];
  readonly #lookup: LogLookup;
  readonly #shapes = new Map<string, Shape>();
  #rows: Rows;
  #held: number;
  /** Rows that the old values did not tell of. */
  unknown = 0;

  constructor(replica: RawReplica, tables: readonly string[]) {
    this.#replica = replica;
    this.#tables = tables;
    this.#lookup = new LogLookup(replica.db);
    this.#rows = this.#read();
    this.#held = heldOf(replica, replica.peerId);
  }

  /** Where what was there at the last call and what follows from the old values differ, if they do. */
  difference(): string | undefined {
    const { peerId } = this.#replica;
    const now = this.#read();
    const undone = new Map([...now].map(([table, rows]) => [table, new Map(rows)]));
    const before = this.#held;
    this.#held = heldOf(this.#replica, peerId);
    for (let sequence = this.#held; sequence > before; sequence--) this.#undo(sequence, undone);
    const was = this.#rows;
    this.#rows = now;
    for (const table of this.#tables) {
      const [wanted, got] = [was, undone].map((rows) => listOf(rows.get(table)));
      if (wanted !== got) return `${table} was\n    ${wanted}\n  undone\n    ${got}`;
    }
    return undefined;
  }

  #undo(sequence: number, rows: Rows): void {
    const { handle, peerId } = this.#replica;
    const log = native.readLog(handle, peerId, sequence, sequence, 2 ** 30);
    const [record] = readRecords(log);
    const payload = this.#lookup.oldIn(peerId, sequence);
    const changed = new Set(this.#patches(record?.payload).map(({ row }) => row));
    let isAbsent = false;
    for (const { row, table, key, operation, values } of this.#patches(payload)) {
      const isSpelled = !changed.delete(row);
      if (isSpelled && !isAbsent) throw new Error(`an old value of ${key}, which has no patch`);
      // What is still there under this very key was replaced by no other spelling of it.
      if (isSpelled && rows.get(table)?.has(key)) throw new Error(`${key} is told for another row`);
      isAbsent = operation === "delete";
      if (operation === "insert") rows.get(table)?.set(key, values);
      else rows.get(table)?.delete(key);
    }
    this.unknown += changed.size;
  }

  #patches(payload: Uint8Array | undefined) {
    if (payload === undefined) return [];
    const reader = new PayloadReader(payload, {
      shapeOf: (hash) => this.#shapeOf(hash),
      safeIntegers: true,
    });
    const patches = [];
    for (let patch = reader.next(); patch !== undefined; patch = reader.next()) {
      const { table, key, operation, values } = patch;
      const [keyText, valueText] = [key, values].map((record) => textOf(Object.values(record)));
      patches.push({
        row: reader.row,
        table,
        key: keyText ?? "",
        operation,
        values: valueText ?? "",
      });
    }
    return patches;
  }

  #shapeOf(hash: string): Shape {
    const known = this.#shapes.get(hash);
    if (known !== undefined) return known;
    for (const descriptor of native.shapes(this.#replica.handle, 0).descriptors) {
      this.#shapes.set(native.shapeHash(descriptor), readShape(descriptor));
    }
    const shape = this.#shapes.get(hash);
    if (shape === undefined) throw new Error(`no shape ${hash}`);
    return shape;
  }

  #read(): Rows {
    return new Map(this.#tables.map((table) => [table, readTable(this.#replica.db, table)]));
  }
}

function listOf(rows: ReadonlyMap<string, string> = new Map()): string {
  const lines = Array.from(rows, ([key, values]) => `${key}: ${values}`);
  return lines.sort().join("\n    ");
}

function readTable(db: Database.Database, table: string): Map<string, string> {
  const info = db.prepare("SELECT name, pk, hidden FROM pragma_table_xinfo(?)").all(table) as {
    name: string;
    pk: number;
    hidden: number;
  }[];
  const stored = info.filter(({ hidden }) => hidden === 0);
  const keys = stored.filter(({ pk }) => pk > 0).sort((a, b) => a.pk - b.pk);
  const columns = [...keys, ...stored.filter(({ pk }) => pk === 0)];
  const names = columns.map(({ name }) => quoted(name)).join(", ");
  const rows = db
    .prepare(`SELECT ${names} FROM ${quoted(table)}`)
    .raw()
    .safeIntegers()
    .all() as SqlValue[][];
  return new Map(
    rows.map((row) => [textOf(row.slice(0, keys.length)), textOf(row.slice(keys.length))]),
  );
}

function textOf(values: readonly SqlValue[]): string {
  return values
    .map((value) => {
      if (value instanceof Uint8Array) return `blob ${briefly(value)}`;
      if (typeof value === "string") return `text ${briefly(Buffer.from(value))}`;
      if (typeof value === "number") return `real ${Object.is(value, -0) ? "-0" : value}`;
      return `${typeof value} ${value}`;
    })
    .join(" | ");
}

function briefly(bytes: Uint8Array): string {
  if (bytes.byteLength <= 64) return Buffer.from(bytes).toString("hex");
  return createHash("sha1").update(bytes).digest("hex");
}
