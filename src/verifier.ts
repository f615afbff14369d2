/** Comparing and mending tables with linked peers, and what has come of it so far. */
import type { Clock } from "./clock.ts";
import { ReplicaError } from "./errors.ts";
import type { Store } from "./log/store.ts";
import type { VerifyMetrics } from "./metrics.ts";
import type { RepairResult } from "./native.ts";
import type { VerifyEvent } from "./replica-events.ts";
import type { Hub } from "./sync/hub.ts";
import { type Verification, verifyTables } from "./sync/verify.ts";

/** Options of `Replica.verify`. */
export interface VerifyCall {
  readonly signal?: AbortSignal | undefined;
  /** How many differences are listed. @default 100 */
  readonly limit?: number;
  /**
   * Read every row again on both sides, also where nothing was written since the last time: finds
   * what was written behind the library's back. @default true with `repair`, else false
   */
  readonly deep?: boolean;
  /**
   * Mend what differs. Row clocks decide; where they are equal and values differ, those of `here`
   * or `there` are written anew, with `true` those of the peer with the smaller id. @default false
   */
  readonly repair?: boolean | "here" | "there";
}

/** What nobody waits for takes its time. */
export interface Pace {
  /** Between two slices of work on this side. @default 0 */
  readonly restMs?: number;
  /** Tables that the peer does not replicate, or sorts otherwise, are no difference. */
  readonly commonOnly?: boolean;
}

/** What the verifier tells the replica. */
export interface VerifierOwner {
  readonly clock: Clock;
  onVerified(event: VerifyEvent): void;
  /** Rows have changed by themselves, and perhaps the log grew. */
  onRepaired(result: RepairResult): void;
}

export class Verifier {
  readonly counters: VerifyMetrics = {
    verifiedAtMs: 0,
    verifyDifferences: 0,
    repairedRows: 0,
    rewrittenRows: 0,
  };
  readonly #store: Store;
  readonly #owner: VerifierOwner;

  constructor(store: Store, owner: VerifierOwner) {
    this.#store = store;
    this.#owner = owner;
  }

  /** @throws NOT_LINKED, LINK_CLOSED, INVALID_OPTION */
  async verify(
    hub: Hub,
    peerId: number | undefined,
    call: VerifyCall & Pace,
  ): Promise<Verification> {
    const { verification, remote } = await this.#compare(hub, peerId, call);
    const { differences } = verification;
    this.counters.verifiedAtMs = this.#owner.clock.now();
    this.counters.verifyDifferences = differences;
    const mended = verification.repair === undefined ? {} : { repair: verification.repair };
    this.#owner.onVerified({ peerId: remote, differences, ...mended });
    return verification;
  }

  /** Compares, and tells nobody but the caller. */
  async look(hub: Hub, peerId: number, call: VerifyCall & Pace): Promise<Verification> {
    return (await this.#compare(hub, peerId, call)).verification;
  }

  async #compare(
    hub: Hub,
    peerId: number | undefined,
    { signal, limit = 100, repair = false, deep = repair !== false, ...pace }: VerifyCall & Pace,
  ): Promise<{ verification: Verification; remote: number }> {
    if (!choices.includes(repair)) {
      throw new ReplicaError("INVALID_OPTION", `repair is ${String(repair)}`, {
        hint: 'Give true, false, "here" or "there".',
      });
    }
    const { clock } = this.#owner;
    const { ask, peerId: remote } = hub.asker(peerId, signal);
    const smaller = hub.peerId < remote ? "here" : "there";
    const winner = repair === true ? smaller : repair;
    const onRepaired = (result: RepairResult) => this.noteRepaired(result);
    const verification = await verifyTables(this.#store, this.#store.tables(), {
      ask,
      limit,
      deep,
      clock,
      signal,
      ...pace,
      repair: winner === false ? undefined : { winner, onRepaired },
    });
    return { verification, remote };
  }

  noteRepaired(result: RepairResult): void {
    this.counters.repairedRows += result.taken;
    this.counters.rewrittenRows += result.rewritten;
    this.#owner.onRepaired(result);
  }
}

const choices: readonly unknown[] = [true, false, "here", "there"];
