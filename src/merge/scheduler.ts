/**
 * Merging in slices: records wait here, and are merged a few milliseconds at a time, so that
 * neither the event loop nor local writers are held up. Links are served in turn. When nothing
 * waits, row clocks are folded and what was held back is looked at again.
 */
import type { Clock } from "../clock.ts";
import { ReplicaError } from "../errors.ts";
import { Durations } from "../histogram.ts";
import type { MergeResult } from "../native.ts";

/** What the scheduler needs of the store. */
export interface Mergeable {
  merge(records: Uint8Array, offset: number, budgetMs: number): MergeResult;
  maintain(budgetMs: number): MergeResult;
}

/** Where records come from, and who is told what became of them. */
export interface MergeSource {
  /** Called after each slice that had records of this source. */
  onMerged(result: MergeResult, done: boolean): void;
  /** The records do not decode: nothing of this source is merged any more. */
  onRejected(error: ReplicaError): void;
}

export interface SchedulerOptions {
  readonly clock: Clock;
  readonly sliceMs: number;
  /** After every slice that changed something. */
  readonly onSlice: (result: MergeResult) => void;
  /** The database does not let us merge; it is tried again. */
  readonly onError: (error: ReplicaError) => void;
}

interface Job {
  readonly records: Uint8Array;
  offset: number;
}

/** Small messages of one source are merged in one transaction up to this size. */
const batchBytesMax = 256 * 1024;
const busyRetryMs = { min: 1, max: 50 };
/** A wall clock that was wrong may be set right while a changeset waits for its time. */
const resumeMsMax = 60_000;
const errorRetryMs = { min: 100, max: 10_000 };
const rejectedCodes: ReadonlySet<string> = new Set([
  "PAYLOAD_CORRUPT",
  "RECORD_MALFORMED",
  "SHAPE_MALFORMED",
]);

export class MergeScheduler {
  readonly #store: Mergeable;
  readonly #options: SchedulerOptions;
  readonly #jobsBySource = new Map<MergeSource, Job[]>();
  /** How long slices took. */
  readonly slices: Durations = new Durations();
  readonly #roomWaiters = new Map<MergeSource, (() => void)[]>();
  #queuedBytes = 0;
  #scheduled = false;
  #closed = false;
  #maintain = false;
  #busyMs = busyRetryMs.min;
  #errorMs = errorRetryMs.min;
  #cancelTimer: (() => void) | undefined;
  #cancelResume: (() => void) | undefined;

  constructor(store: Mergeable, options: SchedulerOptions) {
    this.#store = store;
    this.#options = options;
  }

  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  get idle(): boolean {
    return this.#jobsBySource.size === 0 && !this.#maintain;
  }

  /** Bytes of this source that are not merged yet. */
  queuedBytesOf(source: MergeSource): number {
    let bytes = 0;
    for (const job of this.#jobsBySource.get(source) ?? []) {
      bytes += job.records.byteLength - job.offset;
    }
    return bytes;
  }

  enqueue(source: MergeSource, records: Uint8Array): void {
    if (this.#closed) return;
    const jobs = this.#jobsBySource.get(source);
    const job = { records, offset: 0 };
    if (jobs === undefined) this.#jobsBySource.set(source, [job]);
    else jobs.push(job);
    this.#queuedBytes += records.byteLength;
    this.#schedule();
  }

  /** Resolves when no more than `bytes` of this source wait. */
  async room(source: MergeSource, bytes: number): Promise<void> {
    while (!this.#closed && this.queuedBytesOf(source) > bytes) {
      await new Promise<void>((resolve) => {
        const waiters = this.#roomWaiters.get(source) ?? [];
        waiters.push(resolve);
        this.#roomWaiters.set(source, waiters);
      });
    }
  }

  /** Forgets what waits of a source whose link has ended. */
  remove(source: MergeSource): void {
    this.#queuedBytes -= this.queuedBytesOf(source);
    this.#jobsBySource.delete(source);
    this.#wake(source);
  }

  /** Looks after row clocks and held-back changesets when nothing else is to do. */
  requestMaintenance(): void {
    if (this.#closed || this.#maintain) return;
    this.#maintain = true;
    this.#schedule();
  }

  close(): void {
    this.#closed = true;
    this.#cancelTimer?.();
    this.#cancelResume?.();
    for (const source of [...this.#jobsBySource.keys()]) this.remove(source);
    for (const source of [...this.#roomWaiters.keys()]) this.#wake(source);
  }

  #schedule(delayMs = 0): void {
    if (this.#scheduled || this.#closed) return;
    this.#scheduled = true;
    const run = () => {
      this.#scheduled = false;
      this.#cancelTimer = undefined;
      if (!this.#closed) this.#runSlice();
    };
    // Not at once: messages that arrive together are merged together.
    if (delayMs === 0) this.#options.clock.nextTurn(run);
    else this.#cancelTimer = this.#options.clock.setTimer(delayMs, run);
  }

  #runSlice(): void {
    const next = this.#jobsBySource.entries().next();
    const startMs = this.#options.clock.now();
    try {
      if (next.done !== true) this.#mergeSlice(...next.value);
      else if (this.#maintain) this.#maintainSlice();
      this.#errorMs = errorRetryMs.min;
    } catch (error) {
      this.#onFailure(error, next.done === true ? undefined : next.value[0]);
      return;
    } finally {
      this.slices.add(this.#options.clock.now() - startMs);
    }
    if (!this.idle) this.#schedule();
  }

  #mergeSlice(source: MergeSource, jobs: Job[]): void {
    const job = takeBatch(jobs);
    const before = job.offset;
    const result = this.#store.merge(job.records, before, this.#options.sliceMs);
    if (result.busy) {
      this.#retryBusy();
      return;
    }
    this.#busyMs = busyRetryMs.min;
    job.offset = result.consumed;
    this.#queuedBytes -= result.consumed - before;
    const done = job.offset >= job.records.byteLength;
    if (done) jobs.shift();
    // In turn: a source that has more goes to the end of the line.
    this.#jobsBySource.delete(source);
    if (jobs.length > 0) this.#jobsBySource.set(source, jobs);
    this.#maintain = true;
    this.#wake(source);
    this.#report(result);
    source.onMerged(result, jobs.length === 0);
  }

  #maintainSlice(): void {
    const result = this.#store.maintain(this.#options.sliceMs);
    if (result.busy) {
      this.#retryBusy();
      return;
    }
    this.#busyMs = busyRetryMs.min;
    this.#maintain = result.more;
    this.#report(result);
  }

  #report(result: MergeResult): void {
    if (result.resumeAtMs > 0) this.#resumeAt(result.resumeAtMs);
    const { changesets, refused, conflicts, resolved, resumeAtMs } = result;
    const told = refused.length + conflicts.length + resolved.length;
    if (changesets > 0 || told > 0 || resumeAtMs > 0) this.#options.onSlice(result);
  }

  /** A changeset whose clock is ahead waits for its time. */
  #resumeAt(wallMs: number): void {
    this.#cancelResume?.();
    const aheadMs = wallMs - this.#options.clock.now();
    const delayMs = Math.min(Math.max(aheadMs, 1), resumeMsMax);
    this.#cancelResume = this.#options.clock.setTimer(delayMs, () => {
      this.#cancelResume = undefined;
      this.requestMaintenance();
    });
  }

  /** The user is inside a transaction, or another process writes. */
  #retryBusy(): void {
    this.#schedule(this.#busyMs);
    this.#busyMs = Math.min(this.#busyMs * 2, busyRetryMs.max);
  }

  #onFailure(error: unknown, source: MergeSource | undefined): void {
    if (!(error instanceof ReplicaError)) throw error;
    if (source !== undefined && rejectedCodes.has(error.code)) {
      this.remove(source);
      source.onRejected(error);
      if (!this.idle) this.#schedule();
      return;
    }
    if (error.code === "CLOSED") {
      this.close();
      this.#options.onError(error);
      return;
    }
    // A full disk or a damaged file is the operator's; what was received is kept until it works.
    this.#schedule(this.#errorMs);
    this.#errorMs = Math.min(this.#errorMs * 2, errorRetryMs.max);
    this.#options.onError(error);
  }

  #wake(source: MergeSource): void {
    const waiters = this.#roomWaiters.get(source);
    this.#roomWaiters.delete(source);
    for (const resolve of waiters ?? []) resolve();
  }
}

/** Joins the first jobs of a source into one, while they are small. */
function takeBatch(jobs: Job[]): Job {
  const [first] = jobs;
  if (first === undefined) throw new TypeError("a source without jobs");
  let count = 1;
  let bytes = first.records.byteLength - first.offset;
  for (const job of jobs.slice(1)) {
    if (bytes + job.records.byteLength > batchBytesMax) break;
    bytes += job.records.byteLength;
    count += 1;
  }
  if (count === 1) return first;
  const records = new Uint8Array(bytes);
  let at = 0;
  for (const job of jobs.splice(0, count)) {
    const rest = job.records.subarray(job.offset);
    records.set(rest, at);
    at += rest.byteLength;
  }
  const joined = { records, offset: 0 };
  jobs.unshift(joined);
  return joined;
}
