/** One UDP peer as a transport: ties sender and receiver to a clock and a socket. */
import type { Clock } from "../clock.ts";
import { ReplicaError } from "../errors.ts";
import { Inbox, inboxLimits } from "./inbox.ts";
import { Outbox } from "./outbox.ts";
import { failedError, type Transport } from "./transport.ts";
import type { Datagram } from "./udp-datagram.ts";
import { UdpReceiver } from "./udp-receiver.ts";
import { UdpSender } from "./udp-sender.ts";

export interface UdpConnectionOptions {
  readonly name: string;
  readonly clock: Clock;
  readonly transmit: (datagram: Datagram) => void;
  /** Called once, when the other side knows of the end or cannot be told. */
  readonly onGone: () => void;
}

/** Packets that are acknowledged together, unless they come slowly. */
const ackEvery = 8;
const ackDelayMs = 5;
/** How often a receiver that wants nothing is asked again, and a goodbye said again. */
const askAgainMs = 200;
/** A quiet side says this often that it lives. */
const heartbeatMs = 5_000;
const silentHeartbeatsMax = 4;
/** How long a closing side goes on sending what was sent before. */
const lingerMs = 2_000;
const goodbyesMax = 5;

export class UdpConnection implements Transport {
  readonly name: string;
  readonly messages: Inbox;
  readonly #options: UdpConnectionOptions;
  readonly #outbox: Outbox;
  readonly #queue: Uint8Array[] = [];
  readonly #sender = new UdpSender(() => this.#nextMessage());
  readonly #receiver = new UdpReceiver();
  readonly #gone: Promise<void>;
  #setGone: () => void = () => undefined;
  #unacknowledged = 0;
  #silentHeartbeats = 0;
  #state: "open" | "closing" | "goodbye" | "gone" = "open";
  #goodbyes = 0;
  #cancelAck: (() => void) | undefined;
  #cancelWork: (() => void) | undefined;
  #cancelHeartbeat: (() => void) | undefined;
  #isWorkDue = false;

  constructor(options: UdpConnectionOptions) {
    this.#options = options;
    this.name = options.name;
    this.messages = new Inbox(inboxLimits, () => this.#acknowledge());
    this.#outbox = new Outbox(this.name, () => this.#workSoon());
    this.#gone = new Promise((resolve) => {
      this.#setGone = resolve;
    });
    this.#beat();
  }

  send(message: Uint8Array): Promise<void> {
    return this.#outbox.send(message);
  }

  async close(): Promise<void> {
    if (this.#state === "open") {
      this.#state = "closing";
      this.messages.end();
      this.#outbox.end();
      const cancel = this.#options.clock.setTimer(lingerMs, () => this.#sayGoodbye());
      void this.#gone.then(cancel);
      this.#workSoon();
    }
    await this.#gone;
  }

  onDatagram(datagram: Datagram): void {
    if (this.#state === "gone") return;
    this.#silentHeartbeats = 0;
    switch (datagram.kind) {
      case "data": {
        const message = this.#receiver.take(datagram);
        if (message === "malformed") {
          this.fail(new ReplicaError("PROTOCOL_MALFORMED", `${this.name}: fragments do not fit`));
          return;
        }
        if (message !== undefined) this.messages.push(message);
        this.#acknowledgeSoon();
        return;
      }
      case "ack":
        this.#sender.onAck(datagram, this.#nowMs);
        this.#workSoon();
        return;
      case "ping":
        this.#acknowledge();
        return;
      case "close":
        // Everything that was sent before has been acknowledged.
        if (this.#state !== "goodbye") this.#options.transmit({ kind: "close" });
        this.fail(undefined);
        return;
      case "reset":
        // The answer to a goodbye, too: the other side has forgotten us already.
        if (this.#state !== "open") this.fail(undefined);
        else this.fail(failedError(this.name, "the other side does not know this connection"));
    }
  }

  /** A wall clock that is set back would let nothing be repeated for so long. */
  get #nowMs(): number {
    const { clock } = this.#options;
    return clock.steady?.() ?? clock.now();
  }

  /** The end, with the reason or in good order. */
  fail(error: Error | undefined): void {
    if (this.#state === "gone") return;
    this.#state = "gone";
    this.messages.end(error);
    this.#outbox.end();
    for (const cancel of [this.#cancelAck, this.#cancelWork, this.#cancelHeartbeat]) cancel?.();
    this.#setGone();
    this.#options.onGone();
  }

  /** Once for all that happens in one turn of the event loop. */
  #workSoon(): void {
    if (this.#isWorkDue || this.#state === "gone") return;
    this.#isWorkDue = true;
    queueMicrotask(() => {
      this.#isWorkDue = false;
      this.#work();
    });
  }

  #work(): void {
    if (this.#state === "gone" || this.#state === "goodbye") return;
    const nowMs = this.#nowMs;
    for (const data of this.#sender.due(nowMs)) this.#options.transmit(data);
    const isDone = this.#sender.isDone && this.#queue.length === 0 && this.#outbox.isEmpty;
    if (this.#state === "closing" && isDone) {
      this.#sayGoodbye();
      return;
    }
    const isBlocked = this.#sender.isBlocked && !isDone;
    const waitMs = isBlocked ? askAgainMs : this.#sender.dueMs - nowMs;
    this.#cancelWork?.();
    this.#cancelWork = undefined;
    if (!Number.isFinite(waitMs)) return;
    this.#cancelWork = this.#options.clock.setTimer(Math.max(waitMs, 1), () => {
      if (isBlocked) this.#options.transmit({ kind: "ping" });
      this.#work();
    });
  }

  #nextMessage(): Uint8Array | undefined {
    if (this.#queue.length === 0) this.#queue.push(...this.#outbox.take());
    return this.#queue.shift();
  }

  #acknowledgeSoon(): void {
    this.#unacknowledged += 1;
    if (this.#unacknowledged >= ackEvery) this.#acknowledge();
    else {
      this.#cancelAck ??= this.#options.clock.setTimer(ackDelayMs, () => this.#acknowledge());
    }
  }

  #acknowledge(): void {
    if (this.#state === "gone") return;
    this.#cancelAck?.();
    this.#cancelAck = undefined;
    this.#unacknowledged = 0;
    // A closing side reads nothing any more, but the other must not wait for room.
    const isFull = this.messages.isFull && !this.messages.isEnded;
    this.#options.transmit(this.#receiver.ack(isFull));
  }

  #beat(): void {
    const { clock } = this.#options;
    this.#cancelHeartbeat = clock.setTimer(heartbeatMs, () => {
      // Counted and not measured: a process that was suspended has not listened meanwhile.
      this.#silentHeartbeats += 1;
      if (this.#silentHeartbeats > silentHeartbeatsMax) {
        this.fail(failedError(this.name, "the other side has fallen silent"));
        return;
      }
      this.#acknowledge();
      this.#beat();
    });
  }

  /** Again until it is answered; whoever does not answer finds out by the silence. */
  #sayGoodbye(): void {
    if (this.#state === "gone") return;
    this.#state = "goodbye";
    this.#cancelWork?.();
    if (this.#goodbyes === goodbyesMax) {
      this.fail(undefined);
      return;
    }
    this.#goodbyes += 1;
    this.#options.transmit({ kind: "close" });
    this.#cancelWork = this.#options.clock.setTimer(askAgainMs, () => this.#sayGoodbye());
  }
}
