/**
 * Who may write to a place: one at a time. Time decides only who waits; that two never hold the
 * lease at once follows from the storage's conditional write, and from what is checked when an
 * answer comes later than the lease lasts (docs/decisions/0021-a-lease-is-a-row-of-objects.md).
 */

import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import { checkNames } from "../arguments.ts";
import { type Clock, systemClock } from "../clock.ts";
import { ReplicaError } from "../errors.ts";
import { untilAborted } from "../on-abort.ts";
import { probeConditions } from "../storage/probe.ts";
import type { Storage, StorageCallOptions } from "../storage/storage.ts";
import { LeaseRow } from "./lease-row.ts";
import {
  type LeaseBefore,
  type LeaseRecord,
  leaseTtlMsMax,
  leaseTtlMsMin,
  type Moment,
  momentOf,
  numbersKept,
  passedMs,
  type SeenLease,
  standingOf,
} from "./lease-rules.ts";

export type { LeaseBefore } from "./lease-rules.ts";

/** Who holds a lease that is waited for. */
export interface LeaseWait {
  /** Host and process, as the holder gave them. */
  readonly label: string;
  /** When the lease is to be had at the latest if it is not renewed, in ms from now. */
  readonly leftMs: number;
}

export interface LeaseOptions extends StorageCallOptions {
  /** Where in the storage: "" or a path that ends in a slash. @default "mergelite/" */
  readonly root?: string;
  /** How long others wait after the last sign of life, in ms, 1000 to a day. @default 60000 */
  readonly ttlMs?: number;
  /**
   * Who asks. A lease of the same holder is taken over at once, so let it be another one for each
   * process that may be alive: an id kept in a file that is locked. @default a random one
   */
  readonly holder?: string;
  /** For people who wonder who holds it. @default host name and process id */
  readonly label?: string;
  /** Whether to wait until it is to be had; if not, `LEASE_HELD`. @default true */
  readonly wait?: boolean;
  /** Called when another one holds it, once for each of its renewals that is noticed. */
  readonly onWait?: (wait: LeaseWait) => void;
  /** @default the system's */
  readonly clock?: Clock;
}

/** The right to write, which ends. Costs no requests while nobody asks for it. */
export interface Lease {
  /** Rises with each holding: in all that is written, it tells whose it is. */
  readonly fence: number;
  /**
   * `expired`: the holder before did not give it back and may still be at work, so write nothing
   * under a key that it could write too. `own`: it was this very `holder`, whose process ended.
   */
  readonly before: LeaseBefore;
  /** The `fence` of the holding before; 0 for none. If it was the own one, nobody came between. */
  readonly previousFence: number;
  /** For how long others cannot have taken it, in ms; 0 when it must be renewed first. */
  readonly leftMs: number;
  /** Aborted, with `LEASE_LOST`, when somebody else has it, or with `CLOSED` by `release`. */
  readonly signal: AbortSignal;
  /**
   * Resolves when the lease is held at this moment: what was put before is put in its time. Asks
   * the storage only when half of the time is over, and waits for the answer only when all is.
   * Call it after what you put is there, and before you say so.
   * @throws `LEASE_LOST`
   */
  confirm(options?: StorageCallOptions): Promise<void>;
  /** Puts off its end, whatever time is left. @throws `LEASE_LOST` */
  renew(options?: StorageCallOptions): Promise<void>;
  /** Gives it back. What cannot be told to the storage ends by itself. Idempotent. */
  release(options?: StorageCallOptions): Promise<void>;
}

/** Between two looks at a row, at least. */
const pauseMs = 100;

/**
 * Waits until nobody holds the lease of this place, and takes it.
 * @throws `STORAGE_UNSAFE` where conditional writes are ignored; `LEASE_HELD`
 */
export async function acquireLease(storage: Storage, options: LeaseOptions = {}): Promise<Lease> {
  const settings = settingsOf(options);
  const call = { signal: options.signal };
  await probeConditions(storage, { root: settings.root, ...call });
  const row = new LeaseRow(storage, settings.root);
  let seen: SeenLease | undefined;
  let told = 0;
  for (;;) {
    seen = await look(row, seen, settings.clock, call);
    const { steadyMs } = momentOf(settings.clock);
    const standing = standingOf(seen, { holder: settings.holder, steadyMs });
    if (standing.type === "free") {
      const held = await take(row, seen, standing.before, settings, call);
      if (held !== undefined) return held;
      // A listing may show the one who was faster late: then it is asked for by its number.
      seen = (await lookAt(row, (seen?.number ?? 0) + 1, settings.clock, call)) ?? seen;
      continue;
    }
    const { label = "", ttlMs = 0 } = seen?.record ?? {};
    if (!settings.wait) throw heldError(row, label);
    if (seen?.number !== told) options.onWait?.({ label, leftMs: standing.leftMs });
    told = seen?.number ?? 0;
    // Sooner than its end, for it may be given back.
    await settings.clock.sleep(Math.max(pauseMs, Math.min(standing.leftMs, ttlMs / 4)), call);
  }
}

/** For storages that ignore conditions, where the caller says that nobody else writes. */
export function unguardedLease(): Lease {
  const controller = new AbortController();
  return {
    fence: 0,
    before: "none",
    previousFence: 0,
    leftMs: Number.POSITIVE_INFINITY,
    signal: controller.signal,
    confirm: async () => controller.signal.throwIfAborted(),
    renew: async () => controller.signal.throwIfAborted(),
    release: async () => controller.abort(releasedError()),
  };
}

type Settings = Required<Omit<LeaseOptions, "signal" | "onWait">>;

const names = ["root", "ttlMs", "holder", "label", "wait", "onWait", "clock", "signal"];

function settingsOf(options: LeaseOptions): Settings {
  checkNames(options, names);
  const settings: Settings = {
    root: options.root ?? "mergelite/",
    ttlMs: options.ttlMs ?? 60_000,
    holder: options.holder ?? randomUUID(),
    label: options.label ?? `${hostname()}, process ${process.pid}`.slice(0, 200),
    wait: options.wait ?? true,
    clock: options.clock ?? systemClock,
  };
  const { ttlMs, holder, label } = settings;
  if (!Number.isSafeInteger(ttlMs) || ttlMs < leaseTtlMsMin || ttlMs > leaseTtlMsMax) {
    throw new TypeError("ttlMs is a whole number from 1000 to a day");
  }
  if (holder.length > 200 || label.length > 200) {
    throw new TypeError("holder and label have at most 200 characters");
  }
  return settings;
}

/** The newest object of the row; what was seen before keeps its time. */
async function look(
  row: LeaseRow,
  before: SeenLease | undefined,
  clock: Clock,
  call: StorageCallOptions,
): Promise<SeenLease | undefined> {
  for (;;) {
    const number = (await row.numbers(call)).at(-1) ?? 0;
    if (number <= (before?.number ?? 0)) return before;
    const seen = await lookAt(row, number, clock, call);
    if (seen !== undefined) return seen;
    // It has just been deleted, for there is a newer one; or it is shown late.
    await clock.sleep(pauseMs, call);
  }
}

async function lookAt(
  row: LeaseRow,
  number: number,
  clock: Clock,
  call: StorageCallOptions,
): Promise<SeenLease | undefined> {
  const record = await row.read(number, call);
  return record && { number, record, sinceMs: momentOf(clock).steadyMs };
}

async function take(
  row: LeaseRow,
  seen: SeenLease | undefined,
  before: LeaseBefore,
  settings: Settings,
  call: StorageCallOptions,
): Promise<Lease | undefined> {
  const { holder, ttlMs, label } = settings;
  const fence = (seen?.number ?? 0) + 1;
  const holding = randomUUID();
  const record = { holder, holding, fence, ttlMs, released: false, label };
  const from = momentOf(settings.clock);
  if ((await row.put(fence, record, call)) === "taken") return undefined;
  // This process may have stood still since it looked: then others have gone on, and what was put
  // is a number from long ago that they have deleted.
  const numbers = await row.numbers(call);
  if ((numbers.at(-1) ?? 0) > fence) {
    await row.delete(fence, call);
    return undefined;
  }
  await row.tidy(numbers, call);
  return new HeldLease(row, {
    record,
    before,
    previousFence: seen?.record.fence ?? 0,
    clock: settings.clock,
    from,
  });
}

interface Holding {
  readonly record: Omit<LeaseRecord, "nonce">;
  readonly before: LeaseBefore;
  readonly previousFence: number;
  readonly clock: Clock;
  /** When the put that began it was sent. */
  readonly from: Moment;
}

class HeldLease implements Lease {
  readonly before: LeaseBefore;
  readonly previousFence: number;
  readonly #row: LeaseRow;
  readonly #record: Omit<LeaseRecord, "nonce">;
  readonly #clock: Clock;
  readonly #ended = new AbortController();
  #number: number;
  #from: Moment;
  #renewing: Promise<void> | undefined;

  constructor(row: LeaseRow, { record, before, previousFence, clock, from }: Holding) {
    this.before = before;
    this.previousFence = previousFence;
    this.#row = row;
    this.#record = record;
    this.#clock = clock;
    this.#number = record.fence;
    this.#from = from;
  }

  get fence(): number {
    return this.#record.fence;
  }

  get leftMs(): number {
    if (this.signal.aborted) return 0;
    return Math.max(0, this.#record.ttlMs - passedMs(this.#from, momentOf(this.#clock)));
  }

  get signal(): AbortSignal {
    return this.#ended.signal;
  }

  async confirm({ signal }: StorageCallOptions = {}): Promise<void> {
    this.signal.throwIfAborted();
    if (this.leftMs * 2 > this.#record.ttlMs) return;
    // A loss shows in `signal`; after any other failure the next call tries again.
    this.#renewed().catch(() => {});
    // Not once only: an answer may come when the time that it gives is over.
    while (this.leftMs === 0) await untilAborted(this.#renewed(), signal);
  }

  async renew({ signal }: StorageCallOptions = {}): Promise<void> {
    await untilAborted(this.#renewed(), signal);
  }

  async release(options: StorageCallOptions = {}): Promise<void> {
    await this.#renewing?.catch(() => {});
    if (this.signal.aborted) return;
    this.#ended.abort(releasedError());
    const record = { ...this.#record, released: true };
    try {
      for (let number = this.#number + 1; ; number++) {
        if ((await this.#row.put(number, record, options)) !== "ours") return;
      }
    } catch (error) {
      // Others wait a little longer then. A storage may be closed before its users are.
      const code = error instanceof ReplicaError ? error.code : "";
      if (!code.startsWith("STORAGE_") && code !== "CLOSED") throw error;
    }
  }

  /** One renewal at a time, for all who ask; it goes on when one of them no longer waits. */
  async #renewed(): Promise<void> {
    this.signal.throwIfAborted();
    this.#renewing ??= this.#advance().finally(() => {
      this.#renewing = undefined;
    });
    await this.#renewing;
  }

  async #advance(): Promise<void> {
    const from = momentOf(this.#clock);
    let next = this.#number + 1;
    for (;;) {
      const put = await this.#row.put(next, this.#record, {});
      if (put === "taken") throw this.#lose();
      if (put === "done") break;
      next++;
    }
    // An answer in time: nobody can have taken the lease and deleted the number again. Otherwise
    // others would be ahead.
    if (this.leftMs === 0 && ((await this.#row.numbers({})).at(-1) ?? 0) > next) {
      await this.#row.delete(next, {});
      throw this.#lose();
    }
    this.signal.throwIfAborted();
    this.#number = next;
    this.#from = from;
    const old = next - numbersKept;
    // What stays is tidied up by a later holding.
    if (old > this.fence) await this.#row.delete(old, {}).catch(() => {});
  }

  #lose(): ReplicaError {
    const lost = new ReplicaError("LEASE_LOST", `${this.#row.name} is another one's by now`, {
      hint: "Two processes ship to one place, or this one stood still for longer than the lease.",
    });
    this.#ended.abort(lost);
    return lost;
  }
}

function heldError(row: LeaseRow, label: string): ReplicaError {
  return new ReplicaError("LEASE_HELD", `${row.name} is held by ${label}`, {
    hint: "Wait for its end, stop the other process, or ship to another place.",
  });
}

function releasedError(): ReplicaError {
  return new ReplicaError("CLOSED", "the lease was given back");
}
