/** Messages that are larger than a transport has to carry, cut into FRAGMENT messages. */
import { malformed } from "../log/bytes.ts";
import type { Fragment } from "./protocol.ts";

/** Messages up to this size are sent whole. At 300 kB a second one takes less than a silence. */
export const fragmentBytesMax: number = 4 * 1024 * 1024;
/** SQLite's rows have at most 10^9 bytes, and a changeset of a larger row is never committed. */
export const assembledBytesMax: number = 1024 * 1024 * 1024;

/** The fragments of an encoded message; views of it, not copies. */
export function* fragmentsOf(
  message: Uint8Array,
  id: number,
  bytesMax: number = fragmentBytesMax,
): Generator<Fragment> {
  const count = Math.ceil(message.byteLength / bytesMax);
  for (let index = 0; index < count; index++) {
    const bytes = message.subarray(index * bytesMax, (index + 1) * bytesMax);
    yield { kind: "fragment", id, index, count, bytes };
  }
}

/**
 * Puts one message at a time together again: a fragment of another message drops what has come of
 * the one before, which is sent again as every message that was lost.
 */
export class Assembler {
  readonly #bytesMax: number;
  #id = 0;
  #count = 0;
  #parts = new Map<number, Uint8Array>();
  #bytes = 0;

  constructor(bytesMax: number = assembledBytesMax) {
    this.#bytesMax = bytesMax;
  }

  /**
   * The message, when this was the last fragment missing.
   * @throws PROTOCOL_MALFORMED
   */
  add({ id, index, count, bytes }: Fragment): Uint8Array | undefined {
    if (id !== this.#id || count !== this.#count) this.#start(id, count);
    if (this.#parts.has(index)) return undefined;
    this.#bytes += bytes.byteLength;
    if (this.#bytes > this.#bytesMax) {
      this.#start(0, 0);
      throw malformed(`fragments of more than ${this.#bytesMax} bytes`);
    }
    this.#parts.set(index, bytes);
    if (this.#parts.size < count) return undefined;
    const message = new Uint8Array(this.#bytes);
    let at = 0;
    for (let next = 0; next < count; next++) {
      const part = this.#parts.get(next);
      if (part === undefined) throw malformed("a fragment is missing");
      message.set(part, at);
      at += part.byteLength;
    }
    this.#start(0, 0);
    return message;
  }

  #start(id: number, count: number): void {
    this.#id = id;
    this.#count = count;
    this.#parts = new Map();
    this.#bytes = 0;
  }
}
