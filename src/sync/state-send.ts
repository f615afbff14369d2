/**
 * The sending side of state transfers: tells peers that the log does not reach any more, and reads
 * chunks for those that ask. It keeps nothing of a transfer; a request says where to go on.
 */
import type { Clock } from "../clock.ts";
import { ReplicaError } from "../errors.ts";
import type { OriginMarks } from "../log/store.ts";
import type { ReadonlyVersionVector, VersionVector } from "../log/vector.ts";
import type { StateChunk } from "../native.ts";
import type { StateMessage, StateRequest } from "./protocol-state.ts";

/** A link, as far as transfers see it. */
export interface StateLink {
  readonly peerId: number;
  readonly live: boolean;
  /** How many parts of messages it has brought. */
  readonly fragments: number;
  remoteHolds(origin: number): number;
}

export interface StateSource {
  horizon(): VersionVector;
  stateBytes(): number;
  readState(cursor: Uint8Array, bytesMax: number, budgetMs: number): StateChunk;
}

export interface StateSenderOptions<Link extends StateLink> {
  readonly clock: Clock;
  readonly sliceMs: number;
  marks(): readonly OriginMarks[];
  send(link: Link, message: StateMessage): void;
  onError(error: ReplicaError): void;
}

/** An offer may get lost, and the other side may be busy with another transfer. */
const offerMs = 5_000;
const horizonMs = 1_000;
const busyRetryMs = { min: 1, max: 50 };

export class StateSender<Link extends StateLink> {
  readonly #source: StateSource;
  readonly #options: StateSenderOptions<Link>;
  readonly #offers = new Map<Link, { cancel: () => void }>();
  /** Who asked for a chunk, in the order in which they are served. */
  readonly #requests = new Map<Link, StateRequest>();
  #serving = false;
  #horizon: ReadonlyVersionVector = new Map();
  #horizonAtMs = Number.NEGATIVE_INFINITY;

  constructor(source: StateSource, options: StateSenderOptions<Link>) {
    this.#source = source;
    this.#options = options;
  }

  /** The remote has told what it holds. */
  look(link: Link): void {
    this.#guard(() => {
      if (!this.#offers.has(link) && this.#isBehind(link)) this.#offer(link);
    });
  }

  /** The log has been trimmed, or something that was to be sent is not there. */
  onHorizonMoved(links: Iterable<Link>): void {
    this.#horizonAtMs = Number.NEGATIVE_INFINITY;
    for (const link of links) this.look(link);
  }

  onRequest(link: Link, request: StateRequest): void {
    this.#requests.set(link, request);
    if (!this.#serving) this.#serveLater(0);
  }

  onEnded(link: Link): void {
    this.#offers.get(link)?.cancel();
    this.#offers.delete(link);
    this.#requests.delete(link);
  }

  #isBehind(link: Link): boolean {
    const nowMs = this.#options.clock.now();
    if (Math.abs(nowMs - this.#horizonAtMs) >= horizonMs) {
      this.#horizon = this.#source.horizon();
      this.#horizonAtMs = nowMs;
    }
    for (const [origin, sequence] of this.#horizon) {
      if (origin !== link.peerId && link.remoteHolds(origin) < sequence) return true;
    }
    return false;
  }

  #offer(link: Link): void {
    const vector = new Map(this.#options.marks().map(({ peerId, merged }) => [peerId, merged]));
    const horizon = this.#horizon;
    const bytes = this.#source.stateBytes();
    this.#options.send(link, { kind: "stateOffer", vector, horizon, bytes });
    const cancel = this.#options.clock.setTimer(offerMs, () => {
      this.#offers.delete(link);
      if (link.live) this.look(link);
    });
    this.#offers.set(link, { cancel });
  }

  /** One chunk a turn, however many ask. */
  #serveLater(waitMs: number): void {
    this.#serving = this.#requests.size > 0;
    if (!this.#serving) return;
    const serve = () => this.#serveNext(waitMs);
    if (waitMs === 0) this.#options.clock.nextTurn(serve);
    else this.#options.clock.setTimer(waitMs, serve);
  }

  #serveNext(waitMs: number): void {
    let nextMs = 0;
    const [first] = this.#requests;
    if (first !== undefined) {
      const [link, request] = first;
      this.#requests.delete(link);
      this.#guard(() => {
        const read = this.#read(link, request);
        if (!read.busy && !read.more) return;
        // Folding goes on at once; a writer is given time.
        if (!this.#requests.has(link)) this.#requests.set(link, request);
        if (read.busy) nextMs = Math.min(Math.max(waitMs * 2, busyRetryMs.min), busyRetryMs.max);
      });
    }
    this.#serveLater(nextMs);
  }

  #read(link: Link, request: StateRequest): StateChunk {
    const { cursor, bytesMax, requestId } = request;
    const read = this.#source.readState(cursor, bytesMax, this.#options.sliceMs);
    if (!read.busy && !read.more) {
      const { ends, table, next, chunk } = read;
      this.#options.send(link, { kind: "stateChunk", requestId, ends, table, next, chunk });
    }
    return read;
  }

  #guard(work: () => void): void {
    try {
      work();
    } catch (error) {
      if (!(error instanceof ReplicaError)) throw error;
      if (error.code !== "CLOSED") this.#options.onError(error);
    }
  }
}
