/** Bytes that arrive in pieces of any size, looked at as one run. */
export class ByteQueue {
  readonly #source: AsyncIterator<Uint8Array> | Iterator<Uint8Array>;
  #held: Uint8Array = new Uint8Array();
  #ended = false;

  constructor(source: Iterable<Uint8Array> | AsyncIterable<Uint8Array>) {
    this.#source =
      Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]();
  }

  /** What has arrived and not been taken. */
  get bytes(): Uint8Array {
    return this.#held;
  }

  /** Waits for so many bytes. False: there are not as many before the end. */
  async fill(count: number): Promise<boolean> {
    const pieces = [this.#held];
    let size = this.#held.length;
    while (size < count && !this.#ended) {
      const next = await this.#source.next();
      if (next.done) {
        this.#ended = true;
      } else {
        pieces.push(next.value);
        size += next.value.length;
      }
    }
    if (pieces.length > 1) this.#held = Buffer.concat(pieces, size);
    return size >= count;
  }

  take(count: number): Uint8Array {
    const taken = this.#held.subarray(0, count);
    this.#held = this.#held.subarray(taken.length);
    return taken;
  }

  /** Tells the source that nothing more is wanted. */
  async close(): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    await this.#source.return?.();
  }
}
