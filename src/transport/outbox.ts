/** Messages to be sent, for transports that take them in portions: a bounded queue. */
import { checkSize, closedError } from "./transport.ts";

/** `send` waits while more than this is queued; a portion is about as large. */
const queuedBytesMax = 1024 * 1024;
/** What a message costs beyond its bytes, so that empty ones count too. */
const messageCost = 64;

export class Outbox {
  readonly #name: string;
  readonly #onMessage: () => void;
  #messages: Uint8Array[] = [];
  #bytes = 0;
  #waiting: (() => void)[] = [];
  #isEnded = false;

  constructor(name: string, onMessage: () => void) {
    this.#name = name;
    this.#onMessage = onMessage;
  }

  get isEmpty(): boolean {
    return this.#messages.length === 0;
  }

  /** Sends wait. */
  get isFull(): boolean {
    return this.#bytes > queuedBytesMax;
  }

  get isEnded(): boolean {
    return this.#isEnded;
  }

  /** Resolves when there is room for more. @throws MESSAGE_TOO_LARGE, TRANSPORT_CLOSED */
  async send(message: Uint8Array): Promise<void> {
    checkSize(message);
    if (this.#isEnded) throw closedError(this.#name);
    this.#messages.push(message);
    this.#bytes += message.byteLength + messageCost;
    this.#onMessage();
    while (this.isFull) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
      if (this.#isEnded) throw closedError(this.#name);
    }
  }

  /** The next messages: at least one, unless there is none. */
  take(): Uint8Array[] {
    let bytes = 0;
    let count = 0;
    for (const message of this.#messages) {
      if (count > 0 && bytes + message.byteLength > queuedBytesMax) break;
      bytes += message.byteLength + messageCost;
      count += 1;
    }
    this.#bytes -= bytes;
    const taken = this.#messages.splice(0, count);
    for (const wake of this.#waiting.splice(0)) wake();
    return taken;
  }

  /** Takes nothing more, and rejects sends that wait; what is queued can still be taken. */
  end(): void {
    this.#isEnded = true;
    for (const wake of this.#waiting.splice(0)) wake();
  }
}
