/** What a follower of a live primary does: it dials, says what it has, and writes what comes. */
import type { Clock, Random } from "../clock.ts";
import { ReplicaError } from "../errors.ts";
import { applyLtx } from "../ltx/apply.ts";
import { formatTxid } from "../ltx/keys.ts";
import { LtxReader } from "../ltx/reader.ts";
import { keepDialing } from "../transport/reconnect.ts";
import type { Dialer, Transport } from "../transport/transport.ts";
import { checkSize, copyReader } from "./copier.ts";
import { checkpointFrames } from "./follow-loop.ts";
import { type FollowState, followerClosed } from "./follow-state.ts";
import { Conversation } from "./live-conversation.ts";
import {
  decodePrimary,
  encodeFollower,
  greetingMs,
  malformed,
  type PrimaryMessage,
  silentHeartbeats,
} from "./live-protocol.ts";
import type { RestoreProgress } from "./restore.ts";
import { DatabaseCopy } from "./sqlite.ts";
import { Target } from "./target.ts";

export interface LiveParts {
  readonly primary: Dialer;
  /** Where the copy is, or is to be. */
  readonly path: string;
  readonly copy: DatabaseCopy | undefined;
  readonly state: FollowState;
  readonly clock: Clock;
  readonly random: Random;
  readonly onProgress: (progress: RestoreProgress) => void;
}

type Primary = Conversation<PrimaryMessage>;

const backoffMaxMs = 10_000;

export class LiveLoop {
  readonly #parts: LiveParts;
  readonly #stop = new AbortController();
  #copy: DatabaseCopy | undefined;
  #running: Promise<void> | undefined;
  #isCaughtUp = false;
  #onCaughtUp: (error?: unknown) => void = () => {};
  #failures = 0;
  #error: unknown;

  constructor(parts: LiveParts) {
    this.#parts = parts;
    this.#copy = parts.copy;
  }

  /**
   * Resolves when the copy shows what the primary had when it was reached, and goes on.
   * @throws what fails before
   */
  async begin(signal: AbortSignal | undefined): Promise<void> {
    const abort = () => this.#onCaughtUp(signal?.reason);
    signal?.throwIfAborted();
    signal?.addEventListener("abort", abort, { once: true });
    try {
      await new Promise<void>((resolve, reject) => {
        this.#onCaughtUp = (error) => (error === undefined ? resolve() : reject(error));
        this.#running = this.#run();
      });
      this.#isCaughtUp = true;
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }

  /** Lets go of the copy. */
  async close(): Promise<void> {
    this.#stop.abort(followerClosed());
    await this.#running;
    await this.#copy?.close();
  }

  async #run(): Promise<void> {
    const { primary, clock, random, state } = this.#parts;
    await keepDialing(primary, (transport) => this.#converse(transport), {
      clock,
      random,
      signal: this.#stop.signal,
      backoffMaxMs,
      onEvent: (event) => {
        if (event.type === "ended") this.#error = event.error;
        if (event.type !== "waiting" || this.#stop.signal.aborted) return;
        const error = this.#error;
        // It ends without one only to begin anew at once.
        if (error === undefined) return;
        this.#failures++;
        state.metrics.failures++;
        if (this.#isCaughtUp) state.emitter.emit("failed", { error, retryMs: event.delayMs });
        else this.#onCaughtUp(error);
      },
    });
  }

  async #converse(transport: Transport): Promise<void> {
    const { state, clock } = this.#parts;
    const options = { decode: decodePrimary, clock, silenceMs: greetingMs };
    const primary: Primary = new Conversation(transport, options);
    const { source, reachAtLeast } = state;
    const { txid } = state.position;
    const hello = encodeFollower({ type: "hello", source, txid, reach: reachAtLeast });
    // One that sends this side away has perhaps closed already, and said why.
    await transport.send(hello).catch(() => {});
    const welcome = await primary.next();
    if (welcome.type === "bye") throw welcome.error;
    if (welcome.type !== "welcome") throw malformed(`${welcome.type} comes before welcome`);
    if (welcome.from !== 0 && welcome.from !== txid) throw malformed("WELCOME for another copy");
    if (welcome.from === 0) state.forget("renewed");
    state.moveTo(welcome.source);
    primary.silenceMs = welcome.heartbeatMs * silentHeartbeats;
    const stopStatus = this.#tellStatus(transport, welcome.heartbeatMs);
    try {
      for (let isBehind = true; ; ) {
        if (isBehind && state.position.txid >= welcome.txid) {
          isBehind = false;
          await this.#reached();
        }
        if (!(await this.#receive(transport, primary))) return;
      }
    } finally {
      stopStatus();
    }
  }

  async #reached(): Promise<void> {
    const { state } = this.#parts;
    await state.settle();
    this.#onCaughtUp();
    if (this.#failures > 0) state.emitter.emit("recovered", {});
    this.#failures = 0;
  }

  /** Until the connection ends. A primary that hears nothing takes this side for dead. */
  #tellStatus(transport: Transport, heartbeatMs: number): () => void {
    const { state, clock } = this.#parts;
    let cancel = () => {};
    const again = () => {
      cancel = clock.setTimer(heartbeatMs, () => {
        const { txid } = state.position;
        // What fails is heard of by whoever waits for messages.
        transport.send(encodeFollower({ type: "status", txid })).catch(() => {});
        again();
      });
    };
    again();
    return () => cancel();
  }

  /** False: begin anew. */
  async #receive(transport: Transport, primary: Primary): Promise<boolean> {
    const { state } = this.#parts;
    const message = await primary.next();
    if (message.type === "heartbeat") {
      await state.settle();
      return true;
    }
    if (message.type === "bye") throw message.error;
    if (message.type !== "file") throw malformed(`${message.type} comes where a file should`);
    if (!(await this.#apply(transport, primary, message.bytes))) {
      state.forget("altered");
      return false;
    }
    await transport.send(encodeFollower({ type: "status", txid: state.position.txid }));
    const copy = this.#copy;
    if (copy !== undefined && copy.frames >= checkpointFrames) await copy.checkpoint();
    return true;
  }

  /** False: somebody else has written the copy, and nothing was done. */
  async #apply(transport: Transport, primary: Primary, bytes: number): Promise<boolean> {
    const { state } = this.#parts;
    const { name = "the primary" } = transport;
    const reader = await LtxReader.open(this.#bodyOf(primary, bytes), { name });
    try {
      const { minTxid, maxTxid, timestampMs } = reader.header;
      this.#checkOrder(minTxid, maxTxid);
      const { undo } = await state.announce(maxTxid);
      try {
        if (!(await this.#write(reader))) return false;
      } catch (error) {
        // Only when SQLite fails it may have been done all the same.
        if (!(error instanceof ReplicaError) || error.code !== "SQLITE") undo();
        throw error;
      }
      state.applied({ txid: maxTxid, timestampMs }, { files: 1, bytes });
      return true;
    } finally {
      await reader.close();
    }
  }

  async #write(reader: LtxReader): Promise<boolean> {
    const { path, state, clock } = this.#parts;
    if (this.#copy !== undefined) {
      const isWhole = state.position.txid === 0;
      checkSize(reader, this.#copy);
      return await copyReader(reader, this.#copy, { clock, signal: this.#stop.signal, isWhole });
    }
    const target = await Target.open(path, { mustBeNew: false });
    try {
      await applyLtx(reader, target.file);
      await target.install({ mustBeNew: false });
    } finally {
      await target.abandon();
    }
    this.#copy = await DatabaseCopy.open(path);
    return true;
  }

  #checkOrder(minTxid: number, maxTxid: number): void {
    const { position, reachAtLeast } = this.#parts.state;
    const isWhole = minTxid === 1;
    const follows = minTxid <= position.txid + 1 && maxTxid > position.txid;
    if (isWhole ? maxTxid >= position.txid : follows && maxTxid >= reachAtLeast) return;
    const what = `transactions ${formatTxid(minTxid)} to ${formatTxid(maxTxid)}`;
    throw malformed(`${what} cannot follow ${formatTxid(position.txid)}`);
  }

  /** What a file consists of, piece by piece. */
  async *#bodyOf(
    primary: Primary,
    bytesTotal: number,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const { onProgress } = this.#parts;
    const isNew = this.#copy === undefined;
    for (let bytes = 0; bytes < bytesTotal; ) {
      const message = await primary.next();
      if (message.type === "heartbeat") continue;
      if (message.type === "bye") throw message.error;
      if (message.type !== "data") throw malformed(`${message.type} comes inside a file`);
      bytes += message.bytes.length;
      if (bytes > bytesTotal) throw malformed("a file goes on behind its end");
      if (isNew) onProgress({ bytes, bytesTotal, percent: (100 * bytes) / bytesTotal });
      yield message.bytes;
    }
  }
}
