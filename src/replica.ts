/** The `Replica`: what keeps a database file converging with those of its peers. */
import { closedError, refuse } from "./closed.ts";
import type { Conflict } from "./conflict.ts";
import { type ConflictQuery, Conflicts } from "./conflicts.ts";
import { checkDrainPeers, type DrainPeers, isDrained } from "./drain.ts";
import { ReplicaError } from "./errors.ts";
import { Emitter } from "./events.ts";
import { renewIfLost } from "./identity.ts";
import { fileMarks, mainFile } from "./log/file-marks.ts";
import { watchCommits } from "./log/file-watch.ts";
import { grew, heldOf, type OriginMarks, type SqliteDatabase, Store } from "./log/store.ts";
import { type KnownPeer, Trimmer } from "./log/trim.ts";
import type { VersionVector } from "./log/vector.ts";
import { Maintenance } from "./merge/maintenance.ts";
import { MergeScheduler } from "./merge/scheduler.ts";
import { addTotals, countSlice, type Metrics, metricsOf, noCounters, noTotals } from "./metrics.ts";
import type { MergeResult, StateMergeResult } from "./native.ts";
import type { Options } from "./options.ts";
import type { OrphanCounts } from "./orphans.ts";
import type { ReplicaEvents } from "./replica-events.ts";
import { warnAboutTables } from "./schema/warnings.ts";
import { type Status, statusOf } from "./status.ts";
import { type Connection, Hub } from "./sync/hub.ts";
import type { LinkEnd, LinkHost } from "./sync/link-host.ts";
import { MergeSources } from "./sync/merge-sources.ts";
import { type Verification, type VerifyCall, verifyTables } from "./sync/verify.ts";
import { formatToken, parseToken, parseTokens, type TokenParts } from "./token.ts";
import type { Dialer, Transport } from "./transport/transport.ts";
import { Waiters } from "./waiters.ts";

export class Replica implements AsyncDisposable {
  readonly #store: Store;
  readonly #options: Options;
  readonly #events = new Emitter<ReplicaEvents>();
  readonly #waiters = new Waiters();
  readonly #scheduler: MergeScheduler;
  readonly #maintenance: Maintenance;
  readonly #hub: Hub;
  readonly #conflicts: Conflicts;
  readonly #trimmer: Trimmer;
  readonly #sources: MergeSources;
  readonly #onClosed: () => void;
  readonly #counters = noCounters();
  readonly #totals = noTotals();
  #marks: readonly OriginMarks[] = [];
  #announced: VersionVector = new Map();
  #unwatch: (() => void) | undefined;
  #closing: Promise<void> | undefined;

  /** @internal Use {@link attach}. */
  constructor(db: SqliteDatabase, options: Options, onClosed: () => void) {
    this.#options = options;
    this.#onClosed = onClosed;
    this.#store = new Store(db);
    const file = mainFile(db);
    const { renewed } = this.#store.open(fileMarks(file), () => this.#onBell());
    try {
      this.#store.setDriftMax(options.driftMaxMs);
      for (const table of options.tables) this.#store.replicate(table);
      warnAboutTables(db, this.#store.tables());
      this.#marks = this.#store.marks();
      this.#announced = heldOf(this.#marks);
    } catch (error) {
      this.#store.close();
      throw error;
    }
    this.#scheduler = new MergeScheduler(this.#store, {
      clock: options.clock,
      sliceMs: options.mergeSliceMs,
      onSlice: (result) => this.#onSlice(result),
      onError: (error) => this.#onMergeError(error),
    });
    this.#maintenance = new Maintenance(options.clock, () => this.#scheduler.requestMaintenance());
    this.#sources = this.#makeSources();
    this.#hub = this.#makeHub();
    this.#conflicts = new Conflicts(this.#store, {
      clock: options.clock,
      emit: (name, event) => this.#events.emit(name, event),
      maintain: () => this.#scheduler.requestMaintenance(),
    });
    this.#trimmer = new Trimmer(this.#store, options, {
      linked: () => this.#hub.liveLinks,
      onTrimmed: () => this.#hub.horizonMoved(),
      onError: (error) => this.#events.emit("error", { error }),
    });
    if (options.watchFile && file !== "") {
      this.#unwatch = watchCommits(file, options.clock, () => this.#onBell());
    }
    this.#scheduler.requestMaintenance();
    // Listeners are added after `attach` has returned.
    if (renewed) queueMicrotask(() => this.#events.emit("identity", { peerId: this.peerId }));
  }

  get peerId(): number {
    return this.#marks[0]?.peerId ?? 0;
  }

  get cluster(): string {
    return this.#options.cluster;
  }

  /** Names of the replicated tables. */
  tables(): string[] {
    return this.#store.tables();
  }

  /** Talks to a peer: over one transport until it ends, or again and again with a dialler. */
  connect(to: Transport | Dialer): Connection {
    if (this.#closing !== undefined) return refuse(to);
    return this.#hub.connect(to);
  }

  /** Proof of everything written here so far. Hand it to whoever reads elsewhere. */
  token(): string {
    this.#refreshMarks();
    const [self] = this.#marks;
    return formatToken({ peerId: self?.peerId ?? 0, sequence: self?.held ?? 0 });
  }

  /**
   * Resolves when what the token stands for shows in this file's tables.
   * @throws INVALID_TOKEN, CLOSED, or `signal.reason`
   */
  async wait(token: string, { signal }: { signal?: AbortSignal } = {}): Promise<void> {
    this.#assertOpen();
    // An unknown origin means waiting, never "yes"; unless nothing was written there at all.
    const awaited = parseTokens(token).filter(({ sequence }) => sequence > 0);
    const isMerged = ({ peerId, sequence }: TokenParts) =>
      this.#marks.some((mark) => mark.peerId === peerId && mark.merged >= sequence);
    await this.#waiters.until(() => awaited.every(isMerged), signal);
  }

  /**
   * Resolves when `peers` peers hold on disk what this replica had written when it was called.
   * @default peers: as many as are linked, at least one
   * @throws INVALID_OPTION, CLOSED, or `signal.reason`
   */
  async drain({ peers, signal }: { peers?: DrainPeers; signal?: AbortSignal } = {}): Promise<void> {
    this.#assertOpen();
    checkDrainPeers(peers);
    const { peerId, sequence } = parseToken(this.token());
    if (sequence === 0) return;
    await this.#waiters.until(() => isDrained(this.#hub, { peerId, sequence }, peers), signal);
  }

  /** Resolves when every live link, at least one, has exchanged everything in both directions. */
  async synced({ signal }: { signal?: AbortSignal } = {}): Promise<void> {
    this.#assertOpen();
    await this.#waiters.until(() => {
      this.#refreshMarks();
      return this.#scheduler.queuedBytes === 0 && this.#hub.synced;
    }, signal);
  }

  /** Highest sequences held and merged by origin, this peer first. */
  vector(): OriginMarks[] {
    this.#refreshMarks();
    return [...this.#marks];
  }

  /**
   * Compares every replicated table with a linked peer's: rows and their stamps, by digests of key
   * ranges. Reads what was written since the last time only, unless `deep`.
   * @throws NOT_LINKED, LINK_CLOSED
   */
  async verify(
    peerId?: number,
    { signal, limit = 100, deep = false }: VerifyCall = {},
  ): Promise<Verification> {
    this.#assertOpen();
    const ask = this.#hub.asker(peerId, signal);
    const { clock } = this.#options;
    return verifyTables(this.#store, this.tables(), { ask, limit, deep, clock, signal });
  }

  /** Looks now for commits of other connections to the file, for where `watchFile` cannot. */
  poll(): void {
    this.#onBell();
  }

  /** The peers that this file has linked with, and what each held when it was heard last. */
  peers(): KnownPeer[] {
    return this.#store.peers();
  }

  /**
   * A peer that will not return holds nothing back any more: the log is trimmed without it. If it
   * links again all the same, it is known again, and gets the rows if the log does not reach it.
   * @throws PEER_UNKNOWN, IN_TRANSACTION
   */
  forget(peerId: number): void {
    this.#store.forgetPeer(peerId);
  }

  /** What an operator asks first. Reads the log's length: not for every second, see `metrics`. */
  status(): Status {
    this.#refreshMarks();
    return statusOf(this.#store, this.#hub.liveLinks, {
      marks: this.#marks,
      cluster: this.cluster,
      orphans: this.#conflicts.orphans,
    });
  }

  /** What is parked, withheld, refused or shown in violation of a constraint, a page at a time. */
  conflicts(query: ConflictQuery = {}): Conflict[] {
    return this.#conflicts.list(query);
  }

  /** Tries again, and tells whether the conflict is resolved. @throws IN_TRANSACTION */
  retry(conflict: Conflict | string): boolean {
    return this.#conflicts.retry(conflict);
  }

  /** Gives up, everywhere: see `docs/conflicts.md`. @throws CONFLICT_KEPT, IN_TRANSACTION */
  discard(conflict: Conflict | string): void {
    this.#conflicts.discard(conflict);
  }

  /** Counts rows whose foreign keys point nowhere, in slices, however large the tables are. */
  orphans(): Promise<OrphanCounts> {
    return this.#conflicts.lookForOrphans();
  }

  /** Counters since `attach`, from memory. */
  metrics(): Metrics {
    return metricsOf(this.#store, this.#hub.liveLinks, {
      ...this.#counters,
      ended: this.#totals,
      mergeSliceMsMax: this.#scheduler.sliceMsMax,
      mergeQueueBytes: this.#scheduler.queuedBytes,
      conflicts: { ...this.#conflicts.counts },
    });
  }

  /** Calls `listener` for every event until the returned function is called or `signal` aborts. */
  readonly on: Emitter<ReplicaEvents>["on"] = (...event) => this.#events.on(...event);
  readonly once: Emitter<ReplicaEvents>["once"] = (...event) => this.#events.once(...event);

  /**
   * Ends all links and stops merging; what came and was not merged is sent again next time. The
   * database connection stays open, and its writes are still captured. Idempotent.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    this.#unwatch?.();
    this.#maintenance.close();
    this.#conflicts.close();
    for (const link of this.#hub.liveLinks) this.#trimmer.note(link);
    this.#trimmer.close();
    this.#scheduler.close(); // Links wait until there is room for more to merge.
    await this.#hub.close();
    this.#waiters.rejectAll(closedError());
    this.#store.close();
    this.#onClosed();
  }

  #makeSources(): MergeSources {
    return new MergeSources(this.#scheduler, {
      clock: this.#options.clock,
      onHeld: () => {
        this.#refreshMarks();
        this.#announce();
      },
      onTold: () => this.#waiters.check(),
      onError: (error) => this.#events.emit("error", { error }),
    });
  }

  #makeHub(): Hub {
    const { clock, random, cluster, heartbeatMs, windowBytes, mergeSliceMs } = this.#options;
    return new Hub(
      this.#store,
      {
        marks: () => {
          this.#refreshMarks();
          return this.#marks;
        },
        merge: (link, records) => this.#sources.merge(link, records),
        room: (link) => this.#sources.room(link),
        onLinkLive: (link) => this.#onLinkLive(link),
        onLinkEnded: (link, end) => this.#onLinkEnded(link, end),
        onDial: (event) => this.#events.emit("dial", event),
        onProgress: () => this.#waiters.check(),
        onStateMerged: (link, result) => this.#onStateMerged(link, result),
        onStateProgress: (event) => this.#events.emit("state", event),
        onClock: (event) => this.#events.emit("clock", event),
        onError: (error) => this.#events.emit("error", { error }),
      },
      { clock, random, sliceMs: mergeSliceMs, link: { cluster, heartbeatMs, windowBytes } },
    );
  }

  /** A commit here or in another process: the log grew, or the schema has changed. */
  #onBell(): void {
    if (this.#closing !== undefined) return;
    try {
      this.#refreshMarks();
    } catch (error) {
      // The database was closed before the replica.
      if (error instanceof ReplicaError && error.code === "CLOSED") return void this.close();
      throw error;
    }
    if (this.#store.schemaTouched()) this.#scheduler.requestMaintenance();
    this.#announce();
    this.#maintenance.noteCommits(0);
    this.#waiters.check();
  }

  /** Tells links and listeners what the log has gained since they were told last. */
  #announce(): void {
    if (!grew(this.#marks, this.#announced)) return;
    const [self] = this.#marks;
    const told = this.#announced;
    const before = told.get(self?.peerId ?? 0) ?? 0;
    this.#announced = heldOf(this.#marks);
    this.#hub.grew({ look: grew(this.#marks.slice(1), told) });
    if (self === undefined || self.held === before) return;
    this.#maintenance.noteCommits(self.held - before);
    this.#conflicts.onCommit();
    this.#events.emit("commit", {
      token: formatToken({ peerId: self.peerId, sequence: self.held }),
    });
  }

  #onSlice(result: MergeResult): void {
    countSlice(this.#counters, result);
    this.#refreshMarks();
    this.#announce();
    for (const refused of result.refused) this.#events.emit("refused", refused);
    this.#conflicts.onSlice(result);
    const { changesets, patches, lost, parked } = result;
    if (changesets > 0) this.#events.emit("merge", { changesets, patches, lost, parked });
    this.#waiters.check();
  }

  #onStateMerged(link: LinkHost, { complete, ...slice }: StateMergeResult): void {
    countSlice(this.#counters, { ...slice, changesets: 0, refused: [] });
    const { patches, lost, parked } = slice;
    this.#events.emit("merge", { changesets: 0, patches, lost, parked });
    if (!complete) return;
    this.#refreshMarks();
    this.#announce();
    this.#hub.horizonMoved();
    link.input({ type: "merged", vector: heldOf(this.#marks), nowMs: this.#options.clock.now() });
    this.#scheduler.requestMaintenance();
    this.#waiters.check();
  }

  #onMergeError(error: ReplicaError): void {
    if (error.code === "CLOSED") return void this.close();
    this.#counters.mergeErrors += 1;
    this.#events.emit("error", { error });
  }

  #onLinkLive(link: LinkHost): void {
    this.#counters.linksOpened += 1;
    this.#trimmer.note(link);
    this.#events.emit("link", { peerId: link.peerId, name: link.name, live: true });
    this.#waiters.check();
  }

  #onLinkEnded(link: LinkHost, end: LinkEnd): void {
    this.#sources.remove(link);
    addTotals(this.#totals, link.metrics);
    const { peerId, name } = link;
    this.#events.emit("link", { peerId, name, live: false, code: end.code, text: end.text });
    if (end.code === "IDENTITY_LOST" && !end.byRemote) this.#renewIdentity(link);
    this.#waiters.check();
  }

  /** A peer holds own writes of ours that this file does not: the id belongs to a lost past. */
  #renewIdentity(link: LinkHost): void {
    if (this.#closing !== undefined) return;
    this.#refreshMarks();
    const renewed = renewIfLost(this.#store, this.#marks[0], link);
    if (renewed instanceof ReplicaError) this.#events.emit("error", { error: renewed });
    if (renewed !== true) return;
    this.#refreshMarks();
    this.#announced = heldOf(this.#marks);
    this.#hub.restartLinks("this peer has taken a new id");
    this.#events.emit("identity", { peerId: this.peerId });
  }

  #refreshMarks(): void {
    this.#marks = this.#store.marks();
  }

  #assertOpen(): void {
    if (this.#closing !== undefined) throw closedError();
  }
}
