/**
 * A `MessagePort` between threads: each message whole, once and in order. Bytes are copied once and
 * then moved, not cloned; a reader that stops makes `send` wait, for each side grants the other
 * credit. Works with ports of `node:worker_threads` and of browsers; the port must carry nothing
 * else.
 */
import { checkNames } from "../arguments.ts";
import { ReplicaError } from "../errors.ts";
import { Inbox, inboxLimits } from "./inbox.ts";
import {
  checkSize,
  closedError,
  type Dialer,
  messageBytesMax,
  type Transport,
} from "./transport.ts";

export type { Dialer, Transport } from "./transport.ts";

/** What is used of a port. */
export interface MessagePortLike {
  postMessage(value: unknown, transfer: ArrayBuffer[]): void;
  addEventListener(type: string, listener: (event: { readonly type: string }) => void): void;
  start?(): void;
  close(): void;
}

export interface MessagePortOptions {
  /** For logs and metrics. @default "port" */
  readonly name?: string;
}

/** Sent unread: bytes of messages, and something for each, so that empty ones count too. */
const creditMax = inboxLimits.bytesMax;
const messageCost = 1024;
/** What was read is told in portions, or as soon as everything was read. */
const grantMin = creditMax / 8;
/** Goes over the port instead of a message when a side closes in good order. */
const goodbye = "end";

/** A transport over one end of a channel, which is its own from here on. */
export function messagePortTransport(
  port: MessagePortLike,
  options?: MessagePortOptions,
): Transport;
/** Dials by asking for a new port, whose other end the caller hands to the other thread. */
export function messagePortTransport(
  open: () => MessagePortLike | Promise<MessagePortLike>,
  options?: MessagePortOptions,
): Dialer;
export function messagePortTransport(
  port: MessagePortLike | (() => MessagePortLike | Promise<MessagePortLike>),
  options: MessagePortOptions = {},
): Transport | Dialer {
  checkNames(options, ["name"]);
  const { name = "port" } = options;
  if (typeof port !== "function") return new PortTransport(port, name);
  return {
    name,
    async dial(signal) {
      signal.throwIfAborted();
      const opened = await port();
      const transport = new PortTransport(opened, name);
      if (!signal.aborted) return transport;
      transport.close();
      throw signal.reason;
    },
  };
}

class PortTransport implements Transport {
  readonly name: string;
  readonly messages: Inbox;
  readonly #port: MessagePortLike;
  /** What may still be sent. */
  #credit = creditMax;
  #creditWaiters: (() => void)[] = [];
  /** Sends wait for each other, so that none overtakes one that waits for credit. */
  #lastSend: Promise<void> = Promise.resolve();
  #unread = 0;
  #ungranted = 0;
  #isClosed = false;

  constructor(port: MessagePortLike, name: string) {
    this.name = name;
    this.#port = port;
    this.messages = new Inbox(
      inboxLimits,
      () => undefined,
      (bytes) => this.#onTaken(bytes + messageCost),
    );
    port.addEventListener("message", (event) => {
      this.#receive("data" in event ? event.data : undefined);
    });
    port.addEventListener("messageerror", () => this.#fail("a message could not be read"));
    // Node.js tells when the other thread has gone without a goodbye.
    port.addEventListener("close", () => this.#ended(this.#gone()));
    port.start?.();
  }

  async send(message: Uint8Array): Promise<void> {
    checkSize(message);
    if (this.#isClosed) throw closedError(this.name);
    const sent = this.#lastSend.then(() => this.#post(message));
    this.#lastSend = sent.catch(() => undefined);
    await sent;
  }

  close(): void {
    if (this.#isClosed) return;
    this.#port.postMessage(goodbye, []);
    this.#ended();
  }

  async #post(message: Uint8Array): Promise<void> {
    // One larger than all credit goes out alone.
    const cost = Math.min(message.byteLength + messageCost, creditMax);
    while (!this.#isClosed && this.#credit < cost) {
      await new Promise<void>((resolve) => this.#creditWaiters.push(resolve));
    }
    if (this.#isClosed) throw closedError(this.name);
    this.#credit -= cost;
    // The caller's bytes may be part of a larger buffer: what is moved is a copy.
    const copy = Uint8Array.from(message);
    this.#port.postMessage(copy, [copy.buffer]);
  }

  #receive(data: unknown): void {
    if (this.messages.isEnded) return;
    if (data === goodbye) this.#ended();
    else if (typeof data === "number") this.#granted(data);
    else if (!(data instanceof Uint8Array)) this.#fail("what came is not a message");
    else if (data.byteLength > messageBytesMax) this.#fail("a message is over 64 MiB");
    else {
      this.#unread += Math.min(data.byteLength + messageCost, creditMax);
      if (this.#unread > 2 * creditMax) this.#fail("more was sent than was granted");
      else this.messages.push(data);
    }
  }

  #granted(credit: number): void {
    if (!(credit > 0 && this.#credit + credit <= creditMax)) {
      this.#fail("more was granted than was sent");
      return;
    }
    this.#credit += credit;
    this.#wakeSenders();
  }

  #onTaken(size: number): void {
    const cost = Math.min(size, creditMax);
    this.#unread -= cost;
    this.#ungranted += cost;
    if (this.#isClosed || (this.#ungranted < grantMin && this.#unread > 0)) return;
    this.#port.postMessage(this.#ungranted, []);
    this.#ungranted = 0;
  }

  #fail(text: string): void {
    this.#ended(new ReplicaError("PROTOCOL_MALFORMED", `${this.name}: ${text}`));
  }

  #gone(): ReplicaError {
    return new ReplicaError("TRANSPORT_FAILED", `${this.name}: the other side is gone`);
  }

  #ended(error?: Error): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.messages.end(error);
    this.#wakeSenders();
    this.#port.close();
  }

  #wakeSenders(): void {
    for (const wake of this.#creditWaiters.splice(0)) wake();
  }
}
