/**
 * The sending half of a UDP connection: cuts messages into packets, keeps no more of them on their
 * way than the path has shown to carry, and repeats those that were lost. Time is a parameter.
 */
import { type Ack, type Data, fragmentBytesMax, windowMax } from "./udp-datagram.ts";

interface Sent {
  readonly data: Data;
  sentMs: number;
  /** Of all that was ever sent, repetitions included. */
  order: number;
  /** How often others that were sent later were acknowledged. */
  overtaken: number;
  isLost: boolean;
  isRepeated: boolean;
}

/** As TCP begins; more would overrun small buffers. */
const congestionWindowFirst = 16;
const congestionWindowMin = 4;
/** What is left of it after a loss: losses of wireless networks are no congestion. */
const congestionCut = 0.7;
/** Acknowledgements of later ones in a row: it is not just late. */
const overtakenMax = 3;
/** As TCP waits: less would take every long way for one that loses. */
const timeoutFirstMs = 1_000;
const timeoutMinMs = 50;
const timeoutMaxMs = 2_000;

export class UdpSender {
  /** Gives the next message, if there is one. */
  readonly #nextMessage: () => Uint8Array | undefined;
  #message: Uint8Array | undefined;
  #index = 0;
  #packet = 0;
  #order = 0;
  /** Sent and not acknowledged, oldest first. */
  readonly #sent = new Map<number, Sent>();
  #window = windowMax;
  #acknowledged = 0;
  #congestionWindow = congestionWindowFirst;
  #slowStartMax = windowMax;
  /** Losses of packets below this one belong to a congestion that has been answered. */
  #recoveryPacket = 0;
  #roundTripMs = 0;
  #timeoutMs = timeoutFirstMs;
  /** Grows while nothing is acknowledged at all. */
  #backoff = 1;

  constructor(nextMessage: () => Uint8Array | undefined) {
    this.#nextMessage = nextMessage;
  }

  /** Everything that was to be sent is acknowledged. */
  get isDone(): boolean {
    return this.#sent.size === 0 && this.#message === undefined;
  }

  /** There is more to send, and the receiver wants nothing: it has to be asked again. */
  get isBlocked(): boolean {
    return this.#window === 0 && this.#sent.size === 0;
  }

  /** When `due` has something to repeat; infinity for never. */
  get dueMs(): number {
    const [oldest] = this.#sent.values();
    return oldest === undefined
      ? Number.POSITIVE_INFINITY
      : oldest.sentMs + this.#timeoutMs * this.#backoff;
  }

  /** What may be sent now: lost packets first, then new ones. */
  due(nowMs: number): Data[] {
    if (nowMs >= this.dueMs) this.#onTimeout();
    const due: Data[] = [];
    let flying = 0;
    for (const { isLost } of this.#sent.values()) if (!isLost) flying += 1;
    for (const sent of this.#sent.values()) {
      if (flying + due.length >= this.#congestionWindow) return due;
      if (!sent.isLost) continue;
      Object.assign(sent, this.#sending(nowMs), { isRepeated: true });
      due.push(sent.data);
    }
    const end = this.#acknowledged + this.#window;
    while (flying + due.length < this.#congestionWindow && this.#packet < end) {
      const data = this.#cut();
      if (data === undefined) break;
      this.#sent.set(data.packet, { data, ...this.#sending(nowMs), isRepeated: false });
      due.push(data);
    }
    return due;
  }

  onAck({ next, window, bitmap }: Ack, nowMs: number): void {
    // One that was overtaken on its way says nothing new; one of packets never sent is not ours.
    if (next < this.#acknowledged || next > this.#packet) return;
    this.#acknowledged = next;
    this.#window = window;
    let newest = 0;
    let count = 0;
    let isMeasured = false;
    for (const [packet, sent] of this.#sent) {
      const bit = packet - next;
      const isBitSet = bit >= 0 && ((bitmap[bit >> 3] ?? 0) >> (bit & 7)) % 2 === 1;
      if (bit >= 0 && !isBitSet) continue;
      this.#sent.delete(packet);
      newest = Math.max(newest, sent.order);
      count += 1;
      if (sent.isRepeated) continue;
      this.#onRoundTrip(nowMs - sent.sentMs);
      isMeasured = true;
    }
    if (count === 0) return;
    // Of one that was repeated it is not known which was answered. Waiting less again before the
    // way is known would repeat every packet of a long way, and never get to know it.
    if (isMeasured) this.#backoff = 1;
    this.#grow(count);
    for (const [packet, sent] of this.#sent) {
      if (sent.order >= newest || sent.isLost) continue;
      sent.overtaken += 1;
      // One that is merely late takes hardly longer than a round trip.
      const isLate = nowMs - sent.sentMs <= this.#roundTripMs * 1.25;
      if (sent.overtaken < overtakenMax || isLate) continue;
      sent.isLost = true;
      this.#onLoss(packet);
    }
  }

  #sending(nowMs: number): Omit<Sent, "data" | "isRepeated"> {
    this.#order += 1;
    return { sentMs: nowMs, order: this.#order, overtaken: 0, isLost: false };
  }

  #cut(): Data | undefined {
    this.#message ??= this.#nextMessage();
    const message = this.#message;
    if (message === undefined) return undefined;
    const count = Math.max(1, Math.ceil(message.byteLength / fragmentBytesMax));
    const start = this.#index * fragmentBytesMax;
    const bytes = message.subarray(start, start + fragmentBytesMax);
    const data = { kind: "data", packet: this.#packet, index: this.#index, count, bytes } as const;
    this.#packet += 1;
    this.#index += 1;
    if (this.#index === count) {
      this.#message = undefined;
      this.#index = 0;
    }
    return data;
  }

  #onRoundTrip(ms: number): void {
    const smoothed = this.#roundTripMs === 0 ? ms : this.#roundTripMs * 0.875 + ms * 0.125;
    this.#roundTripMs = Math.max(smoothed, 0);
    this.#timeoutMs = Math.min(Math.max(this.#roundTripMs * 3, timeoutMinMs), timeoutMaxMs);
  }

  #grow(count: number): void {
    const isSlowStart = this.#congestionWindow < this.#slowStartMax;
    const more = isSlowStart ? count : count / this.#congestionWindow;
    this.#congestionWindow = Math.min(this.#congestionWindow + more, windowMax);
  }

  /** Less, once for all that were on their way together. */
  #onLoss(packet: number): void {
    if (packet < this.#recoveryPacket) return;
    this.#recoveryPacket = this.#packet;
    this.#slowStartMax = Math.max(this.#congestionWindow * congestionCut, congestionWindowMin);
    this.#congestionWindow = this.#slowStartMax;
  }

  /** Nothing has come back for long: all that is on its way counts as lost. */
  #onTimeout(): void {
    for (const [packet, sent] of this.#sent) {
      sent.isLost = true;
      this.#onLoss(packet);
    }
    this.#backoff = Math.min(this.#backoff * 2, timeoutMaxMs / this.#timeoutMs);
  }
}
