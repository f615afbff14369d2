/**
 * Reading and writing bytes that crossed a boundary. All bounds checks of the decoders are in
 * `ByteReader`; whatever it refuses is PROTOCOL_MALFORMED. Little-endian; varints are LEB128.
 */
import { ReplicaError } from "../errors.ts";

/** 53 bits, the most a JavaScript number holds exactly, take eight groups of seven bits. */
const varintBytesMax = 8;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export function malformed(message: string, cause?: unknown): ReplicaError {
  return new ReplicaError("PROTOCOL_MALFORMED", message, cause === undefined ? {} : { cause });
}

export class ByteReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #offset: number;

  constructor(bytes: Uint8Array, offset = 0) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#offset = offset;
  }

  get offset(): number {
    return this.#offset;
  }

  get remaining(): number {
    return this.#bytes.byteLength - this.#offset;
  }

  u8(): number {
    this.#need(1);
    return this.#view.getUint8(this.#offset++);
  }

  u64(): bigint {
    this.#need(8);
    const value = this.#view.getBigUint64(this.#offset, true);
    this.#offset += 8;
    return value;
  }

  /** An unsigned integer of at most 53 bits. Scanning records spends its time here. */
  varint(): number {
    const bytes = this.#bytes;
    let offset = this.#offset;
    let value = 0;
    let scale = 1;
    for (let index = 0; index < varintBytesMax; index++) {
      const byte = bytes[offset++];
      if (byte === undefined) throw malformed("message ends too early");
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        if (value > Number.MAX_SAFE_INTEGER) throw malformed("integer over 53 bits");
        this.#offset = offset;
        return value;
      }
      scale *= 128;
    }
    throw malformed(`integer over ${varintBytesMax} bytes`);
  }

  /** A varint that counts or measures; `what` names it in the error. */
  varintUpTo(max: number, what: string): number {
    const value = this.varint();
    if (value > max) throw malformed(`${what} is ${value}, the limit is ${max}`);
    return value;
  }

  /**
   * The length of a list whose items take at least `itemBytesMin` each: checked against what is
   * left, so that a few bytes can never make a decoder allocate a large array.
   */
  count(max: number, itemBytesMin: number, what: string): number {
    const count = this.varintUpTo(max, what);
    if (count * itemBytesMin > this.remaining) throw malformed(`${what} exceeds the message`);
    return count;
  }

  /** A view of the input, not a copy. */
  bytes(length: number): Uint8Array {
    this.#need(length);
    const start = this.#offset;
    this.#offset += length;
    return this.#bytes.subarray(start, this.#offset);
  }

  skip(length: number): void {
    this.#need(length);
    this.#offset += length;
  }

  /** Length-prefixed UTF-8. */
  text(bytesMax: number, what: string): string {
    const bytes = this.bytes(this.varintUpTo(bytesMax, what));
    try {
      return decoder.decode(bytes);
    } catch (cause) {
      throw malformed(`${what} is not UTF-8`, cause);
    }
  }

  end(): void {
    if (this.remaining !== 0) throw malformed(`${this.remaining} bytes after the message`);
  }

  #need(length: number): void {
    if (length > this.remaining) throw malformed("message ends too early");
  }
}

export class ByteWriter {
  #bytes: Uint8Array<ArrayBuffer>;
  #view: DataView;
  #length = 0;
  readonly #bytesMax: number;

  /** @throws MESSAGE_TOO_LARGE from any method, once more than `bytesMax` would be written. */
  constructor(bytesMax: number, capacity = 256) {
    this.#bytesMax = bytesMax;
    this.#bytes = new Uint8Array(capacity);
    this.#view = new DataView(this.#bytes.buffer);
  }

  u8(value: number): void {
    this.#reserve(1);
    this.#view.setUint8(this.#length++, value);
  }

  u64(value: bigint): void {
    this.#reserve(8);
    this.#view.setBigUint64(this.#length, value, true);
    this.#length += 8;
  }

  varint(value: number): void {
    if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`no varint: ${value}`);
    this.#reserve(varintBytesMax);
    let rest = value;
    while (rest >= 0x80) {
      this.#view.setUint8(this.#length++, (rest % 128) + 128);
      rest = Math.floor(rest / 128);
    }
    this.#view.setUint8(this.#length++, rest);
  }

  bytes(bytes: Uint8Array): void {
    this.#reserve(bytes.byteLength);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.byteLength;
  }

  text(text: string, bytesMax: number, what: string): void {
    const bytes = encoder.encode(text);
    if (bytes.byteLength > bytesMax) {
      throw new ReplicaError(
        "MESSAGE_TOO_LARGE",
        `${what} is ${bytes.byteLength} bytes, the limit is ${bytesMax}`,
      );
    }
    this.varint(bytes.byteLength);
    this.bytes(bytes);
  }

  finish(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  #reserve(more: number): void {
    const needed = this.#length + more;
    if (needed > this.#bytesMax) {
      throw new ReplicaError("MESSAGE_TOO_LARGE", `message over ${this.#bytesMax} bytes`);
    }
    if (needed <= this.#bytes.byteLength) return;
    const grown = new Uint8Array(Math.max(needed, this.#bytes.byteLength * 2));
    grown.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = grown;
    this.#view = new DataView(grown.buffer);
  }
}

/** The longest prefix of `text` that fits into `bytesMax` bytes of UTF-8 and cuts no character. */
export function truncateUtf8(text: string, bytesMax: number): string {
  const { read } = encoder.encodeInto(text, new Uint8Array(bytesMax));
  return text.slice(0, read);
}
