/**
 * Comparing tables with linked peers now and then, by itself: one peer a round, the one that was
 * compared longest ago, slowly, and only once both hold what the other held.
 */
import type { Clock, Random } from "./clock.ts";
import { ReplicaError } from "./errors.ts";
import { covers, type ReadonlyVersionVector } from "./log/vector.ts";
import type { Verification } from "./sync/verify.ts";

export interface RoundPeer {
  readonly peerId: number;
  readonly remoteVector: ReadonlyVersionVector;
}

export interface RoundsHost {
  readonly clock: Clock;
  readonly random: Random;
  linked(): readonly RoundPeer[];
  held(): ReadonlyVersionVector;
  /** Tells and counts nothing. */
  look(peerId: number, signal: AbortSignal): Promise<Verification>;
  /** Tells what it finds, and mends it if that is wanted. */
  verify(peerId: number, signal: AbortSignal): Promise<unknown>;
  onError(error: ReplicaError): void;
}

/** Peers that are behind are looked at again so often in a round, and then left for the next. */
const catchUpMs = 1_000;
const catchUpLooks = 60;
/** The link ended, or the peer does not answer: there is another round. */
const expectedCodes: ReadonlySet<string> = new Set(["NOT_LINKED", "LINK_CLOSED", "CLOSED"]);

export class VerifyRounds {
  readonly #host: RoundsHost;
  readonly #everyMs: number;
  readonly #closing = new AbortController();
  /** Linked peers, and the round in which each was compared last. */
  readonly #roundByPeer = new Map<number, number>();
  #round = 0;
  #cancel: (() => void) | undefined;
  #running: Promise<void> | undefined;

  /** `everyMs` 0: never. */
  constructor(host: RoundsHost, everyMs: number) {
    this.#host = host;
    this.#everyMs = everyMs;
    this.#arm();
  }

  /** Ends the round that is under way. */
  async close(reason: unknown): Promise<void> {
    this.#cancel?.();
    this.#closing.abort(reason);
    await this.#running;
  }

  /** Half to one and a half times the interval: peers that began together drift apart. */
  #arm(): void {
    if (this.#everyMs === 0 || this.#closing.signal.aborted) return;
    const { clock, random } = this.#host;
    this.#cancel = clock.setTimer(this.#everyMs * (0.5 + random()), () => {
      this.#running = this.#run().finally(() => this.#arm());
    });
  }

  async #run(): Promise<void> {
    const peerId = this.#next();
    if (peerId === undefined) return;
    const { signal } = this.#closing;
    try {
      if (!(await this.#caughtUp(peerId))) return;
      const { differences } = await this.#host.look(peerId, signal);
      // Rows may have been on their way for longer than a look takes: what still differs when all
      // of that has arrived is worth telling.
      if (differences > 0 && !(await this.#caughtUp(peerId))) return;
      await this.#host.verify(peerId, signal);
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof ReplicaError)) throw error;
      if (!expectedCodes.has(error.code)) this.#host.onError(error);
    }
  }

  #next(): number | undefined {
    const linked = new Set(this.#host.linked().map(({ peerId }) => peerId));
    for (const peerId of this.#roundByPeer.keys()) {
      if (!linked.has(peerId)) this.#roundByPeer.delete(peerId);
    }
    const roundOf = (peerId: number) => this.#roundByPeer.get(peerId) ?? 0;
    const [oldest] = [...linked].sort((a, b) => roundOf(a) - roundOf(b));
    this.#round += 1;
    if (oldest !== undefined) this.#roundByPeer.set(oldest, this.#round);
    return oldest;
  }

  /** Resolves when each side holds what the other one does now; false if that takes too long. */
  async #caughtUp(peerId: number): Promise<boolean> {
    const remoteNow = () =>
      this.#host.linked().find((link) => link.peerId === peerId)?.remoteVector;
    const mine = new Map(this.#host.held());
    const theirs = new Map(remoteNow());
    for (let look = 0; look < catchUpLooks; look++) {
      const remote = remoteNow();
      if (remote === undefined) return false;
      if (covers(this.#host.held(), theirs) && covers(remote, mine)) return true;
      await this.#wait();
    }
    return false;
  }

  /** Keeps no process alive; ends early, and well, when the replica closes. */
  async #wait(): Promise<void> {
    const { signal } = this.#closing;
    signal.throwIfAborted();
    await new Promise<void>((resolve) => {
      const cancel = this.#host.clock.setTimer(catchUpMs, end);
      function end(): void {
        cancel();
        signal.removeEventListener("abort", end);
        resolve();
      }
      signal.addEventListener("abort", end);
    });
    signal.throwIfAborted();
  }
}
