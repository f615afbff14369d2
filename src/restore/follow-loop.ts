/** What a follower does, again and again: look for new files, and write what they have. */
import type { Clock } from "../clock.ts";
import { ReplicaError } from "../errors.ts";
import type { Emitter } from "../events.ts";
import { formatTxid } from "../ltx/keys.ts";
import type { Storage } from "../storage/storage.ts";
import { type BackupFile, type Chain, planChain, planTail } from "./chain.ts";
import { copyFiles } from "./copier.ts";
import { listBackup, listShipped } from "./inventory.ts";
import type { MarkFile } from "./mark.ts";
import type { DatabaseCopy } from "./sqlite.ts";
import { UnusableObject } from "./unusable.ts";

export interface FollowPosition {
  readonly txid: number;
  /** When it was committed, in ms since 1970. */
  readonly timestampMs: number;
}

export interface FollowEvents {
  /** The copy shows a later position. */
  applied: FollowPosition;
  /** A look or a write failed; it is tried again after `retryMs`. The copy stays as it is. */
  failed: { readonly error: unknown; readonly retryMs: number };
  /** The first success after failures. */
  recovered: Record<never, never>;
  /** Somebody else has written the copy: it gets all its pages anew. */
  altered: Record<never, never>;
}

export interface FollowParts {
  readonly storage: Storage;
  readonly copy: DatabaseCopy;
  readonly marks: MarkFile;
  readonly clock: Clock;
  readonly intervalMs: number;
  readonly emitter: Emitter<FollowEvents>;
}

/** Frames in the WAL before it is written back: SQLite's own number. */
const checkpointFrames = 1000;
/** A transaction ends with the file that brings it to so much, where it may end. */
const transactionBytes = 64 * 1024 * 1024;
/** Level 0 says nothing when all of it was compacted away: so often everything is listed. */
const listAllMs = 60_000;
const retryMsMax = 60_000;
/** Changes of a folder come in bursts. */
const settleMs = 2;

export class FollowLoop {
  readonly metrics = { commits: 0, files: 0, bytes: 0, failures: 0 };
  readonly #parts: FollowParts;
  readonly #stop = new AbortController();
  readonly #waiters = new Set<() => void>();
  readonly #avoided = new Set<string>();
  /** What the copy shows; the mark on disk may lag behind by one transaction. */
  #position: FollowPosition;
  /** A transaction that may or may not be in the copy must be reached by the next one. */
  #reachAtLeast: number;
  #listedAllMs = Number.NEGATIVE_INFINITY;
  #woken = false;
  #wake = () => {};
  #running: Promise<void> | undefined;

  constructor(parts: FollowParts) {
    this.#parts = parts;
    const { applied, timestampMs, applying } = parts.marks.mark;
    this.#position = { txid: applied, timestampMs };
    this.#reachAtLeast = applying;
  }

  get position(): FollowPosition {
    return this.#position;
  }

  /** Until there is nothing more. @throws what `restore` throws */
  async catchUp(signal: AbortSignal | undefined): Promise<void> {
    for (;;) {
      signal?.throwIfAborted();
      if (!(await this.#step())) return;
    }
  }

  run(): void {
    this.#running = this.#loop();
  }

  wake(): void {
    this.#woken = true;
    this.#wake();
  }

  async wait(txid: number, signal: AbortSignal | undefined): Promise<void> {
    while (this.#position.txid < txid) {
      signal?.throwIfAborted();
      if (this.#stop.signal.aborted) throw closed();
      await new Promise<void>((resolve) => {
        const done = () => {
          signal?.removeEventListener("abort", done);
          this.#waiters.delete(done);
          resolve();
        };
        this.#waiters.add(done);
        signal?.addEventListener("abort", done);
      });
    }
  }

  async close(): Promise<void> {
    this.#stop.abort(closed());
    this.wake();
    await this.#running;
    for (const tell of [...this.#waiters]) tell();
    const { copy, marks } = this.#parts;
    try {
      await this.#settleMark();
    } finally {
      await copy.close();
      await marks.close();
    }
  }

  async #loop(): Promise<void> {
    const { clock, intervalMs, emitter } = this.#parts;
    let failures = 0;
    while (!this.#stop.signal.aborted) {
      let pauseMs = intervalMs;
      try {
        while (await this.#step()) {
          // Until there is nothing more.
        }
        await this.#settleMark();
        if (failures > 0) emitter.emit("recovered", {});
        failures = 0;
      } catch (error) {
        if (this.#stop.signal.aborted) return;
        this.metrics.failures++;
        pauseMs = Math.min(intervalMs * 2 ** Math.min(failures++, 16), retryMsMax);
        emitter.emit("failed", { error, retryMs: pauseMs });
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
    const chain = await this.#plan();
    const files = cut(chain.files, this.#reachAtLeast);
    const end = files.at(-1)?.maxTxid;
    if (end === undefined) return false;
    const { storage, copy, marks, clock, emitter } = this.#parts;
    const { txid: applied, timestampMs } = this.#position;
    await marks.write({ applied, timestampMs, applying: end });
    const before = this.#reachAtLeast;
    this.#reachAtLeast = end;
    const options = { clock, signal: this.#stop.signal, isWhole: applied === 0 };
    try {
      const header = await copyFiles(storage, copy, files, options);
      if (header === undefined) {
        emitter.emit("altered", {});
        this.#position = { txid: 0, timestampMs: 0 };
        this.#reachAtLeast = 0;
        return true;
      }
      this.#applied({ txid: end, timestampMs: header.timestampMs }, files);
    } catch (error) {
      // Only when SQLite fails it may have been done all the same.
      const isUndone = !(error instanceof ReplicaError) || error.code !== "SQLITE";
      if (isUndone) this.#reachAtLeast = before;
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
    this.#position = position;
    this.#avoided.clear();
    this.metrics.commits++;
    this.metrics.files += files.length;
    for (const { bytes } of files) this.metrics.bytes += bytes;
    for (const tell of [...this.#waiters]) tell();
    this.#parts.emitter.emit("applied", position);
  }

  /** @throws `BACKUP_GAP` when there is more, and no way to it */
  async #plan(): Promise<Chain> {
    const { storage, clock } = this.#parts;
    const { txid } = this.#position;
    const signal = this.#stop.signal;
    if (txid > 0 && this.#reachAtLeast <= txid && clock.now() - this.#listedAllMs < listAllMs) {
      const shipped = await listShipped(storage, { from: txid, signal });
      const tail = planTail(shipped, txid, { without: this.#avoided });
      const isBehind = shipped.some(({ maxTxid }) => maxTxid > txid);
      if (tail.files.length > 0 || !isBehind) return tail;
    }
    const files = await listBackup(storage, { signal });
    this.#listedAllMs = clock.now();
    const tail = txid > 0 ? planTail(files, txid, { without: this.#avoided }) : undefined;
    if (tail !== undefined && tail.position >= this.#reachAtLeast) {
      this.#checkReached(tail, files);
      return tail;
    }
    // What the copy holds cannot be told any more: all its pages make it right.
    this.#position = { txid: 0, timestampMs: 0 };
    this.#reachAtLeast = 0;
    const chain = planChain(files, { without: this.#avoided });
    this.#checkReached(chain, files);
    return chain;
  }

  #checkReached({ files: chosen, position }: Chain, files: readonly BackupFile[]): void {
    const newest = files.reduce((last, { maxTxid }) => Math.max(last, maxTxid), 0);
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

  /** Then a restart has nothing to do again. */
  async #settleMark(): Promise<void> {
    const { marks } = this.#parts;
    const { txid, timestampMs } = this.#position;
    if (this.#reachAtLeast > txid || marks.mark.applied === txid) return;
    await marks.write({ applied: txid, timestampMs, applying: txid });
  }
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

function closed(): ReplicaError {
  return new ReplicaError("CLOSED", "the follower is closed");
}
