/** Messages that arrived and were not read yet: a bounded queue with one consumer. */

export interface InboxLimits {
  readonly bytesMax: number;
  readonly messagesMax: number;
}

/** Room for several windows of a link; a transport that can slow its sender needs no more. */
export const inboxLimits: InboxLimits = { bytesMax: 4 * 1024 * 1024, messagesMax: 4096 };

export class Inbox implements AsyncIterable<Uint8Array> {
  readonly #limits: InboxLimits;
  readonly #onRoom: () => void;
  readonly #onTaken: (bytes: number) => void;
  #messages: Uint8Array[] = [];
  /** Index of the next message: shifting a long array costs its length. */
  #next = 0;
  #bytes = 0;
  #ended = false;
  #error: Error | undefined;
  #wake: (() => void) | undefined;

  /**
   * `onRoom` is called when the consumer has made room in a full queue, `onTaken` for each message
   * it takes.
   */
  constructor(
    limits: InboxLimits,
    onRoom: () => void,
    onTaken: (bytes: number) => void = () => undefined,
  ) {
    this.#limits = limits;
    this.#onRoom = onRoom;
    this.#onTaken = onTaken;
  }

  /** The source must stop until `onRoom` is called. */
  get isFull(): boolean {
    const count = this.#messages.length - this.#next;
    return this.#bytes >= this.#limits.bytesMax || count >= this.#limits.messagesMax;
  }

  get isEnded(): boolean {
    return this.#ended;
  }

  /** Takes a message even when full; dropped after the end. */
  push(message: Uint8Array): void {
    if (this.#ended) return;
    this.#messages.push(message);
    this.#bytes += message.byteLength;
    this.#wake?.();
  }

  /** The consumer still gets what is queued, then the end, or the error. */
  end(error?: Error): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, void> {
    try {
      for (;;) {
        const message = this.#shift();
        if (message !== undefined) yield message;
        else if (this.#error !== undefined) throw this.#error;
        else if (this.#ended) return;
        else await this.#arrival();
      }
    } finally {
      // Nobody reads on: let go of what is queued.
      this.#ended = true;
      this.#messages = [];
      this.#next = 0;
      this.#bytes = 0;
      this.#onRoom();
    }
  }

  #shift(): Uint8Array | undefined {
    const message = this.#messages[this.#next];
    if (message === undefined) return undefined;
    const wasFull = this.isFull;
    this.#next += 1;
    this.#bytes -= message.byteLength;
    if (this.#next === this.#messages.length) {
      this.#messages = [];
      this.#next = 0;
    } else if (this.#next >= 1024) {
      this.#messages = this.#messages.slice(this.#next);
      this.#next = 0;
    }
    if (wasFull && !this.isFull) this.#onRoom();
    this.#onTaken(message.byteLength);
    return message;
  }

  #arrival(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = () => {
        this.#wake = undefined;
        resolve();
      };
    });
  }
}
