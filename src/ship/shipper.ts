/** What `ship` gives: a database's continuous way into its storages. */
import { ReplicaError } from "../errors.ts";
import { Emitter, type Listener } from "../events.ts";
import { snapshotLevel } from "../ltx/keys.ts";
import { untilAborted } from "../on-abort.ts";
import type { Storage, StorageCallOptions } from "../storage/storage.ts";
import type { Captured } from "./capture.ts";
import { CaptureLoop, type CaptureSource } from "./capture-loop.ts";
import { Keepers } from "./keepers.ts";
import type { LeaseWait } from "./lease.ts";
import type { ShipSettings } from "./options.ts";
import { Place } from "./place.ts";
import type { Position } from "./position.ts";
import { Queue } from "./queue.ts";
import { type Guest, share } from "./sharing.ts";
import { type ShipperEvents, type ShipperMetrics, shipperEventNames } from "./shipper-events.ts";
import { startCapture } from "./start.ts";
import type { QueuedFile } from "./state-folder.ts";
import { Target, type TargetHost } from "./target.ts";

export interface ShipSource extends CaptureSource {
  readonly settings: ShipSettings;
  /** Before the folder is used. @throws SHIP_ACTIVE */
  claim(): Promise<void>;
  /** When the shipper has let go of the database. */
  onClosed(): void;
}

export class Shipper {
  readonly #source: ShipSource;
  readonly #settings: ShipSettings;
  readonly #events = new Emitter<ShipperEvents>(shipperEventNames);
  readonly #targets: readonly Target[];
  readonly #queue: Queue;
  readonly #loop: CaptureLoop;
  readonly #keepers: Keepers;
  readonly #guests = new Set<Guest>();
  #closed: Promise<void> | undefined;
  #failure: ReplicaError | undefined;
  #commits = 0;
  /** Since when a storage lacks something that was committed. */
  #behindMs: number | undefined;
  #work = { rebases: 0, checkpoints: 0, walBytes: 0, walBytesPeak: 0, caughtUpMs: 0 };

  /** For `ship`. */
  constructor(source: ShipSource, storages: readonly Storage[]) {
    this.#source = source;
    this.#settings = source.settings;
    this.#queue = new Queue(source.folder);
    this.#targets = storages.map(
      (storage) => new Target(storage, this.#placeIn(storage), this.#host()),
    );
    this.#keepers = new Keepers(this.#targets, source, this.#events, {
      databaseBytes: () => (this.#loop.capture?.map.size ?? 0) * source.wal.pageSize,
      mend: async (target) => void (await this.#snapshot([target])),
    });
    this.#loop = new CaptureLoop(source, source.settings, {
      start: () => this.#start(),
      took: (captured) => this.#took(captured),
      checkpointed: () => this.#work.checkpoints++,
      failed: (error, retryMs) => {
        this.#behindMs ??= this.#nowMs();
        this.#events.emit("failed", { task: "capture", error, retryMs });
      },
      gaveUp: (error) => {
        this.#behindMs ??= this.#nowMs();
        this.#failure = error;
        this.#events.emit("failed", { task: "capture", error, retryMs: 0 });
      },
    });
    const isClosed = () => this.#closed !== undefined;
    share(this, { loop: this.#loop, source, guests: this.#guests, isClosed });
    this.#loop.started().catch(() => {});
  }

  /** Why nothing will be shipped; `undefined` while there is hope. */
  get failure(): ReplicaError | undefined {
    return this.#failure;
  }

  /** The newest position that every storage has; `undefined` before the first. */
  get position(): Position | undefined {
    const txid = this.#shippedTxid();
    const { capture } = this.#loop;
    if (txid === 0 || capture === undefined) return undefined;
    return { txid, timestampMs: this.#queue.timeOf(txid) ?? capture.state.timestampMs };
  }

  /**
   * Resolves when every commit made before the call is in every storage: then no crash can lose
   * them. Rejects with the storage's error when an upload fails meanwhile; shipping goes on.
   * @throws CLOSED, DISK_FULL, LEASE_LOST, SHIP_ACTIVE, SHIP_UNSUPPORTED, SQLITE, STORAGE_…,
   *   `signal.reason`
   */
  async flush({ signal }: StorageCallOptions = {}): Promise<Position> {
    signal?.throwIfAborted();
    this.#checkOpen();
    return await untilAborted(this.#flush(), signal);
  }

  /**
   * Ships a snapshot of the database as it is now, so that a restore needs no older file.
   * @throws as `flush`
   */
  async snapshot({ signal }: StorageCallOptions = {}): Promise<Position> {
    signal?.throwIfAborted();
    this.#checkOpen();
    return await untilAborted(this.#snapshot(this.#targets), signal);
  }

  /**
   * Does now what is due to keep the backups: joins files, proves, deletes what is not needed any
   * more. It happens by itself, too, while the shipper lives; this is for those that do not.
   * @throws `BACKUP_DAMAGED`, `BACKUP_GAP`, `LTX_CORRUPT`, and as `flush`
   */
  async tend({ signal }: StorageCallOptions = {}): Promise<void> {
    signal?.throwIfAborted();
    this.#checkOpen();
    await untilAborted(this.#flush(), signal);
    await this.#keepers.tend(signal);
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
    const storages = this.#targets.map((target) => target.metrics());
    const sum = (count: "files" | "uploadedBytes" | "uploadFailures") =>
      storages.reduce((all, storage) => all + storage[count], 0);
    const nowMs = this.#nowMs();
    return {
      txid: this.#loop.capture?.state.txid ?? 0,
      shippedTxid: this.#shippedTxid(),
      queuedFiles: files.length,
      queuedBytes: bytes,
      commits: this.#commits,
      files: sum("files"),
      uploadedBytes: sum("uploadedBytes"),
      uploadFailures: sum("uploadFailures"),
      ...this.#work,
      ...this.#keepers.metrics(),
      lagMs: Math.max(0, nowMs - (this.#behindMs ?? nowMs)),
      storages,
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

  async #start(): ReturnType<typeof startCapture> {
    const { folder, wal, settings } = this.#source;
    await this.#source.claim();
    for (const target of this.#targets) await target.look();
    const shipped = this.#targets.map(({ txid, place }) => {
      return { txid, isOurs: place.isOurs, skipped: place.skipped };
    });
    const started = await startCapture({ folder, wal, isGuest: false }, settings.clock, shipped);
    for (const { place } of this.#targets) await place.remember();
    this.#queue.add(...started.queue);
    this.#keepers.begin();
    return started;
  }

  async #flush(): Promise<Position> {
    // What waits is tried at once: on a full disk it must go before more can be read.
    for (const target of this.#targets) target.kick();
    const { txid, timestampMs } = (await this.#loop.captureNow()).state;
    await Promise.all(this.#targets.map((target) => target.reach(txid)));
    return { txid, timestampMs };
  }

  async #snapshot(targets: readonly Target[]): Promise<Position> {
    const capture = await this.#loop.started();
    const { file, captured } = await this.#loop.inTurn(() => capture.pagesSince(1));
    try {
      this.#took(captured);
      await Promise.all(targets.map((target) => target.reach(file.maxTxid)));
      await Promise.all(targets.map((target) => target.put(file, snapshotLevel)));
      return { txid: file.maxTxid, timestampMs: file.timestampMs };
    } finally {
      if (!this.#queue.has(file.name)) await this.#source.folder.removeFile(file.name);
    }
  }

  async #close(signal: AbortSignal | undefined): Promise<void> {
    this.#loop.stop();
    const kept = this.#keepers.close();
    for (const target of this.#targets.filter(({ place }) => place.isWaiting)) {
      // That might take for ever.
      await target.close(new ReplicaError("LEASE_HELD", "another shipper has the place"));
    }
    try {
      await untilAborted(this.#flush(), signal);
    } finally {
      const reason = new ReplicaError("CLOSED", "the shipper is closed");
      try {
        await Promise.all(this.#targets.map((target) => target.close(reason)));
      } finally {
        await kept;
        await Promise.allSettled([...this.#guests].map((guest) => guest.close()));
        await this.#loop.letGo().finally(() => this.#source.onClosed());
      }
    }
  }

  #took({ file, commits, rebased, walBytes }: Captured): void {
    if (file !== undefined) this.#queue.add(file);
    this.#commits += commits;
    this.#work.walBytes = walBytes;
    this.#work.walBytesPeak = Math.max(this.#work.walBytesPeak, walBytes);
    if (rebased !== undefined) {
      this.#work.rebases++;
      this.#events.emit("rebase", rebased);
    }
    this.#behindMs = this.#isBehind()
      ? (this.#behindMs ?? this.#queue.oldestAfter(this.#shippedTxid()) ?? this.#nowMs())
      : undefined;
    if (this.#queue.bytes > this.#settings.queueBytesMax) this.#giveUpQueue();
    for (const target of this.#targets) target.kick();
  }

  /** Targets that lack what is dropped get the pages instead, from the database as it is then. */
  #giveUpQueue(): void {
    void this.#queue.clear();
    this.#work.rebases++;
    const txid = this.#loop.capture?.state.txid ?? 0;
    this.#events.emit("rebase", { reason: "queue", txid, pages: 0 });
  }

  #placeIn(storage: Storage): Place {
    const { clock, leaseTtlMs, unsafeNoLease, holdLease } = this.#settings;
    const onWait = (wait: LeaseWait) =>
      this.#events.emit("waiting", { storage: storage.name, ...wait });
    const folder = this.#source.folder.path;
    const onLost = (error: ReplicaError) => {
      for (const target of this.#targets) if (target.storage === storage) target.end(error);
    };
    const waits = { onWait, onLost };
    return new Place(storage, { folder, clock, leaseTtlMs, unsafeNoLease, holdLease, ...waits });
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
      looked: (target, files) => this.#keepers.looked(target, files),
      put: (target, file) => this.#keepers.put(target, file),
      shipped: (target, file) => this.#shipped(target, file),
      failed: ({ storage }, error, pauseMs) => {
        const failed = { task: "upload", storage: storage.name } as const;
        this.#events.emit("failed", { ...failed, error, retryMs: pauseMs });
      },
      lost: ({ storage }, error) => {
        this.#failure ??= error;
        const failed = { task: "upload", storage: storage.name } as const;
        this.#events.emit("failed", { ...failed, error, retryMs: 0 });
      },
      recovered: ({ storage }) => this.#events.emit("recovered", { storage: storage.name }),
    };
  }

  async #next(minTxid: number): Promise<QueuedFile | undefined> {
    const capture = await this.#loop.started().catch((error: unknown) => {
      if (this.#failure === undefined) throw error;
    });
    if (capture === undefined || capture.state.txid < minTxid) return undefined;
    const queued = this.#queue.find(minTxid);
    if (queued !== undefined && (await this.#source.folder.isWhole(queued))) return queued;
    if (queued !== undefined) {
      // The machine has lost its power before all of it was on disk.
      this.#queue.drop(queued);
      await this.#source.folder.removeFile(queued.name);
    }
    // What it lacks was never queued, or has been given up.
    return await this.#loop.inTurn(async () => {
      const { file, captured } = await capture.pagesSince(minTxid);
      this.#queue.addCatchUp(file);
      this.#took(captured);
      return file;
    });
  }

  async #shipped({ storage }: Target, { minTxid, maxTxid, bytes }: QueuedFile): Promise<void> {
    const txid = this.#shippedTxid();
    await this.#queue.forget(txid);
    this.#behindMs = this.#isBehind()
      ? (this.#queue.oldestAfter(txid) ?? this.#behindMs)
      : undefined;
    if (!this.#isBehind()) this.#work.caughtUpMs = this.#nowMs();
    this.#events.emit("shipped", { storage: storage.name, minTxid, maxTxid, bytes });
  }

  #isBehind(): boolean {
    return this.#shippedTxid() < (this.#loop.capture?.state.txid ?? 0);
  }

  #nowMs(): number {
    return this.#settings.clock.now();
  }

  #shippedTxid(): number {
    return Math.min(...this.#targets.map(({ txid }) => txid));
  }

  #checkOpen(): void {
    if (this.#closed !== undefined) throw new ReplicaError("CLOSED", "the shipper is closed");
  }
}
