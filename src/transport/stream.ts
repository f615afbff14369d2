/** Framed messages over byte streams: one that goes both ways, as a socket, or a pair of pipes. */
import type { Readable, Writable } from "node:stream";
import type { Clock } from "../clock.ts";
import { ReplicaError } from "../errors.ts";
import { FrameReader, frameHeader } from "./framing.ts";
import { Inbox, inboxLimits } from "./inbox.ts";
import { checkSize, closedError, failedError, type Transport } from "./transport.ts";

export interface StreamOptions {
  readonly name: string;
  readonly clock: Clock;
  /** Resolves when the other side is no more; with the reason, unless all went well. */
  readonly whyEnded?: () => Promise<Error | undefined>;
}

/** How long a closing side waits for the other to read what was sent. */
const lingerMs = 2_000;

export class StreamTransport implements Transport {
  readonly name: string;
  readonly messages: Inbox;
  readonly #input: Readable;
  readonly #output: Writable;
  readonly #clock: Clock;
  readonly #whyEnded: (() => Promise<Error | undefined>) | undefined;
  readonly #frames = new FrameReader();
  /** Resolves when both directions are closed. */
  readonly #gone: Promise<unknown>;
  #drained: Promise<void> | undefined;
  #isClosing = false;

  constructor(
    { input, output }: { input: Readable; output: Writable },
    { name, clock, whyEnded }: StreamOptions,
  ) {
    this.name = name;
    this.#input = input;
    this.#output = output;
    this.#clock = clock;
    this.#whyEnded = whyEnded;
    this.messages = new Inbox(inboxLimits, () => input.resume());
    const streams = [...new Set([input, output])];
    for (const stream of streams) {
      stream.on("error", (cause) => this.#failed(failedError(name, cause)));
    }
    this.#gone = Promise.all(streams.map(whenClosed));
    void this.#gone.then(() => this.#ended());
    input.on("data", (chunk) => this.#receive(chunk));
    input.on("end", () => this.#ended());
  }

  async send(message: Uint8Array): Promise<void> {
    checkSize(message);
    if (this.#isClosing || !this.#output.writable) throw closedError(this.name);
    // One packet for the header and a small message, instead of two.
    this.#output.cork();
    this.#output.write(frameHeader(message));
    const hasRoom = this.#output.write(message);
    this.#output.uncork();
    if (hasRoom && !this.#output.writableNeedDrain) return;
    this.#drained ??= this.#whenDrained();
    await this.#drained;
  }

  async close(): Promise<void> {
    if (!this.#isClosing) {
      this.#isClosing = true;
      this.messages.end();
      // Unread bytes would turn a socket's FIN into a reset, and the other side might lose a BYE.
      this.#input.resume();
      this.#output.end();
      const cancel = this.#clock.setTimer(lingerMs, () => this.#destroy());
      void this.#gone.then(cancel);
    }
    await this.#gone;
    await this.#whyEnded?.();
  }

  #receive(chunk: Uint8Array): void {
    if (this.#isClosing) return;
    try {
      // Not a Buffer: its `slice` would share memory where the caller expects a copy.
      const bytes = new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength);
      for (const message of this.#frames.push(bytes)) this.messages.push(message);
    } catch (error) {
      this.messages.end(error instanceof Error ? error : failedError(this.name, error));
      this.#destroy();
      return;
    }
    if (this.messages.isFull) this.#input.pause();
  }

  #ended(): void {
    if (this.messages.isEnded) return;
    // Sockets do so by themselves, pipes do not.
    this.#output.end();
    if (this.#frames.isMidMessage) {
      this.messages.end(new ReplicaError("TRANSPORT_FAILED", `${this.name} ended mid-message`));
    } else {
      this.#failed(undefined);
    }
  }

  /** A program that failed says more than the pipe that broke. */
  #failed(error: Error | undefined): void {
    if (this.#whyEnded === undefined) {
      this.messages.end(error);
      return;
    }
    this.#destroy();
    void this.#whyEnded().then((reason) => this.messages.end(reason ?? error));
  }

  #destroy(): void {
    this.#input.destroy();
    this.#output.destroy();
  }

  #whenDrained(): Promise<void> {
    return new Promise((resolve, reject) => {
      const settle = (isOpen: boolean) => {
        this.#drained = undefined;
        this.#output.off("drain", onDrain);
        this.#output.off("close", onClose);
        if (isOpen) resolve();
        else reject(closedError(this.name));
      };
      const onDrain = () => settle(true);
      const onClose = () => settle(false);
      this.#output.on("drain", onDrain);
      this.#output.on("close", onClose);
    });
  }
}

function whenClosed(stream: Readable | Writable): Promise<void> {
  return new Promise((resolve) => {
    if (stream.closed) resolve();
    else stream.once("close", () => resolve());
  });
}
