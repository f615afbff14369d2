/**
 * Bytes that arrive in pieces of any size, looked at as one run. From the second `fill` on a piece
 * is under way while the ones before it are worked on.
 */
export class ByteQueue {
  readonly #source: AsyncIterator<Uint8Array> | Iterator<Uint8Array>;
  #held: Uint8Array = new Uint8Array();
  #ahead: Promise<IteratorResult<Uint8Array>> | undefined;
  #fills = 0;
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
    const pieces = this.#held.length > 0 ? [this.#held] : [];
    let size = this.#held.length;
    while (size < count && !this.#ended) {
      const next = await (this.#ahead ?? this.#source.next());
      this.#ahead = undefined;
      if (next.done) {
        this.#ended = true;
      } else {
        pieces.push(next.value);
        size += next.value.length;
      }
    }
    const [first] = pieces;
    if (first !== undefined) this.#held = pieces.length > 1 ? Buffer.concat(pieces, size) : first;
    if (this.#fills++ > 0) this.#lookAhead();
    return size >= count;
  }

  take(count: number): Uint8Array {
    const taken = this.#held.subarray(0, count);
    this.#held = this.#held.subarray(taken.length);
    return taken;
  }

  #lookAhead(): void {
    if (this.#ended || this.#ahead !== undefined) return;
    this.#ahead = Promise.resolve(this.#source.next());
    // Whoever needs the piece hears of the failure.
    this.#ahead.catch(() => {});
  }

  /** Tells the source that nothing more is wanted. */
  async close(): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    await this.#source.return?.();
  }
}
