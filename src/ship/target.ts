/** The way of files into one storage: oldest first, again after failures, without gaps. */
import { open } from "node:fs/promises";
import type { TimedFile } from "../backup/levels.ts";
import { type Clock, jitter, type Random } from "../clock.ts";
import { ReplicaError } from "../errors.ts";
import { levelStyleOf, ltxKey, snapshotLevel } from "../ltx/index.ts";
import type { BackupFile } from "../restore/chain.ts";
import { listBackup, readHeader } from "../restore/inventory.ts";
import type { Storage } from "../storage/storage.ts";
import { encodeManifest, manifestKey, metadataOf } from "./manifest.ts";
import type { Place } from "./place.ts";
import type { StorageMetrics } from "./shipper-events.ts";
import type { QueuedFile } from "./state-folder.ts";

export interface TargetHost {
  readonly clock: Clock;
  readonly random: Random;
  readonly retryMs: number;
  /** Of a storage's file: its transactions begin at `minTxid`. `undefined` when it has all. */
  next(minTxid: number): Promise<QueuedFile | undefined>;
  pathOf(file: QueuedFile): string;
  /** A file of the queue is not there any more: it is not to be given again. */
  gone(file: QueuedFile): void;
  pageSize(): number;
  /** What is in the storage at the start. */
  looked(target: Target, files: readonly BackupFile[]): void;
  /** A file is in the storage, of any level. */
  put(target: Target, file: TimedFile): void;
  shipped(target: Target, file: QueuedFile): Promise<void>;
  failed(target: Target, error: unknown, retryMs: number): void;
  recovered(target: Target): void;
  /** For good. */
  lost(target: Target, error: ReplicaError): void;
}

interface Waiter {
  readonly txid: number;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

const retryMsMax = 60_000;
const pieceBytes = 256 * 1024;

export class Target {
  readonly storage: Storage;
  readonly place: Place;
  readonly #host: TargetHost;
  readonly #closing = new AbortController();
  /** The newest transaction that the storage has; 0 for none. */
  txid = 0;
  /** Of what the storage has; `undefined` when it has nothing. */
  #pageSize: number | undefined;
  /** What it has is known. */
  #isReady = false;
  #last: QueuedFile | undefined;
  #failures = 0;
  readonly #counts = { files: 0, uploadedBytes: 0, uploadFailures: 0 };
  #running: Promise<void> | undefined;
  #wake: (() => void) | undefined;
  #waiters: Waiter[] = [];

  constructor(storage: Storage, place: Place, host: TargetHost) {
    this.storage = storage;
    this.place = place;
    this.#host = host;
  }

  metrics(): StorageMetrics {
    const { storage, place, txid } = this;
    return { storage: storage.name, txid, lease: place.leaseState, ...this.#counts };
  }

  /** Waits for its turn, then sees what the storage has already: one listing. */
  async look(): Promise<void> {
    const { signal } = this.#closing;
    await this.place.take({ signal });
    const files = await listBackup(this.storage, { signal });
    this.txid = files.reduce((newest, { maxTxid }) => Math.max(newest, maxTxid), 0);
    const head = files.find(({ maxTxid }) => maxTxid === this.txid);
    this.#pageSize = head === undefined ? undefined : await this.#pageSizeOf(head);
    this.#host.looked(this, files);
    this.#isReady = true;
  }

  /** 0 when the file cannot be used: no page size is that. */
  async #pageSizeOf(file: BackupFile): Promise<number> {
    try {
      return (await readHeader(this.storage, file, { signal: this.#closing.signal })).pageSize;
    } catch (error) {
      const codes = ["LTX_CORRUPT", "STORAGE_MISSING", "ENCRYPTION_DAMAGED"];
      if (error instanceof ReplicaError && codes.includes(error.code)) return 0;
      throw error;
    }
  }

  /** Begins to upload, or does so at once where it waited after a failure. */
  kick(): void {
    this.#wake?.();
    // What it lacks is not known before: it is called again when reading has begun.
    if (!this.#isReady || this.#closing.signal.aborted) return;
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
    });
  }

  /** Resolves when the storage has `txid`; rejects when an upload fails before. */
  reach(txid: number): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.txid >= txid) return resolve();
      if (this.#closing.signal.aborted) return reject(this.#closing.signal.reason);
      this.#waiters.push({ txid, resolve, reject });
      this.kick();
    });
  }

  async put(file: QueuedFile, level: number): Promise<void> {
    const { signal } = this.#closing;
    const { minTxid, maxTxid, bytes, timestampMs, checksum } = file;
    const key = ltxKey({ level, minTxid, maxTxid }, levelStyleOf(this.storage));
    const metadata = metadataOf({ ...file, txid: maxTxid }, this.place.fence);
    const path = this.#host.pathOf(file);
    let isGone = false;
    const onGone = () => {
      isGone = true;
    };
    await this.place.confirm({ signal });
    try {
      await this.storage.put(key, () => piecesOf(path, file.bytes, onGone), { metadata, signal });
    } catch (error) {
      throw isGone ? new FileGone() : error;
    }
    await this.place.confirm({ signal });
    const put = { level, minTxid, maxTxid, key, bytes, timestampMs, checksum };
    this.#host.put(this, { ...put, modifiedMs: this.#host.clock.now() });
    const isHead = this.#last === undefined || maxTxid >= this.#last.maxTxid;
    if (isHead) this.#last = file;
    if (isHead && (level === snapshotLevel || !this.storage.keepsMetadata)) await this.#describe();
  }

  /** Stops uploading; what waits rejects with `reason`. */
  async close(reason: unknown): Promise<void> {
    if (!this.#closing.signal.aborted && this.#last !== undefined && this.storage.keepsMetadata) {
      await this.#describe().catch(() => {});
    }
    this.#closing.abort(reason);
    this.#wake?.();
    this.#settle(reason);
    await this.#running;
    await this.place.release();
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      try {
        // Pages of another size go on nothing: then everything is shipped, as a snapshot.
        const isWhole = (this.#pageSize ?? this.#host.pageSize()) !== this.#host.pageSize();
        const file = await this.#host.next(isWhole ? 1 : this.txid + 1);
        if (file === undefined) return;
        if (!(await this.#putQueued(file, isWhole ? snapshotLevel : 0))) continue;
        this.txid = file.maxTxid;
        this.#pageSize = this.#host.pageSize();
        if (this.#failures > 0) this.#host.recovered(this);
        this.#failures = 0;
        this.#counts.files++;
        this.#counts.uploadedBytes += file.bytes;
        await this.#host.shipped(this, file);
        this.#settle();
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof ReplicaError && error.code === "LEASE_LOST") return this.end(error);
        const pauseMs = Math.min(this.#host.retryMs * 2 ** this.#failures, retryMsMax);
        this.#failures = Math.min(this.#failures + 1, 16);
        this.#counts.uploadFailures++;
        this.#host.failed(this, error, pauseMs);
        this.#settle(error);
        await this.#pause(pauseMs / 2 + jitter(pauseMs / 2, this.#host.random));
      }
    }
  }

  /** Another shipper has the place: nothing that is put from now on would be of use. */
  end(error: ReplicaError): void {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort(error);
    this.#host.lost(this, error);
    this.#settle(error);
  }

  /** False when the file was given up meanwhile. */
  async #putQueued(file: QueuedFile, level: number): Promise<boolean> {
    try {
      await this.put(file, level);
      return true;
    } catch (error) {
      if (!(error instanceof FileGone)) throw error;
      this.#host.gone(file);
      return false;
    }
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const cancel = this.#host.clock.setTimer(ms, resolve);
      this.#wake = () => {
        cancel();
        this.#wake = undefined;
        resolve();
      };
      if (this.#closing.signal.aborted) this.#wake();
    });
  }

  /** Those who waited for what is there now; with an error the others, too. */
  #settle(error?: unknown): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) {
      if (waiter.txid <= this.txid) waiter.resolve();
      else if (error !== undefined) waiter.reject(error);
      else this.#waiters.push(waiter);
    }
  }

  async #describe(): Promise<void> {
    const last = this.#last;
    if (last === undefined) return;
    const head = { ...last, txid: last.maxTxid };
    const { signal } = this.#closing;
    const { fence } = this.place;
    const manifest = encodeManifest({ pageSize: this.#host.pageSize(), head, fence });
    await this.place.confirm({ signal });
    await this.storage.put(manifestKey, manifest, { signal });
  }
}

class FileGone extends Error {}

async function* piecesOf(
  path: string,
  bytes: number,
  onGone: () => void,
): AsyncGenerator<Uint8Array, void, undefined> {
  const file = await open(path, "r").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") onGone();
    throw error;
  });
  try {
    for (let at = 0; at < bytes; ) {
      const buffer = Buffer.allocUnsafeSlow(Math.min(pieceBytes, bytes - at));
      const { bytesRead } = await file.read(buffer, 0, buffer.length, at);
      if (bytesRead === 0) throw new Error(`${path} is shorter than it was`);
      at += bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    await file.close();
  }
}
