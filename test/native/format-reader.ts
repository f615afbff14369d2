/**
 * A reader of payloads and shapes written from docs/format.md alone, and as plainly as possible:
 * where it disagrees with the native core, one of the two or the document is wrong.
 */

export interface ReadShape {
  table: string;
  keys: { name: string; collation: number }[];
  columns: string[];
}

export interface ReadPatch {
  table: string;
  op: "insert" | "update" | "delete";
  key: string[];
  /** Values by column, as SQL writes them; reals by their eight bytes. */
  set: Record<string, string>;
}

export interface ReadPayload {
  continues: boolean;
  shapes: string[];
  patches: ReadPatch[];
}

export class Cursor {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  take(count: number): Uint8Array {
    if (count > this.left) throw new Error("too short");
    this.#at += count;
    return this.#bytes.subarray(this.#at - count, this.#at);
  }

  byte(): number {
    return this.take(1)[0] ?? 0;
  }

  little(count: number): bigint {
    return this.take(count).reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n);
  }

  varint(): bigint {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = this.byte();
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  }

  count(): number {
    return Number(this.varint());
  }
}

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

function readValue(in_: Cursor): string {
  const serial = in_.count();
  if (serial === 0) return "NULL";
  if (serial <= 6) {
    const bytes = [0, 1, 2, 3, 4, 6, 8][serial] ?? 0;
    return String(BigInt.asIntN(8 * bytes, in_.little(bytes)));
  }
  if (serial === 7) return `real x'${in_.little(8).toString(16).padStart(16, "0")}'`;
  if (serial <= 9) return String(serial - 8);
  const content = in_.take((serial - (serial % 2) - 12) / 2);
  return serial % 2 === 1 ? `'${new TextDecoder().decode(content)}'` : `x'${hex(content)}'`;
}

const readText = (in_: Cursor) => new TextDecoder().decode(in_.take(in_.count()));

export function readShape(descriptor: Uint8Array): ReadShape {
  const in_ = new Cursor(descriptor);
  if (in_.byte() !== 1) throw new Error("unknown descriptor format");
  const shape: ReadShape = { table: readText(in_), keys: [], columns: [] };
  for (let left = in_.count(); left > 0; left--) {
    const collation = in_.byte();
    shape.keys.push({ collation, name: readText(in_) });
  }
  for (let left = in_.count(); left > 0; left--) shape.columns.push(readText(in_));
  if (in_.left !== 0) throw new Error("bytes left over");
  return shape;
}

/** FNV-1a of 64 bits with a finishing mix. */
export function hash64(bytes: Uint8Array): string {
  let hash = 0xcbf29ce484222325n;
  for (const byte of bytes) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  hash ^= hash >> 32n;
  hash = BigInt.asUintN(64, hash * 0xd6e8feb86659fd93n);
  hash ^= hash >> 32n;
  return hash.toString(16).padStart(16, "0");
}

/** CRC-32C (Castagnoli), bit by bit. */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return ~crc >>> 0;
}

/** `content` with the checksum that ends a payload. */
export function sealed(content: Uint8Array): Uint8Array {
  const payload = new Uint8Array(content.length + 4);
  payload.set(content);
  new DataView(payload.buffer).setUint32(content.length, crc32c(content), true);
  return payload;
}

export function readPayload(
  payload: Uint8Array,
  shapesByHash: Map<string, ReadShape>,
): ReadPayload {
  const content = payload.subarray(0, -4);
  if (hex(sealed(content)) !== hex(payload)) throw new Error("checksum");
  const in_ = new Cursor(content);
  if (in_.byte() !== 1) throw new Error("unknown payload format");
  const continues = in_.byte() === 1;
  const shapes: string[] = [];
  for (let left = in_.count(); left > 0; left--) {
    shapes.push(in_.little(8).toString(16).padStart(16, "0"));
  }
  const patches: ReadPatch[] = [];
  for (let left = in_.count(); left > 0; left--) {
    const head = in_.count();
    const shape = shapesByHash.get(shapes[head >> 2] ?? "");
    if (shape === undefined) throw new Error("unknown shape");
    patches.push(readPatch(in_, shape, head & 3));
  }
  if (in_.left !== 0) throw new Error("bytes left over");
  return { continues, shapes, patches };
}

function readPatch(in_: Cursor, shape: ReadShape, operation: number): ReadPatch {
  const op = (["", "insert", "update", "delete"] as const)[operation];
  if (op === undefined || op === "") throw new Error("unknown operation");
  const key = shape.keys.map(() => readValue(in_));
  const set: Record<string, string> = {};
  const bitmap = op === "update" ? in_.take(Math.ceil(shape.columns.length / 8)) : undefined;
  for (const [index, column] of shape.columns.entries()) {
    const isSet = bitmap === undefined || ((bitmap[index >> 3] ?? 0) >> (index & 7)) & 1;
    if (op !== "delete" && isSet) set[column] = readValue(in_);
  }
  return { table: shape.table, op, key, set };
}
