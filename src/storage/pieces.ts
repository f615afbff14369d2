/** Bytes that come in pieces of any size, taken in pieces of another. */
export class Pieces {
  readonly #iterator: AsyncIterator<Uint8Array>;
  #held: Uint8Array = new Uint8Array();

  constructor(pieces: AsyncIterable<Uint8Array>) {
    this.#iterator = pieces[Symbol.asyncIterator]();
  }

  /** So many bytes, as a copy: whoever gives the pieces may use them again. Fewer at the end. */
  async take(length: number): Promise<Uint8Array> {
    const taken = Buffer.allocUnsafe(length);
    let done = 0;
    while (done < length) {
      if (this.#held.length === 0) {
        const next = await this.#iterator.next();
        if (next.done === true) break;
        this.#held = next.value;
      }
      const part = this.#held.subarray(0, length - done);
      taken.set(part, done);
      done += part.length;
      this.#held = this.#held.subarray(part.length);
    }
    return taken.subarray(0, done);
  }

  /** Drops the rest. */
  async close(): Promise<void> {
    await this.#iterator.return?.();
  }
}
