/**
 * A link in requests and answers, for peers that do not stay. Every request is a conversation of
 * its own: it begins with the sender's HELLO, and the answer with the other side's. So nothing is
 * kept between two requests, and any instance of a server can answer any of them.
 */
import { type Clock, systemClock } from "../clock.ts";
import { scanRecords } from "../log/records.ts";
import { covers, mergeVector, type VersionVector } from "../log/vector.ts";
import { decodeMessage, type Message } from "../sync/protocol.ts";
import { readFrames } from "../transport/http-client.ts";
import { Inbox, inboxLimits } from "../transport/inbox.ts";
import { checkSize, closedError, type Transport } from "../transport/transport.ts";

/** Marks a POST that is a conversation of its own. */
export const exchangeHeader = "mergelite-exchange";

/** A link that says nothing for so long, and owes no acknowledgement, has nothing more to say. */
const quietMs = 10;
/** How long changesets may take to be merged before the answer goes without acknowledging them. */
const mergeMs = 10_000;
/**
 * More waits for the next request: the windows of a link do not bound what it says of state, and to
 * one that asks again and again before it hears an answer.
 */
const saidBytesMax = 16 * 1024 * 1024;

/** One side of such a conversation, as the transport of a link. */
export class Exchange implements Transport {
  readonly name: string;
  readonly messages: Inbox;
  readonly #clock: Clock;
  readonly #said: Uint8Array[] = [];
  #saidBytes = 0;
  #waiting: (() => void)[] = [];
  /** What was delivered, and what the link has acknowledged of it. */
  readonly #delivered: VersionVector = new Map();
  readonly #acknowledged: VersionVector = new Map();
  /** What the next message has to be, or one of: something came that the link answers to. */
  #owes: readonly Message["kind"][] = [];
  /** Counts what happens, to notice when nothing does. */
  #events = 0;
  #onRoom: (() => void) | undefined;
  /** Resolves when the link has ended. */
  readonly ended: Promise<undefined>;
  #setEnded: () => void = () => undefined;

  constructor(name: string, clock: Clock) {
    this.name = name;
    this.#clock = clock;
    this.messages = new Inbox(
      inboxLimits,
      () => this.#onRoom?.(),
      () => {
        this.#events += 1;
      },
    );
    this.ended = new Promise((resolve) => {
      this.#setEnded = () => resolve(undefined);
    });
  }

  get isEnded(): boolean {
    return this.messages.isEnded;
  }

  async send(message: Uint8Array): Promise<void> {
    checkSize(message);
    const said = decodeMessage(message);
    // Of a message that does not go whole into one answer nothing would ever arrive.
    const goesOn = said.kind === "fragment" && said.index > 0;
    while (!this.isEnded && this.#saidBytes >= saidBytesMax && !goesOn) await this.#taken();
    if (this.isEnded) throw closedError(this.name);
    this.#events += 1;
    this.#said.push(message);
    this.#saidBytes += message.byteLength;
    if (said.kind === "have") mergeVector(this.#acknowledged, said.vector);
    // It could not merge what came, and asks for something else first.
    if (said.kind === "want") mergeVector(this.#acknowledged, this.#delivered);
    // A fragment does not show of what; one that ends a chunk of state is the answer.
    const kind = endsMessage(said) ? "stateChunk" : said.kind;
    if (this.#owes.includes(kind)) this.#owes = [];
  }

  close(): void {
    this.messages.end();
    this.#onRoom?.();
    this.#wake();
    this.#setEnded();
  }

  /** Hands a message of the other side to the link, as fast as the link reads. */
  async deliver(message: Uint8Array): Promise<void> {
    const heard = decodeMessage(message);
    // A wish for fewer changes holds for a link that stays; this one would be left without them.
    if (heard.kind === "prune") return;
    this.#note(heard);
    this.messages.push(message);
    while (this.messages.isFull && !this.isEnded) {
      await new Promise<void>((resolve) => {
        this.#onRoom = resolve;
      });
    }
  }

  /** Resolves when the link has merged what was delivered and has nothing more to say. */
  async settled(signal?: AbortSignal): Promise<void> {
    const startMs = this.#clock.now();
    for (let before = -1; before !== this.#events || this.#isMerging(startMs); ) {
      before = this.#events;
      await this.#clock.sleep(quietMs, { signal });
    }
  }

  /** What the link has said so far: about a window, or one changeset that is larger. */
  take(): Uint8Array[] {
    this.#saidBytes = 0;
    this.#wake();
    return this.#said.splice(0);
  }

  #taken(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }

  #note(message: Message): void {
    // A changeset too large for one message, or a chunk of state.
    if (endsMessage(message)) this.#owes = ["have", "want", "stateRequest"];
    if (message.kind === "stateRequest") this.#owes = ["stateChunk"];
    if (message.kind !== "changes") return;
    for (const { origin, last } of scanRecords(message.records)) {
      mergeVector(this.#delivered, new Map([[origin, last]]));
    }
  }

  #isMerging(startMs: number): boolean {
    if (this.isEnded || this.#clock.now() - startMs >= mergeMs) return false;
    return this.#owes.length > 0 || !covers(this.#acknowledged, this.#delivered);
  }
}

/** It is the last part of a message too large to be sent whole. */
export function endsMessage(message: Message): boolean {
  return message.kind === "fragment" && message.index === message.count - 1;
}

/** The listening side: everything is read before anything is answered, unless the link ends. */
export async function answerExchange(
  body: AsyncIterable<Uint8Array>,
  {
    onTransport,
    clock = systemClock,
  }: { onTransport: (transport: Transport) => void; clock?: Clock },
): Promise<Uint8Array[]> {
  const exchange = new Exchange("http:exchange", clock);
  onTransport(exchange);
  try {
    const chunks = until(exchange.ended, body);
    for await (const message of readFrames(chunks, exchange.name)) await exchange.deliver(message);
    await exchange.settled();
    return exchange.take();
  } catch (error) {
    // In the middle of a message that nobody waits for any more.
    if (exchange.isEnded) return exchange.take();
    throw error;
  } finally {
    exchange.close();
  }
}

/** A body that stalls does not hold its place for ever: the link hears nothing, and ends. */
async function* until(
  ended: Promise<undefined>,
  body: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, void> {
  const chunks = body[Symbol.asyncIterator]();
  try {
    for (;;) {
      const next = await Promise.race([chunks.next(), ended]);
      if (next === undefined || next.done === true) return;
      yield next.value;
    }
  } finally {
    // Behind a read that stalls it waits as long as that.
    void Promise.resolve(chunks.return?.()).catch(() => undefined);
  }
}
