/**
 * Keeps the backup in one storage, beside what is shipped into it: sleeps until something is due,
 * and never stands in the way of commits.
 */
import { statfs } from "node:fs/promises";
import { BackupKeeper } from "../backup/keeper.ts";
import { intervalEnd, type TimedFile } from "../backup/levels.ts";
import type { Verified } from "../backup/verify.ts";
import { type Clock, jitter, type Random } from "../clock.ts";
import { ReplicaError } from "../errors.ts";
import type { BackupFile } from "../restore/chain.ts";
import { Limit } from "../storage/limit.ts";
import type { Storage, StorageCallOptions } from "../storage/storage.ts";
import type { KeepSettings } from "./keep-options.ts";
import { metadataNames } from "./manifest.ts";
import type { Place } from "./place.ts";
import type { Proofs } from "./proofs.ts";

export interface KeepingListener {
  compacted(made: TimedFile, inputs: readonly TimedFile[]): void;
  verified(verified: Verified): void;
  pruned(files: readonly TimedFile[]): void;
  /** It is tried again after `retryMs`; 0: it is not. */
  failed(error: unknown, retryMs: number): void;
}

export interface KeepingHost extends KeepingListener {
  readonly clock: Clock;
  readonly random: Random;
  readonly settings: KeepSettings;
  readonly proofs: Proofs;
  /** Where proofs are made. */
  readonly folder: string;
  /** Of the database, in bytes. */
  databaseBytes(): number;
  /** Puts a snapshot of the database there: the backup has a hole. */
  mend(): Promise<void>;
}

/** More files than that before the first look are not kept in memory, but listed. */
const earlyMax = 10_000;
const retryMsMax = 3_600_000;
/** What a proof leaves free on the disk. */
const roomBytes = 64 * 1024 * 1024;

/** Backups of this process that are kept at a time: memory and the network have their limits. */
const keepers = new Limit(4);

export class Keeping {
  readonly #storage: Storage;
  readonly #place: Place;
  readonly #host: KeepingHost;
  readonly #closing = new AbortController();
  #keeper: BackupKeeper | undefined;
  /** What a listing gave; `undefined`: list it. */
  #listed: readonly BackupFile[] | undefined;
  #early: TimedFile[] = [];
  #dropped: TimedFile[] = [];
  #isBegun = false;
  #cancel: (() => void) | undefined;
  #wakeMs = Number.POSITIVE_INFINITY;
  #tending: Promise<void> | undefined;
  #failures = 0;

  constructor(storage: Storage, place: Place, host: KeepingHost) {
    this.#storage = storage;
    this.#place = place;
    this.#host = host;
  }

  /** The place is to be had, and this is there. */
  look(listed: readonly BackupFile[]): void {
    this.#keeper = undefined;
    this.#listed = listed;
    this.#early = [];
  }

  /** Shipping goes on. */
  begin(): void {
    this.#isBegun = true;
    this.#wakeAfter(this.#host.clock.now());
  }

  /** A file has been put. */
  add(file: TimedFile): void {
    if (this.#keeper !== undefined) this.#keeper.add(file);
    else if (this.#early.length < earlyMax) this.#early.push(file);
    else this.#listAnew();
    this.#wakeAfter(file.timestampMs);
  }

  /** Does what is due, after what is being done. @throws what `BackupKeeper.tend` does */
  async tend({ signal }: StorageCallOptions = {}): Promise<void> {
    while (this.#tending !== undefined) await this.#tending.catch(() => {});
    const either =
      signal === undefined ? this.#closing.signal : AbortSignal.any([this.#closing.signal, signal]);
    this.#tending = keepers.run(() => this.#tend(either));
    try {
      await this.#tending;
    } finally {
      this.#tending = undefined;
    }
  }

  /** What is under way is broken off: it is done anew, or goes on, some other time. */
  async close(reason: unknown): Promise<void> {
    this.#closing.abort(reason);
    this.#cancel?.();
    await this.#tending?.catch(() => {});
  }

  async #tend(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const keeper = await this.#open(signal);
    try {
      const nowMs = this.#host.clock.now();
      const { verified } = await keeper.tend({ nowMs, signal });
      if (verified === undefined) return;
      const proof = { txid: verified.txid, verifiedMs: nowMs };
      await this.#host.proofs.note(this.#storage.name, proof);
    } finally {
      const dropped = this.#dropped;
      this.#dropped = [];
      if (dropped.length > 0) this.#host.pruned(dropped);
      if (!signal.aborted && keeper.isBroken) await this.#host.mend();
    }
  }

  async #open(signal: AbortSignal): Promise<BackupKeeper> {
    if (this.#keeper !== undefined) return this.#keeper;
    const { settings, folder, proofs } = this.#host;
    const { verifyDir: _, ...rest } = settings;
    const { fence } = this.#place;
    const storage = this.#storage;
    const keeper = await BackupKeeper.open(storage, {
      ...rest,
      ...(this.#listed === undefined ? {} : { files: this.#listed }),
      folder,
      signal,
      proof: await proofs.of(storage.name),
      metadata: fence === 0 ? {} : { [metadataNames.fence]: String(fence) },
      confirm: (call) => this.#place.confirm(call),
      checkRoom: () => this.#checkRoom(),
      onCompacted: (made, inputs) => this.#host.compacted(made, inputs),
      onVerified: (verified) => this.#host.verified(verified),
      onDropped: (file) => this.#dropped.push(file),
    });
    for (const file of this.#early) keeper.add(file);
    this.#early = [];
    this.#listed = undefined;
    this.#keeper = keeper;
    return keeper;
  }

  /** A full disk would be worse for the application than an old proof. */
  async #checkRoom(): Promise<void> {
    const { folder } = this.#host;
    const { bavail, bsize } = await statfs(folder);
    const wanted = this.#host.databaseBytes() + roomBytes;
    if (bavail * bsize >= wanted) return;
    throw new ReplicaError("DISK_FULL", `${folder} has no room to restore a backup to`, {
      hint: "Name another folder for proofs (keep.verifyDir). Until then no snapshot is deleted.",
    });
  }

  #listAnew(): void {
    this.#listed = undefined;
    this.#early = [];
  }

  /** At the end of the interval that `ms` is in, if not before. */
  #wakeAfter(ms: number): void {
    this.#wakeAt(intervalEnd(ms, this.#stepMs));
  }

  #wakeAt(dueMs: number): void {
    if (!this.#isBegun || this.#closing.signal.aborted || dueMs >= this.#wakeMs) return;
    this.#cancel?.();
    this.#wakeMs = dueMs;
    const { clock, random } = this.#host;
    // Not all databases of all processes at once.
    const waitMs = Math.max(0, dueMs - clock.now()) + jitter(this.#stepMs / 2, random);
    this.#cancel = clock.setTimer(waitMs, () => void this.#awake());
  }

  async #awake(): Promise<void> {
    try {
      await this.tend();
      this.#failures = 0;
      this.#wakeMs = Number.POSITIVE_INFINITY;
      const dueMs = this.#keeper?.dueMs;
      // What is due, and was not done, waits for something else.
      if (dueMs !== undefined) this.#wakeAt(Math.max(dueMs, this.#host.clock.now() + this.#stepMs));
    } catch (error) {
      this.#wakeMs = Number.POSITIVE_INFINITY;
      this.#failed(error);
    }
  }

  #failed(error: unknown): void {
    if (this.#closing.signal.aborted) return;
    const isLost = error instanceof ReplicaError && error.code === "LEASE_LOST";
    const retryMs = isLost ? 0 : Math.min(this.#stepMs * 2 ** this.#failures, retryMsMax);
    this.#failures = Math.min(this.#failures + 1, 20);
    if (isLost) this.#closing.abort(error);
    this.#host.failed(error, retryMs);
    this.#wakeAt(this.#host.clock.now() + retryMs);
  }

  get #stepMs(): number {
    const { intervalsMs, snapshotMs } = this.#host.settings;
    return intervalsMs[0] ?? snapshotMs;
  }
}
