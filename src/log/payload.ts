/**
 * The payload of a changeset as JavaScript values, for listeners to what was written. Merging and
 * capture have their own reader in native code; `docs/format.md` specifies the bytes. The checksum
 * is not looked at: what is in the log was checked when it came.
 */
import type { SqlValue } from "../native.ts";
import { ByteReader, malformed } from "./bytes.ts";

/** A table as its origin saw it. */
export interface Shape {
  readonly table: string;
  readonly keys: readonly string[];
  readonly columns: readonly string[];
}

/** What a transaction did to one row. */
export interface Patch {
  readonly table: string;
  readonly operation: "insert" | "update" | "delete";
  /** By column; an integer beyond 53 bits is a bigint, a blob is a `Uint8Array`. */
  readonly key: Readonly<Record<string, SqlValue>>;
  /** The columns that were set, without the key; of an insert all, of a delete none. */
  readonly values: Readonly<Record<string, SqlValue>>;
  /**
   * Of a change made on this file to a table that keeps old values: the row as it was before the
   * transaction, without its key; `null`, there was none. Absent where that is not known.
   */
  readonly old?: Readonly<Record<string, SqlValue>> | null;
}

const flagContinues = 1;
const operations = [undefined, "insert", "update", "delete"] as const;
const columnsMax = 32_767;
const nameBytesMax = 4096;
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** @throws PROTOCOL_MALFORMED */
export function readShape(descriptor: Uint8Array): Shape {
  const reader = new ByteReader(descriptor, 1);
  const table = reader.text(nameBytesMax, "table name");
  const keys: string[] = [];
  const keyCount = reader.count(columnsMax, 2, "key columns");
  for (let i = 0; i < keyCount; i++) {
    reader.u8(); // the collation
    keys.push(reader.text(nameBytesMax, "column name"));
  }
  const columns: string[] = [];
  const columnCount = reader.count(columnsMax, 1, "columns");
  for (let i = 0; i < columnCount; i++) columns.push(reader.text(nameBytesMax, "column name"));
  reader.end();
  return { table, keys, columns };
}

export interface PayloadOptions {
  /** By hash, 16 hex digits. */
  readonly shapeOf: (hash: string) => Shape;
  /** Integers are bigints, all of them. */
  readonly safeIntegers: boolean;
}

/** Walks the patches of one payload. */
export class PayloadReader {
  /** The transaction goes on in the next sequence. */
  readonly continues: boolean;
  readonly shapes: readonly Shape[];
  readonly #reader: ByteReader;
  readonly #safeIntegers: boolean;
  readonly #body: Uint8Array;
  #left: number;
  #row = { shape: 0, start: 0, end: 0 };

  /** @throws PROTOCOL_MALFORMED */
  constructor(payload: Uint8Array, { shapeOf, safeIntegers }: PayloadOptions) {
    const body = payload.subarray(0, Math.max(payload.byteLength - 4, 0));
    const reader = new ByteReader(body, Math.min(1, body.byteLength));
    this.continues = (reader.u8() & flagContinues) !== 0;
    const shapes: Shape[] = [];
    const shapeCount = reader.count(body.byteLength, 8, "shapes");
    for (let i = 0; i < shapeCount; i++) {
      shapes.push(shapeOf(reader.u64().toString(16).padStart(16, "0")));
    }
    this.shapes = shapes;
    this.#left = reader.count(body.byteLength, 1, "patches");
    this.#reader = reader;
    this.#body = body;
    this.#safeIntegers = safeIntegers;
  }

  /** The next patch, `undefined` behind the last one. @throws PROTOCOL_MALFORMED */
  next(): Patch | undefined {
    if (this.#left === 0) return undefined;
    this.#left--;
    const head = this.#reader.varint();
    const shape = this.shapes[Math.floor(head / 4)];
    const operation = operations[head % 4];
    if (shape === undefined || operation === undefined) throw malformed("a patch of no shape");
    const start = this.#reader.offset;
    const key = this.#record(shape.keys);
    this.#row = { shape: Math.floor(head / 4), start, end: this.#reader.offset };
    const values = operation === "delete" ? {} : this.#record(this.#columnsSet(shape, operation));
    return { table: shape.table, operation, key, values };
  }

  /** Of the last patch: equal for two of one row, in any payload with these shapes. */
  get row(): string {
    const { shape, start, end } = this.#row;
    const { buffer, byteOffset } = this.#body;
    return `${shape} ${Buffer.from(buffer, byteOffset + start, end - start).toString("latin1")}`;
  }

  #columnsSet({ columns }: Shape, operation: "insert" | "update"): readonly string[] {
    if (operation === "insert") return columns;
    const bitmap = this.#reader.bytes(Math.ceil(columns.length / 8));
    return columns.filter((_, i) => ((bitmap[i >> 3] ?? 0) >> (i & 7)) & 1);
  }

  #record(names: readonly string[]): Record<string, SqlValue> {
    const record: Record<string, SqlValue> = {};
    for (const name of names) {
      const value = this.#value();
      if (name !== "__proto__") record[name] = value;
      else Object.defineProperty(record, name, { value, enumerable: true });
    }
    return record;
  }

  #value(): SqlValue {
    const reader = this.#reader;
    const serial = reader.varint();
    if (serial >= 12) {
      const bytes = reader.bytes(Math.floor((serial - 12) / 2));
      // A copy: what a listener keeps must not keep the whole payload.
      return serial % 2 === 0 ? bytes.slice() : decoder.decode(bytes);
    }
    if (serial === 0) return null;
    if (serial === 7) {
      const bytes = reader.bytes(8);
      return new DataView(bytes.buffer, bytes.byteOffset, 8).getFloat64(0, true);
    }
    if (serial > 9) throw malformed(`serial type ${serial}`);
    const integer = serial >= 8 ? serial - 8 : readInteger(reader, serial);
    return this.#safeIntegers ? BigInt(integer) : integer;
  }
}

/** A bigint only where a number would not be exact. */
function readInteger(reader: ByteReader, serial: number): number | bigint {
  if (serial === 6) {
    const wide = BigInt.asIntN(64, reader.u64());
    const narrow = Number(wide);
    return Number.isSafeInteger(narrow) ? narrow : wide;
  }
  const bytes = reader.bytes(serial === 5 ? 6 : serial);
  let integer = 0;
  for (let i = bytes.length - 1; i >= 0; i--) integer = integer * 256 + (bytes[i] ?? 0);
  const span = 256 ** bytes.length;
  return integer < span / 2 ? integer : integer - span;
}
