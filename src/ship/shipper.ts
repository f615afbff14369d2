/** What `ship` gives: a database's continuous way into its storages. */
import { stat } from "node:fs/promises";
import { ReplicaError } from "../errors.ts";
import { Emitter, type Listener } from "../events.ts";
import type { Storage, StorageCallOptions } from "../storage/storage.ts";
import type { Capture, Captured } from "./capture.ts";
import type { LeaseWait } from "./lease.ts";
import type { ShipSettings } from "./options.ts";
import { Place } from "./place.ts";
import type { Position } from "./position.ts";
import { Queue } from "./queue.ts";
import type { ShipperEvents, ShipperMetrics } from "./shipper-events.ts";
import { startCapture } from "./start.ts";
import type { QueuedFile, StateFolder } from "./state-folder.ts";
import { Target, type TargetHost } from "./target.ts";
import type { Wal } from "./wal.ts";

export interface ShipSource {
  /** The database's file, and the folder for the shipper's own. */
  readonly file: string;
  readonly folder: StateFolder;
  readonly wal: Wal;
  readonly settings: ShipSettings;
  /** When the shipper has let go of the database. */
  onClosed(): void;
}

export class Shipper {
  readonly #source: ShipSource;
  readonly #settings: ShipSettings;
  readonly #events = new Emitter<ShipperEvents>();
  readonly #targets: readonly Target[];
  readonly #queue: Queue;
  #starting: Promise<Capture>;
  #capture: Capture | undefined;
  #startFailures = 0;
  #cancelStart: (() => void) | undefined;
  #turn: Promise<unknown> = Promise.resolve();
  #cancelCapture: (() => void) | undefined;
  #cancelPoll: (() => void) | undefined;
  #closed: Promise<void> | undefined;
  #failure: ReplicaError | undefined;
  #walMark = "";
  #counts = { commits: 0, files: 0, uploadedBytes: 0, uploadFailures: 0 };
  #work = { rebases: 0, checkpoints: 0, walBytes: 0, walBytesPeak: 0, caughtUpMs: 0 };

  /** For `ship`. */
  constructor(source: ShipSource, storages: readonly Storage[]) {
    this.#source = source;
    this.#settings = source.settings;
    this.#queue = new Queue(source.folder);
    this.#targets = storages.map(
      (storage) => new Target(storage, this.#placeIn(storage), this.#host()),
    );
    this.#starting = this.#begin();
  }

  /** Why nothing will be shipped; `undefined` while there is hope. */
  get failure(): ReplicaError | undefined {
    return this.#failure;
  }

  /** The newest position that every storage has; `undefined` before the first. */
  get position(): Position | undefined {
    const txid = this.#shippedTxid();
    if (txid === 0 || this.#capture === undefined) return undefined;
    return { txid, timestampMs: this.#queue.timeOf(txid) ?? this.#capture.state.timestampMs };
  }

  /**
   * Resolves when every commit made before the call is in every storage: then no crash can lose
   * them. Rejects with the storage's error when an upload fails meanwhile; shipping goes on.
   * @throws CLOSED, SHIP_UNSUPPORTED, SQLITE, STORAGE_…, `signal.reason`
   */
  async flush({ signal }: StorageCallOptions = {}): Promise<Position> {
    signal?.throwIfAborted();
    this.#checkOpen();
    return await abortable(this.#flush(), signal);
  }

  /**
   * Ships a snapshot of the database as it is now, so that a restore needs no older file.
   * @throws as `flush`
   */
  async snapshot({ signal }: StorageCallOptions = {}): Promise<Position> {
    signal?.throwIfAborted();
    this.#checkOpen();
    return await abortable(this.#snapshot(), signal);
  }

  /**
   * Ships what is left and lets go of the database; rejects when that fails, closed all the same.
   * What could not be shipped stays in `stateDir`, and a later shipper goes on with it. Idempotent.
   */
  close({ signal }: StorageCallOptions = {}): Promise<void> {
    this.#closed ??= this.#close(signal);
    return this.#closed;
  }

  metrics(): ShipperMetrics {
    const { files, bytes } = this.#queue;
    return {
      txid: this.#capture?.state.txid ?? 0,
      shippedTxid: this.#shippedTxid(),
      queuedFiles: files.length,
      queuedBytes: bytes,
      ...this.#counts,
      ...this.#work,
    };
  }

  /** Calls `listener` for every event until the returned function is called. */
  on<Name extends keyof ShipperEvents>(
    name: Name,
    listener: Listener<ShipperEvents[Name]>,
    options: { signal?: AbortSignal | undefined } = {},
  ): () => void {
    return this.#events.on(name, listener, options);
  }

  /** Whoever flushes hears of what fails; so does the event. Then it is tried again. */
  #begin(): Promise<Capture> {
    const starting = this.#inTurn(() => this.#start());
    starting.catch((error: unknown) => {
      if (this.#closed !== undefined) return;
      const isFinal = error instanceof ReplicaError && /^SHIP_|UNSAFE$/.test(error.code);
      const { retryMs: first, clock } = this.#settings;
      const retryMs = isFinal ? 0 : Math.min(first * 2 ** this.#startFailures++, 60_000);
      if (isFinal) this.#failure = error;
      else {
        this.#cancelStart = clock.setTimer(retryMs, () => this.#beginAgain());
      }
      this.#events.emit("failed", { error, retryMs });
    });
    return starting;
  }

  /** Now, if it waits after a failure. */
  #beginAgain(): void {
    if (this.#cancelStart === undefined) return;
    this.#cancelStart();
    this.#cancelStart = undefined;
    this.#starting = this.#begin();
  }

  async #start(): Promise<Capture> {
    const { folder, wal, settings } = this.#source;
    for (const target of this.#targets) await target.look();
    const shipped = this.#targets.map(({ txid, place }) => {
      return { txid, isOurs: place.isOurs, skipped: place.skipped };
    });
    const { capture, captured, queue } = await startCapture(folder, wal, settings.clock, shipped);
    for (const { place } of this.#targets) await place.remember();
    this.#capture = capture;
    this.#queue.add(...queue);
    wal.watch(settings.walBytesMax, () => this.#note());
    this.#took(captured);
    this.#poll();
    return capture;
  }

  async #flush(): Promise<Position> {
    this.#beginAgain();
    await this.#captureNow();
    const { txid, timestampMs } = (await this.#starting).state;
    await Promise.all(this.#targets.map((target) => target.reach(txid)));
    return { txid, timestampMs };
  }

  async #snapshot(): Promise<Position> {
    this.#beginAgain();
    const capture = await this.#starting;
    const { file, captured } = await this.#inTurn(() => capture.pagesSince(1));
    try {
      this.#took(captured);
      await Promise.all(this.#targets.map((target) => target.reach(file.maxTxid)));
      await Promise.all(this.#targets.map((target) => target.put(file, 9)));
      return { txid: file.maxTxid, timestampMs: file.timestampMs };
    } finally {
      if (!this.#queue.has(file.name)) await this.#source.folder.removeFile(file.name);
    }
  }

  async #close(signal: AbortSignal | undefined): Promise<void> {
    this.#cancelStart?.();
    this.#cancelCapture?.();
    this.#cancelPoll?.();
    for (const target of this.#targets.filter(({ place }) => place.isWaiting)) {
      // That might take for ever.
      await target.close(new ReplicaError("LEASE_HELD", "another shipper has the place"));
    }
    try {
      await abortable(this.#flush(), signal);
    } finally {
      const reason = new ReplicaError("CLOSED", "the shipper is closed");
      await Promise.all(this.#targets.map((target) => target.close(reason)));
      await this.#inTurn(() => this.#letGo()).finally(() => this.#source.onClosed());
    }
  }

  async #letGo(): Promise<void> {
    const { wal, folder } = this.#source;
    const capture = this.#capture;
    wal.unwatch();
    // The WAL is left as it is: a shipper that comes soon finds its place there.
    try {
      const isKnown = capture !== undefined && capture.map.txid === capture.state.txid;
      if (isKnown) await folder.saveMap(capture.map);
    } finally {
      await wal.close();
    }
  }

  /** Commits were made: they are read when some time has passed. */
  #note(): void {
    if (this.#cancelCapture !== undefined || this.#closed !== undefined) return;
    this.#cancelCapture = this.#settings.clock.setTimer(this.#settings.intervalMs, () => {
      this.#cancelCapture = undefined;
      this.#captureNow().catch((error: unknown) => {
        const { retryMs } = this.#settings;
        this.#events.emit("failed", { error, retryMs });
        this.#cancelCapture ??= this.#settings.clock.setTimer(retryMs, () => {
          this.#cancelCapture = undefined;
          this.#note();
        });
      });
    });
  }

  /** Commits of others change the WAL's size or time. Its file may be opened by nobody here. */
  #poll(): void {
    if (this.#closed !== undefined) return;
    this.#cancelPoll = this.#settings.clock.setTimer(this.#settings.pollMs, () => {
      void stat(`${this.#source.file}-wal`, { bigint: true })
        .then(({ size, mtimeNs, ino }) => {
          const mark = `${size} ${mtimeNs} ${ino}`;
          if (mark !== this.#walMark) this.#note();
          this.#walMark = mark;
        })
        .catch(() => {})
        .finally(() => this.#poll());
    });
  }

  async #captureNow(): Promise<void> {
    const capture = await this.#starting;
    await this.#inTurn(async () => {
      const captured = await capture.changes();
      this.#took(captured);
      await this.#checkpoint(capture, captured.walBytes);
    });
  }

  async #checkpoint(capture: Capture, walBytes: number): Promise<void> {
    const { checkpointBytes, walBytesMax } = this.#settings;
    if (walBytes < checkpointBytes) return;
    const barrier = walBytes >= walBytesMax / 2;
    try {
      const { moved, captured } = await capture.checkpoint(barrier);
      if (moved) this.#work.checkpoints++;
      if (captured !== undefined) this.#took(captured);
    } catch (error) {
      // The next one may succeed; what was read is safe.
      this.#events.emit("failed", { error, retryMs: this.#settings.intervalMs });
    }
  }

  #took({ file, commits, rebased, walBytes }: Captured): void {
    if (file !== undefined) this.#queue.add(file);
    this.#counts.commits += commits;
    this.#work.walBytes = walBytes;
    this.#work.walBytesPeak = Math.max(this.#work.walBytesPeak, walBytes);
    if (rebased !== undefined) {
      this.#work.rebases++;
      this.#events.emit("rebase", rebased);
    }
    if (this.#queue.bytes > this.#settings.queueBytesMax) this.#giveUpQueue();
    for (const target of this.#targets) target.kick();
  }

  /** Targets that lack what is dropped get the pages instead, from the database as it is then. */
  #giveUpQueue(): void {
    void this.#queue.clear();
    this.#work.rebases++;
    const txid = this.#capture?.state.txid ?? 0;
    this.#events.emit("rebase", { reason: "queue", txid, pages: 0 });
  }

  #placeIn(storage: Storage): Place {
    const { clock, leaseTtlMs, unsafeNoLease } = this.#settings;
    const onWait = (wait: LeaseWait) =>
      this.#events.emit("waiting", { storage: storage.name, ...wait });
    const folder = this.#source.folder.path;
    return new Place(storage, { folder, clock, leaseTtlMs, unsafeNoLease, onWait });
  }

  #host(): TargetHost {
    const { clock, random, retryMs } = this.#settings;
    const { folder } = this.#source;
    return {
      clock,
      random,
      retryMs,
      pageSize: () => this.#source.wal.pageSize,
      next: (minTxid) => this.#next(minTxid),
      pathOf: ({ name }) => folder.pathOf(name),
      gone: (file) => this.#queue.drop(file),
      shipped: (target, file) => this.#shipped(target, file),
      failed: ({ storage }, error, pauseMs) => {
        this.#counts.uploadFailures++;
        this.#events.emit("failed", { storage: storage.name, error, retryMs: pauseMs });
      },
      lost: ({ storage }, error) => {
        this.#failure ??= error;
        this.#events.emit("failed", { storage: storage.name, error, retryMs: 0 });
      },
      recovered: ({ storage }) => this.#events.emit("recovered", { storage: storage.name }),
    };
  }

  async #next(minTxid: number): Promise<QueuedFile | undefined> {
    const capture = await this.#starting;
    if (capture.state.txid < minTxid) return undefined;
    const queued = this.#queue.find(minTxid);
    if (queued !== undefined) return queued;
    // What it lacks was never queued, or has been given up.
    return await this.#inTurn(async () => {
      const { file, captured } = await capture.pagesSince(minTxid);
      this.#queue.addCatchUp(file);
      this.#took(captured);
      return file;
    });
  }

  async #shipped({ storage }: Target, { minTxid, maxTxid, bytes }: QueuedFile): Promise<void> {
    this.#counts.files++;
    this.#counts.uploadedBytes += bytes;
    const txid = this.#shippedTxid();
    await this.#queue.forget(txid);
    if (txid === this.#capture?.state.txid) this.#work.caughtUpMs = this.#settings.clock.now();
    this.#events.emit("shipped", { storage: storage.name, minTxid, maxTxid, bytes });
  }

  #shippedTxid(): number {
    return Math.min(...this.#targets.map(({ txid }) => txid));
  }

  /** One at a time touches the WAL and the state. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(work);
    this.#turn = result.catch(() => {});
    return result;
  }

  #checkOpen(): void {
    if (this.#closed !== undefined) throw new ReplicaError("CLOSED", "the shipper is closed");
  }
}

function abortable<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work;
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort, { once: true });
    void work.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}
