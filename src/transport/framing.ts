/** Messages in a byte stream: a length as u32, little-endian, then the message. */
import { ReplicaError } from "../errors.ts";
import { messageBytesMax } from "./transport.ts";

const headerBytes = 4;

export function frameHeader(message: Uint8Array): Uint8Array {
  const header = new Uint8Array(headerBytes);
  new DataView(header.buffer).setUint32(0, message.byteLength, true);
  return header;
}

export class FrameReader {
  #chunks: Uint8Array[] = [];
  #bytes = 0;
  /** Length of the message that is arriving, once its header is there. */
  #length: number | undefined;

  /** Bytes of a message that has not arrived as a whole. */
  get isMidMessage(): boolean {
    return this.#bytes > 0 || this.#length !== undefined;
  }

  /**
   * The messages that `chunk` completes. Memory grows with the bytes that have arrived, never with
   * the length a header only claims.
   * @throws MESSAGE_TOO_LARGE
   */
  push(chunk: Uint8Array): Uint8Array[] {
    this.#chunks.push(chunk);
    this.#bytes += chunk.byteLength;
    const messages: Uint8Array[] = [];
    for (;;) {
      if (this.#length === undefined) {
        if (this.#bytes < headerBytes) return messages;
        this.#length = readLength(this.#take(headerBytes));
      }
      if (this.#bytes < this.#length) return messages;
      messages.push(this.#take(this.#length));
      this.#length = undefined;
    }
  }

  /** The next bytes, copied only when they are spread over several chunks. */
  #take(length: number): Uint8Array {
    if (this.#chunks.length > 1 && (this.#chunks[0]?.byteLength ?? 0) < length) {
      this.#chunks = [concat(this.#chunks, this.#bytes)];
    }
    const chunk = this.#chunks[0] ?? new Uint8Array(0);
    const rest = chunk.subarray(length);
    if (rest.byteLength > 0) this.#chunks[0] = rest;
    else this.#chunks.shift();
    this.#bytes -= length;
    return chunk.subarray(0, length);
  }
}

function readLength(header: Uint8Array): number {
  const view = new DataView(header.buffer, header.byteOffset, headerBytes);
  const length = view.getUint32(0, true);
  if (length > messageBytesMax) {
    throw new ReplicaError("MESSAGE_TOO_LARGE", `a message of ${length} bytes was announced`);
  }
  return length;
}

function concat(chunks: readonly Uint8Array[], bytes: number): Uint8Array {
  const whole = new Uint8Array(bytes);
  let offset = 0;
  for (const chunk of chunks) {
    whole.set(chunk, offset);
    offset += chunk.byteLength;
  }
  return whole;
}
