/** One follower at its primary: greeted, sent what it lacks, then each commit as it is made. */
import { open } from "node:fs/promises";
import type { Clock } from "../clock.ts";
import { ReplicaError } from "../errors.ts";
import { Conversation, hangUp } from "../restore/live-conversation.ts";
import {
  dataBytesMax,
  dataMessage,
  decodeFollower,
  encodePrimary,
  type FollowerMessage,
  greetingMs,
  type Hello,
  malformed,
  silentHeartbeats,
} from "../restore/live-protocol.ts";
import type { Transport } from "../transport/transport.ts";
import type { Feed, HeldFile, Reader } from "./feed.ts";

const byeMs = 500;

export interface SessionHost {
  readonly feed: Feed;
  readonly clock: Clock;
  readonly heartbeatMs: number;
  /** Reads what was committed so far. `from`: where the follower may go on, 0 for nowhere. */
  greet(hello: Hello): Promise<{ source: string; from: number; txid: number }>;
  /** The newest transaction. */
  newest(): number;
  greeted(session: Session, from: number): void;
  /** It shows a later transaction. */
  moved(): void;
}

export class Session implements Reader {
  readonly #transport: Transport;
  readonly #host: SessionHost;
  readonly #follower: Conversation<FollowerMessage>;
  /** Sent, and shown by the follower as far as it has said. */
  sentTxid = 0;
  shownTxid = 0;
  isGreeted = false;

  constructor(transport: Transport, host: SessionHost) {
    this.#transport = transport;
    this.#host = host;
    const options = { decode: decodeFollower, clock: host.clock, silenceMs: greetingMs };
    this.#follower = new Conversation(transport, options);
  }

  get name(): string {
    return this.#transport.name ?? "a follower";
  }

  /** Resolves when the connection ends in good order. */
  async run(): Promise<void> {
    const unread = this.#host.feed.read(this);
    const stop = new AbortController();
    const working: Promise<void>[] = [];
    try {
      const reach = await this.#greet();
      working.push(this.#send(reach, stop.signal), this.#receive(), this.#tellHeartbeats(stop));
      await Promise.race(working);
    } catch (error) {
      if (error instanceof ReplicaError && error.code === "TRANSPORT_CLOSED") return;
      await this.#sayBye(error);
      throw error;
    } finally {
      stop.abort();
      await this.close();
      await Promise.allSettled(working);
      unread();
    }
  }

  /** Both directions end. */
  async close(): Promise<void> {
    await hangUp(this.#transport);
  }

  async #greet(): Promise<number> {
    const hello = await this.#follower.next();
    if (hello.type !== "hello") throw malformed(`${hello.type} comes before HELLO`);
    const { heartbeatMs } = this.#host;
    const { source, from, txid } = await this.#host.greet(hello);
    this.sentTxid = this.shownTxid = from;
    const welcome = { type: "welcome", source, from, txid, heartbeatMs } as const;
    await this.#transport.send(encodePrimary(welcome));
    this.#follower.silenceMs = heartbeatMs * silentHeartbeats;
    this.isGreeted = true;
    this.#host.greeted(this, from);
    return from === 0 ? 0 : hello.reach;
  }

  async #receive(): Promise<void> {
    for (;;) {
      const message = await this.#follower.next();
      if (message.type !== "status") throw malformed("HELLO comes twice");
      if (message.txid === this.shownTxid) continue;
      this.shownTxid = message.txid;
      this.#host.moved();
    }
  }

  async #send(reach: number, signal: AbortSignal): Promise<void> {
    const { feed } = this.#host;
    for (;;) {
      const held = await feed.next(this.sentTxid + 1, reach, signal);
      if (held === undefined) return;
      try {
        await this.#sendFile(held);
      } finally {
        feed.release(held);
      }
      this.sentTxid = held.file.maxTxid;
      feed.trim();
    }
  }

  async #sendFile(held: HeldFile): Promise<void> {
    const { bytes } = held.file;
    const file = await open(this.#host.feed.pathOf(held), "r");
    try {
      await this.#transport.send(encodePrimary({ type: "file", bytes }));
      for (let at = 0; at < bytes; ) {
        const { message, content } = dataMessage(Math.min(bytes - at, dataBytesMax));
        const { bytesRead } = await file.read(content, 0, content.length, at);
        if (bytesRead < content.length) throw new Error(`${held.file.name} was cut off`);
        // A slow follower is waited for here, and by nobody else.
        await this.#transport.send(message);
        at += bytesRead;
      }
    } finally {
      await file.close();
    }
  }

  async #tellHeartbeats({ signal }: AbortController): Promise<void> {
    const { clock, heartbeatMs } = this.#host;
    for (;;) {
      await clock.sleep(heartbeatMs, { signal });
      const message = encodePrimary({ type: "heartbeat", txid: this.#host.newest() });
      await this.#transport.send(message);
    }
  }

  /** Why the connection ends; a follower that takes nothing is not waited for. */
  async #sayBye(why: unknown): Promise<void> {
    const unable = "what was to be sent cannot be read";
    const error = why instanceof ReplicaError ? why : new ReplicaError("STORAGE_FAILED", unable);
    const sent = this.#transport.send(encodePrimary({ type: "bye", error }));
    await Promise.race([sent, this.#host.clock.sleep(byeMs)]).catch(() => {});
  }
}
