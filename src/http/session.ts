/** The listening side of one HTTP peer: a transport that is fed and emptied by requests. */

import type { Clock } from "../clock.ts";
import { readFrames } from "../transport/http-client.ts";
import { Inbox, inboxLimits } from "../transport/inbox.ts";
import { Outbox } from "../transport/outbox.ts";
import { failedError, type Transport } from "../transport/transport.ts";

/** How long a closing side waits for the other to fetch what was sent. */
const lingerMs = 2_000;

export interface SessionOptions {
  readonly name: string;
  readonly clock: Clock;
  /** A peer that sends no request for so long is gone. */
  readonly sessionMs: number;
  /** Called once, when the session is over. */
  readonly onGone: () => void;
}

export class Session implements Transport {
  readonly name: string;
  readonly messages: Inbox;
  readonly #options: SessionOptions;
  readonly #outbox: Outbox;
  readonly #gone: Promise<void>;
  #setGone: () => void = () => undefined;
  #onRoom: (() => void) | undefined;
  /** Ends the wait of the GET that is under way. */
  #wakePoll: (() => void) | undefined;
  #isPosting = false;
  #isClosing = false;
  #cancelExpiry: (() => void) | undefined;

  constructor(options: SessionOptions) {
    this.name = options.name;
    this.#options = options;
    this.messages = new Inbox(inboxLimits, () => this.#onRoom?.());
    this.#outbox = new Outbox(this.name, () => this.#wakePoll?.());
    this.#gone = new Promise((resolve) => {
      this.#setGone = () => {
        resolve();
        options.onGone();
      };
    });
    this.touch();
  }

  send(message: Uint8Array): Promise<void> {
    return this.#outbox.send(message);
  }

  async close(): Promise<void> {
    if (!this.#isClosing) {
      this.#isClosing = true;
      this.messages.end();
      this.#onRoom?.();
      this.#outbox.end();
      this.#wakePoll?.();
      const cancel = this.#options.clock.setTimer(lingerMs, () => this.end());
      void this.#gone.then(cancel);
    }
    await this.#gone;
  }

  /** The peer has hung up, or is not heard of any more. */
  end(error?: Error): void {
    this.#isClosing = true;
    this.#cancelExpiry?.();
    this.messages.end(error);
    this.#onRoom?.();
    this.#outbox.end();
    this.#wakePoll?.();
    this.#setGone();
  }

  /** A request is a sign of life. */
  touch(): void {
    const { clock, sessionMs, name } = this.#options;
    this.#cancelExpiry?.();
    this.#cancelExpiry = clock.setTimer(sessionMs, () => {
      this.end(failedError(name, `no request in ${sessionMs} ms`));
    });
  }

  /** Messages of a POST's body; the sender waits for the reader. Gives the status to answer. */
  async take(body: AsyncIterable<Uint8Array>): Promise<204 | 409 | 410> {
    if (this.#isPosting) return 409;
    this.#isPosting = true;
    try {
      for await (const message of readFrames(body, this.name)) {
        this.messages.push(message);
        while (this.messages.isFull && !this.messages.isEnded) {
          await new Promise<void>((resolve) => {
            this.#onRoom = resolve;
          });
          // The wait was ours, not the peer's.
          if (!this.#isClosing) this.touch();
        }
      }
      return this.#isClosing ? 410 : 204;
    } finally {
      this.#isPosting = false;
    }
  }

  /** Messages for a GET: none after `pollMs`, `undefined` when there will never be more. */
  async give(pollMs: number, signal: AbortSignal): Promise<Uint8Array[] | undefined> {
    // Only the newest GET waits: the peer has given up on the others.
    this.#wakePoll?.();
    if (this.#outbox.isEmpty && !this.#isClosing) {
      await new Promise<void>((resolve) => {
        const done = () => {
          cancel();
          signal.removeEventListener("abort", done);
          if (this.#wakePoll === done) this.#wakePoll = undefined;
          resolve();
        };
        const cancel = this.#options.clock.setTimer(pollMs, done);
        signal.addEventListener("abort", done, { once: true });
        this.#wakePoll = done;
      });
    }
    // Nobody is there to take them: they stay for the next GET.
    if (signal.aborted) return [];
    const messages = this.#outbox.take();
    if (messages.length > 0 || !this.#isClosing) return messages;
    this.end();
    return undefined;
  }
}
