/**
 * A network of peers by number. Lines are like TCP (in order, whole, until they break) or like
 * datagrams (lost, repeated, out of order). Both check a checksum, as every real one does.
 */
import { crc32 } from "node:zlib";
import { ReplicaError } from "../../src/errors.ts";
import type { Dialer, Transport } from "../../src/transport/transport.ts";
import { Line, type LineEnd } from "./line.ts";
import type { Chance } from "./random.ts";
import type { Time } from "./time.ts";

/** How messages fare, each from 0 to 1 unless named otherwise. */
export interface Weather {
  readonly loss: number;
  readonly repetition: number;
  readonly corruption: number;
  readonly delayMs: { readonly min: number; readonly max: number };
  /** Bytes a millisecond that a line carries. */
  readonly bandwidth: number;
}

export const fairWeather: Weather = {
  loss: 0,
  repetition: 0,
  corruption: 0,
  delayMs: { min: 1, max: 5 },
  bandwidth: 100_000,
};

export interface NetworkOptions {
  readonly time: Time;
  readonly chance: Chance;
  readonly onMessage: (message: { from: number; to: number; bytes: Uint8Array }) => void;
  /** What a peer asks of another in place of this. */
  readonly rewrite: (bytes: Uint8Array) => Uint8Array;
}

const refusedMs = 5;
const connectTimeoutMs = 3_000;

export class Network {
  weather: Weather = fairWeather;
  readonly time: Time;
  readonly chance: Chance;
  readonly #options: NetworkOptions;
  readonly #listeners = new Map<number, (transport: Transport) => void>();
  readonly #lines = new Set<Line>();
  /** Directed pairs that nothing passes, and how many partitions say so. */
  readonly #blocked = new Map<string, number>();
  readonly #slow = new Map<string, number>();
  readonly #muted = new Set<string>();

  constructor(options: NetworkOptions) {
    this.#options = options;
    this.time = options.time;
    this.chance = options.chance;
  }

  listen(peer: number, onTransport: (transport: Transport) => void): void {
    this.#listeners.set(peer, onTransport);
  }

  /** The peer is gone: whoever talks to it finds out as over a real network, or by the silence. */
  unplug(peer: number): void {
    this.#listeners.delete(peer);
    for (const line of this.#lines) if (line.joins(peer)) line.sever(peer);
  }

  isBlocked(from: number, to: number): boolean {
    return (this.#blocked.get(`${from}>${to}`) ?? 0) > 0;
  }

  block(from: number, to: number): void {
    const pair = `${from}>${to}`;
    this.#blocked.set(pair, (this.#blocked.get(pair) ?? 0) + 1);
  }

  unblock(from: number, to: number): void {
    const pair = `${from}>${to}`;
    this.#blocked.set(pair, Math.max((this.#blocked.get(pair) ?? 0) - 1, 0));
    if (!this.isBlocked(from, to)) for (const line of this.#lines) line.resume(from, to);
  }

  /** Bytes a millisecond between two peers, in both directions; undefined for the weather's. */
  limit(a: number, b: number, bandwidth: number | undefined): void {
    for (const pair of [`${a}>${b}`, `${b}>${a}`]) {
      if (bandwidth === undefined) this.#slow.delete(pair);
      else this.#slow.set(pair, bandwidth);
    }
  }

  bandwidth(from: number, to: number): number {
    return this.#slow.get(`${from}>${to}`) ?? this.weather.bandwidth;
  }

  /** Messages of a kind that a peer sends are lost, for ever. */
  mute(peer: number, kind: number): void {
    this.#muted.add(`${peer} ${kind}`);
  }

  /** What goes on its way in place of a message, if anything does. */
  outgoing(from: number, bytes: Uint8Array): Uint8Array | undefined {
    if (this.#muted.has(`${from} ${bytes[0]}`)) return undefined;
    return this.#options.rewrite(bytes);
  }

  /** Everything works again. */
  heal(): void {
    this.weather = fairWeather;
    this.#slow.clear();
    const pairs = [...this.#blocked.keys()];
    this.#blocked.clear();
    for (const pair of pairs) {
      const [from = 0, to = 0] = pair.split(">").map(Number);
      for (const line of this.#lines) line.resume(from, to);
    }
  }

  dialer(from: number, to: number, kind: "stream" | "datagram"): Dialer {
    return {
      name: `${from}>${to}`,
      dial: (signal) => this.#dial({ from, to, kind }, signal),
    };
  }

  delivered(from: number, to: number, bytes: Uint8Array): void {
    this.#options.onMessage({ from, to, bytes });
  }

  #dial(
    call: { from: number; to: number; kind: "stream" | "datagram" },
    signal: AbortSignal,
  ): Promise<Transport> {
    const { from, to } = call;
    const { min, max } = this.weather.delayMs;
    const isCut = this.isBlocked(from, to) || this.isBlocked(to, from);
    const isUp = this.#listeners.has(to);
    const answerMs = 2 * this.chance.int(min, max);
    const waitMs = isCut ? connectTimeoutMs : isUp ? answerMs : refusedMs;
    return new Promise((resolve, reject) => {
      const abort = () => {
        cancel();
        reject(signal.reason);
      };
      if (signal.aborted) return reject(signal.reason);
      const cancel = this.time.after(waitMs, () => {
        signal.removeEventListener("abort", abort);
        const accept = isCut ? undefined : this.#listeners.get(to);
        if (accept === undefined) return reject(failure(`peer ${to} does not answer`));
        const [near, far] = this.#join(call);
        accept(far);
        resolve(near);
      });
      signal.addEventListener("abort", abort, { once: true });
    });
  }

  #join(call: { from: number; to: number; kind: "stream" | "datagram" }): [LineEnd, LineEnd] {
    const line = new Line(this, call, () => this.#lines.delete(line));
    this.#lines.add(line);
    return line.ends;
  }
}

export function failure(text: string): ReplicaError {
  return new ReplicaError("TRANSPORT_FAILED", text);
}

/** What a receiver compares: bytes that were altered on the way never come out of a transport. */
export function checksum(bytes: Uint8Array): number {
  return crc32(bytes);
}
