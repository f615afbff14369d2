/**
 * Trims the log now and then: of changesets that are old, or that every known peer holds, nothing
 * is needed any more but their row clocks. A peer that comes too late gets the rows.
 */
import type { Clock } from "../clock.ts";
import { ReplicaError } from "../errors.ts";
import type { TrimResult } from "../native.ts";
import { timestampOf } from "./timestamp.ts";
import type { ReadonlyVersionVector, VersionVector } from "./vector.ts";

/** `either`: what is old enough, and what every peer holds. */
export type TrimPolicy = "age" | "held" | "either" | "never";
export const trimPolicies: readonly TrimPolicy[] = ["age", "held", "either", "never"];

export interface KnownPeer {
  readonly peerId: number;
  /** What it held when it was heard last. */
  readonly vector: ReadonlyVersionVector;
  /** Wall time, ms. */
  readonly heardMs: number;
  /** It holds nothing back: see `Replica.forget`. */
  readonly forgotten: boolean;
}

export interface TrimPlan {
  /** Changesets stamped up to here may go. */
  readonly timestamp: number;
  readonly acknowledged: ReadonlyVersionVector;
  readonly heldByAll: ReadonlyVersionVector;
  readonly alone: boolean;
}

export interface Trimmable {
  peers(): KnownPeer[];
  notePeer(peer: Omit<KnownPeer, "forgotten">): boolean;
  trim(plan: TrimPlan, budgetMs: number): TrimResult;
}

export interface TrimmerOptions {
  readonly clock: Clock;
  readonly mergeSliceMs: number;
  readonly trim: TrimPolicy;
  readonly retentionMs: number;
}

export interface TrimmerOwner {
  /** The peers that are linked now. */
  linked(): Iterable<{ readonly peerId: number; readonly remoteVector: ReadonlyVersionVector }>;
  onTrimmed(): void;
  onError(error: ReplicaError): void;
}

const intervalMsMax = 60_000;
const busyRetryMs = 50;

export class Trimmer {
  readonly #store: Trimmable;
  readonly #options: TrimmerOptions;
  readonly #owner: TrimmerOwner;
  #cancel: (() => void) | undefined;
  #closed = false;

  constructor(store: Trimmable, options: TrimmerOptions, owner: TrimmerOwner) {
    this.#store = store;
    this.#options = options;
    this.#owner = owner;
    this.#waitForNext();
  }

  close(): void {
    this.#closed = true;
    this.#cancel?.();
  }

  /** A link went live or is about to end. */
  note(peer: { readonly peerId: number; readonly remoteVector: ReadonlyVersionVector }): void {
    if (peer.peerId === 0 || this.#closed) return;
    const { peerId, remoteVector: vector } = peer;
    // Busy: the next round tells it again.
    this.#guard(() => this.#store.notePeer({ peerId, vector, heardMs: this.#options.clock.now() }));
  }

  #waitForNext(): void {
    const { clock, retentionMs } = this.#options;
    const waitMs = Math.min(intervalMsMax, retentionMs);
    this.#cancel = clock.setTimer(waitMs, () => this.#round());
  }

  #round(): void {
    this.#cancel = undefined;
    for (const peer of this.#owner.linked()) this.note(peer);
    this.#guard(() => {
      const { trim: policy, retentionMs, clock } = this.#options;
      if (policy === "never") return;
      const peers = this.#store.peers().filter(({ forgotten }) => !forgotten);
      this.#slice(planOf(peers, { policy, olderThanMs: clock.now() - retentionMs }), false);
    });
    if (this.#cancel === undefined && !this.#closed) this.#waitForNext();
  }

  #slice(plan: TrimPlan, trimmed: boolean): void {
    this.#cancel?.();
    this.#cancel = undefined;
    if (this.#closed) return;
    const { changesets, busy, more } = this.#store.trim(plan, this.#options.mergeSliceMs);
    const some = trimmed || changesets > 0;
    if (busy || more) {
      const goOn = () => this.#guard(() => this.#slice(plan, some));
      this.#cancel = this.#options.clock.setTimer(busy ? busyRetryMs : 0, goOn);
      return;
    }
    this.#waitForNext();
    if (some) this.#owner.onTrimmed();
  }

  #guard(work: () => void): void {
    try {
      work();
    } catch (error) {
      if (!(error instanceof ReplicaError)) throw error;
      if (error.code === "CLOSED") return;
      // One timer at a time: rounds that beget two each would soon be all there is.
      if (this.#cancel === undefined) this.#waitForNext();
      this.#owner.onError(error);
    }
  }
}

/** What may go by a policy, given the peers that are not forgotten. */
export function planOf(
  peers: readonly Pick<KnownPeer, "vector">[],
  { policy, olderThanMs }: { policy: TrimPolicy; olderThanMs: number },
): TrimPlan {
  const byAge = policy === "age" || policy === "either";
  const byPeers = policy === "held" || policy === "either";
  const acknowledged: VersionVector = new Map();
  for (const { vector } of peers) {
    for (const [origin, sequence] of vector) {
      acknowledged.set(origin, Math.max(acknowledged.get(origin) ?? 0, sequence));
    }
  }
  const heldByAll: VersionVector = new Map();
  for (const origin of byPeers ? acknowledged.keys() : []) {
    heldByAll.set(origin, Math.min(...peers.map(({ vector }) => vector.get(origin) ?? 0)));
  }
  return {
    timestamp: byAge ? timestampOf(olderThanMs) : 0,
    acknowledged,
    heldByAll,
    alone: peers.length === 0,
  };
}
