/** What a follower does, again and again: look for new files, and write what they have. */
import type { Clock } from "../clock.ts";
import { ReplicaError } from "../errors.ts";
import { formatTxid } from "../ltx/keys.ts";
import { onAbort } from "../on-abort.ts";
import type { Storage } from "../storage/storage.ts";
import { type BackupFile, type Chain, planChain, planTail } from "./chain.ts";
import { copyFiles } from "./copier.ts";
import { type FollowPosition, type FollowState, followerClosed } from "./follow-state.ts";
import { listBackup, listShipped } from "./inventory.ts";
import { isSameObject, type Sameness, samenessOf } from "./sameness.ts";
import type { DatabaseCopy } from "./sqlite.ts";
import { UnusableObject } from "./unusable.ts";
import { watchBackup } from "./watch.ts";

export interface FollowParts {
  readonly storage: Storage;
  readonly copy: DatabaseCopy;
  readonly state: FollowState;
  readonly clock: Clock;
  readonly intervalMs: number;
}

/** Frames in the WAL before it is written back: SQLite's own number. */
export const checkpointFrames = 1000;
/** A transaction ends with the file that brings it to so much, where it may end. */
const transactionBytes = 64 * 1024 * 1024;
/** Level 0 says nothing when all of it was compacted away: so often everything is listed. */
const listAllMs = 60_000;
const retryMsMax = 60_000;
/** Changes of a folder come in bursts. */
const settleMs = 2;

export class FollowLoop {
  readonly #parts: FollowParts;
  readonly #stop = new AbortController();
  readonly #avoided = new Set<string>();
  #listedAllMs = Number.NEGATIVE_INFINITY;
  /** Ends with the copy's position; as it was listed when it was known to be of this backup. */
  #last: BackupFile | undefined;
  #woken = false;
  #wake = () => {};
  #unwatch = () => {};
  #running: Promise<void> | undefined;

  constructor(parts: FollowParts) {
    this.#parts = parts;
  }

  /** Resolves when the copy shows what there is, and goes on. @throws what `restore` throws */
  async begin(signal: AbortSignal | undefined): Promise<void> {
    const { storage } = this.#parts;
    signal?.throwIfAborted();
    const off = onAbort(signal, () => this.#stop.abort(signal?.reason));
    try {
      do signal?.throwIfAborted();
      while (await this.#step());
    } finally {
      off();
    }
    signal?.throwIfAborted();
    this.#unwatch = watchBackup(storage, () => this.#hear());
    this.#running = this.#loop();
  }

  /** Lets go of the copy. */
  async close(): Promise<void> {
    this.#unwatch();
    this.#stop.abort(followerClosed());
    this.#hear();
    await this.#running;
    await this.#parts.copy.close();
  }

  #hear(): void {
    this.#woken = true;
    this.#wake();
  }

  async #loop(): Promise<void> {
    const { clock, intervalMs, state } = this.#parts;
    let failures = 0;
    while (!this.#stop.signal.aborted) {
      let pauseMs = intervalMs;
      try {
        while (await this.#step()) {
          // Until there is nothing more.
        }
        await state.settle();
        if (failures > 0) state.emitter.emit("recovered", {});
        failures = 0;
      } catch (error) {
        if (this.#stop.signal.aborted) return;
        state.metrics.failures++;
        pauseMs = Math.min(intervalMs * 2 ** Math.min(failures++, 16), retryMsMax);
        state.emitter.emit("failed", { error, retryMs: pauseMs });
      }
      await this.#pause(clock, pauseMs);
    }
  }

  /** Until there is something to look at. Ends early when woken. */
  async #pause(clock: Clock, ms: number): Promise<void> {
    const woken = new AbortController();
    this.#wake = () => woken.abort();
    if (!this.#woken) await clock.sleep(ms, { signal: woken.signal }).catch(() => {});
    if (this.#woken && !this.#stop.signal.aborted) await clock.sleep(settleMs);
    this.#woken = false;
  }

  /** One transaction; false when there is nothing to be done. */
  async #step(): Promise<boolean> {
    const { storage, copy, state, clock } = this.#parts;
    const chain = await this.#plan();
    const files = cut(chain.files, state.reachAtLeast);
    const end = files.at(-1)?.maxTxid;
    if (end === undefined) return false;
    const isWhole = state.position.txid === 0;
    const { undo } = await state.announce(end);
    try {
      const options = { clock, signal: this.#stop.signal, isWhole };
      const header = await copyFiles(storage, copy, files, options);
      if (header === undefined) {
        state.forget("altered");
        return true;
      }
      this.#applied({ txid: end, timestampMs: header.timestampMs }, files);
    } catch (error) {
      // Only when SQLite fails it may have been done all the same.
      if (!(error instanceof ReplicaError) || error.code !== "SQLITE") undo();
      if (!(error instanceof UnusableObject) || this.#avoided.has(error.key)) throw error;
      // Others may have the same.
      this.#avoided.add(error.key);
      this.#listedAllMs = Number.NEGATIVE_INFINITY;
      return true;
    }
    if (copy.frames >= checkpointFrames) await copy.checkpoint();
    return true;
  }

  #applied(position: FollowPosition, files: readonly BackupFile[]): void {
    this.#avoided.clear();
    this.#last = files.at(-1);
    const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
    this.#parts.state.applied(position, { files: files.length, bytes });
  }

  /** @throws `BACKUP_GAP` when there is more, and no way to it */
  async #plan(): Promise<Chain> {
    const { storage, clock, state } = this.#parts;
    const { txid } = state.position;
    const signal = this.#stop.signal;
    if (txid > 0 && state.reachAtLeast <= txid && clock.now() - this.#listedAllMs < listAllMs) {
      const shipped = await listShipped(storage, { from: txid, signal });
      const tail = planTail(shipped, txid, { without: this.#avoided });
      const isBehind = shipped.some(({ maxTxid }) => maxTxid > txid);
      if (!isBehind) return tail;
      if (tail.files.length > 0 && (await this.#isSame(shipped)) === "same") return tail;
    }
    const files = await listBackup(storage, { signal });
    this.#listedAllMs = clock.now();
    const tail = txid > 0 ? await this.#planTail(files) : undefined;
    if (tail !== undefined && tail.position >= state.reachAtLeast) {
      this.#checkReached(tail, files);
      return tail;
    }
    // What the copy holds cannot be told any more: all its pages make it right.
    state.forget("renewed");
    const chain = planChain(files, { without: this.#avoided });
    this.#checkReached(chain, files);
    return chain;
  }

  /** Nothing when the copy is of another backup than these files. */
  async #planTail(files: readonly BackupFile[]): Promise<Chain | undefined> {
    const { txid } = this.#parts.state.position;
    const newest = newestOf(files);
    // A backup never loses its newest position: with less than the copy, it was begun anew.
    if (newest > 0 && newest < txid) return undefined;
    const without = this.#avoided;
    const tail = planTail(files, txid, { without });
    const sameness = newest === 0 ? "same" : await this.#isSame(files);
    if (sameness !== "unknown") return sameness === "same" ? tail : undefined;
    // All pages are right in either case.
    return planChain(files, { without }).position < tail.position ? tail : undefined;
  }

  async #isSame(files: readonly BackupFile[]): Promise<Sameness> {
    const { storage, state } = this.#parts;
    const { position } = state;
    const last = files.find(({ key }) => key === this.#last?.key);
    if (isSameObject(last, this.#last)) return "same";
    const sameness = await samenessOf(storage, files, { ...position, signal: this.#stop.signal });
    if (sameness === "same") this.#last = files.find(({ maxTxid }) => maxTxid === position.txid);
    return sameness;
  }

  #checkReached({ files: chosen, position }: Chain, files: readonly BackupFile[]): void {
    const newest = newestOf(files);
    const { name } = this.#parts.storage;
    if (newest === 0) throw new ReplicaError("BACKUP_EMPTY", `${name} has no backup any more`);
    if (chosen.length > 0 || newest <= position) return;
    const bad = [...this.#avoided];
    this.#avoided.clear();
    const way = `${name} has transactions up to ${formatTxid(newest)}`;
    const why = bad.length > 0 ? `, but ${bad.join(", ")} cannot be used` : ", but no way to them";
    throw new ReplicaError(bad.length > 0 ? "BACKUP_DAMAGED" : "BACKUP_GAP", way + why, {
      hint: "The copy goes on with the next snapshot.",
    });
  }
}

function newestOf(files: readonly BackupFile[]): number {
  return files.reduce((last, { maxTxid }) => Math.max(last, maxTxid), 0);
}

/** A long way is gone in several transactions. */
function cut(files: readonly BackupFile[], reachAtLeast: number): readonly BackupFile[] {
  // From a snapshot on, no state before the last one is newer than what readers have seen.
  if (files[0]?.minTxid === 1) return files;
  let bytes = 0;
  const end = files.findIndex((file) => {
    bytes += file.bytes;
    return bytes >= transactionBytes && file.maxTxid >= reachAtLeast;
  });
  return end < 0 ? files : files.slice(0, end + 1);
}
