/** One conversation over the simulated network, and its two ends. */
import { ReplicaError } from "../../src/errors.ts";
import { Inbox, inboxLimits } from "../../src/transport/inbox.ts";
import type { Transport } from "../../src/transport/transport.ts";
import { checksum, failure, type Network } from "./network.ts";

/** A sender waits while more than this is on its way out. */
const backlogBytesMax = 256 * 1024;
const resetMs = 2;

export class Line {
  readonly ends: [LineEnd, LineEnd];
  readonly kind: "stream" | "datagram";
  readonly #onClosed: () => void;

  constructor(
    network: Network,
    call: { from: number; to: number; kind: "stream" | "datagram" },
    onClosed: () => void,
  ) {
    this.kind = call.kind;
    this.#onClosed = onClosed;
    this.ends = [
      new LineEnd(network, this, { from: call.from, to: call.to }),
      new LineEnd(network, this, { from: call.to, to: call.from }),
    ];
  }

  joins(peer: number): boolean {
    return this.ends.some(({ from }) => from === peer);
  }

  otherOf(end: LineEnd): LineEnd {
    return this.ends[0] === end ? this.ends[1] : this.ends[0];
  }

  /** A partition is over: what a stream held back goes on its way. */
  resume(from: number, to: number): void {
    for (const end of this.ends) if (end.from === from && end.to === to) end.resume();
  }

  /** One side has vanished without a word. */
  sever(peer: number): void {
    for (const end of this.ends) {
      if (end.from === peer) end.vanish();
      else if (this.kind === "stream") end.breakLater();
    }
  }

  /** An end has closed; the other one may not know yet. */
  closed(): void {
    if (this.ends.every(({ isClosed }) => isClosed)) this.#onClosed();
  }
}

export class LineEnd implements Transport {
  readonly name: string;
  readonly from: number;
  readonly to: number;
  readonly messages: Inbox;
  readonly #network: Network;
  readonly #line: Line;
  /** When the last byte that was sent is out, and when the last message arrives. */
  #outMs = 0;
  #arriveMs = 0;
  /** What a stream keeps through a partition. */
  #held: Uint8Array[] = [];
  /** Wake those that wait for room. */
  readonly #senders = new Set<() => void>();
  #closed = false;

  constructor(network: Network, line: Line, { from, to }: { from: number; to: number }) {
    this.#network = network;
    this.#line = line;
    this.from = from;
    this.to = to;
    this.name = `${from}>${to}`;
    this.messages = new Inbox(inboxLimits, () => undefined);
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  async send(bytes: Uint8Array): Promise<void> {
    this.#needOpen();
    const message = this.#network.outgoing(this.from, bytes);
    if (message === undefined) return;
    const { time } = this.#network;
    const bandwidth = this.#network.bandwidth(this.from, this.to);
    this.#outMs = Math.max(this.#outMs, time.nowMs) + message.byteLength / bandwidth;
    if (this.#line.kind === "stream") this.#sendInOrder(message.slice());
    else this.#sendAlone(message.slice());
    const waitMs = this.#outMs - time.nowMs - backlogBytesMax / bandwidth;
    if (waitMs <= 0) return;
    await new Promise<void>((resolve) => {
      const wake = () => {
        this.#senders.delete(wake);
        resolve();
      };
      this.#senders.add(wake);
      time.after(waitMs, wake);
    });
    this.#needOpen();
  }

  /** In good order: the other side reads what is on its way, then the end. */
  close(): void {
    if (this.#closed) return;
    this.#end();
    const { time } = this.#network;
    const other = this.#line.otherOf(this);
    if (this.#line.kind === "datagram") return;
    time.after(Math.max(this.#arriveMs - time.nowMs, 0) + resetMs, () => other.hangUp());
  }

  hangUp(error?: Error): void {
    if (this.#closed) return;
    this.#end(error);
  }

  vanish(): void {
    this.#end();
  }

  /** The network reports it, if it can. */
  breakLater(): void {
    this.#network.time.after(resetMs, () => {
      if (this.#network.isBlocked(this.to, this.from)) return;
      this.hangUp(failure(`${this.name} was reset`));
    });
  }

  resume(): void {
    const held = this.#held;
    this.#held = [];
    for (const message of held) this.#sendInOrder(message);
  }

  #needOpen(): void {
    if (!this.#closed) return;
    throw new ReplicaError("TRANSPORT_CLOSED", `${this.name} is closed`);
  }

  #end(error?: Error): void {
    this.#closed = true;
    this.#held = [];
    this.messages.end(error);
    for (const wake of [...this.#senders]) wake();
    this.#line.closed();
  }

  #sendInOrder(message: Uint8Array): void {
    const { time, chance, weather } = this.#network;
    if (this.#held.length > 0 || this.#network.isBlocked(this.from, this.to)) {
      this.#held.push(message);
      return;
    }
    // What is lost on a stream is sent again below it: it only takes longer.
    const { min, max } = weather.delayMs;
    const delayMs = chance.int(min, max) * (chance.chance(weather.loss) ? 4 : 1);
    this.#arriveMs = Math.max(this.#arriveMs, Math.max(this.#outMs, time.nowMs) + delayMs);
    const damaged = chance.chance(weather.corruption);
    time.after(this.#arriveMs - time.nowMs, () => this.#arrive(message, damaged));
  }

  #sendAlone(message: Uint8Array): void {
    const { time, chance, weather } = this.#network;
    const { min, max } = weather.delayMs;
    const copies = chance.chance(weather.repetition) ? 2 : 1;
    for (let copy = 0; copy < copies; copy++) {
      const delayMs = chance.int(min, max);
      const damaged = chance.chance(weather.corruption);
      if (chance.chance(weather.loss) || this.#network.isBlocked(this.from, this.to)) continue;
      time.after(Math.max(this.#outMs, time.nowMs) + delayMs - time.nowMs, () =>
        this.#arrive(message, damaged),
      );
    }
  }

  #arrive(sent: Uint8Array, damaged: boolean): void {
    const other = this.#line.otherOf(this);
    const isStream = this.#line.kind === "stream";
    if (other.#closed || other.messages.isEnded) return;
    const received = damaged ? this.#damage(sent) : sent;
    if (checksum(received) !== checksum(sent)) {
      if (isStream) {
        other.hangUp(failure(`${other.name}: wrong checksum`));
        this.hangUp(failure(`${this.name} was reset`));
      }
      return;
    }
    // A link's window bounds what a stream has on its way; a datagram finds no room and is lost.
    if (other.messages.isFull && !isStream) return;
    this.#network.delivered(this.from, this.to, received);
    other.messages.push(received);
  }

  #damage(message: Uint8Array): Uint8Array {
    const damaged = message.slice();
    const at = this.#network.chance.int(0, damaged.byteLength - 1);
    damaged[at] = (damaged[at] ?? 0) ^ (1 << this.#network.chance.int(0, 7));
    return damaged;
  }
}
