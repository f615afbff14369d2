/** The `Replica`: what keeps a database file converging with those of its peers. */
import { type ChangeFeed, type ChangesOptions, openFeed } from "./app/changes.ts";
import { type FeedOwner, feedOwnerOf } from "./app/feed.ts";
import { debugLogger, logEvents } from "./app/log-events.ts";
import { type Row, Rows } from "./app/rows.ts";
import {
  type CloseOptions,
  type CloseResult,
  checkCloseOptions,
  drainForClose,
  snapshotForClose,
} from "./app/shutdown.ts";
import type { Parameters } from "./app/tables-read.ts";
import { readWatchOptions, Watches, type WatchOptions, type WatchResult } from "./app/watch.ts";
import { checkNames } from "./arguments.ts";
import { refuse } from "./closed.ts";
import type { Conflict } from "./conflict.ts";
import type { ConflictQuery } from "./conflicts.ts";
import { checkDrainPeers, type DrainPeers, drainOf } from "./drain.ts";
import type { Emitter } from "./events.ts";
import type { FileMetrics } from "./file-gauge.ts";
import { LogLookup } from "./log/lookup.ts";
import type { OriginMarks, SqliteDatabase } from "./log/store.ts";
import type { KnownPeer } from "./log/trim.ts";
import { type Metrics, metricsOf } from "./metrics.ts";
import type { Options } from "./options.ts";
import type { OrphanCounts } from "./orphans.ts";
import { ReplicaCore } from "./replica-core.ts";
import type { ReplicaEvents } from "./replica-events.ts";
import {
  type MigrateOptions,
  type MigrateResult,
  type Migration,
  type MigrationHost,
  migrate,
} from "./schema/migrate.ts";
import type { SnapshotOptions, SnapshotResult } from "./snapshot/snapshot.ts";
import { floorStatusOf, type Status, statusOf } from "./status.ts";
import type { Connection } from "./sync/hub.ts";
import type { Verification } from "./sync/verify.ts";
import { formatToken, parseToken, parseTokens, type TokenParts } from "./token.ts";
import { checkTransport, type Dialer, type Transport } from "./transport/transport.ts";
import type { VerifyCall } from "./verifier.ts";

export interface WaitOptions {
  /** Waits no longer. */
  readonly signal?: AbortSignal | undefined;
}

export class Replica implements AsyncDisposable {
  readonly #core: ReplicaCore;
  readonly #rows: Rows;
  readonly #feedOwner: FeedOwner;
  readonly #watches: Watches;
  #draining = false;
  readonly #migrations: MigrationHost;

  /** @internal Use {@link attach}. */
  constructor(db: SqliteDatabase, options: Options, onClosed: () => void) {
    this.#core = new ReplicaCore(db, options, onClosed);
    const { events } = this.#core;
    const logger = options.logger ?? debugLogger();
    if (logger !== undefined) logEvents(events, logger, this);
    this.#rows = new Rows(db, {
      tables: () => this.tables(),
      inTransaction: () => this.#core.store.inTransaction(),
      token: () => this.token(),
    });
    this.#watches = new Watches(db, this.#core);
    this.#migrations = {
      db,
      step: (renames, work) => this.#core.store.step(renames, work),
      nowMs: () => this.#core.options.clock.now(),
    };
    this.#feedOwner = feedOwnerOf(this.#core, new LogLookup(db));
  }

  get peerId(): number {
    return this.#core.peerId;
  }

  /**
   * Whether this replica is the one of those linked here that should do odd jobs: the smallest peer
   * id, once that was so for `leaderGraceMs`. Others may think the same of themselves; what must
   * not be done twice needs a lease.
   */
  get leader(): boolean {
    return this.#core.leader.leads;
  }

  get cluster(): string {
    return this.#core.options.cluster;
  }

  /** Names of the replicated tables. */
  tables(): string[] {
    return this.#core.store.tables();
  }

  /** Talks to a peer: over one transport until it ends, or again and again with a dialler. */
  connect(to: Transport | Dialer): Connection {
    checkTransport(to);
    if (this.#core.closing || this.#draining) return refuse(to);
    const connection = this.#core.hub.connect(to);
    void connection.closed.then(() => this.#core.waiters.check());
    return connection;
  }

  /**
   * Brings the schema to a version, step by step, each in a transaction of its own. During a step
   * the companions are ordinary, empty tables; docs/schema.md tells what a step may write.
   * @throws MIGRATION_CHANGED, MIGRATION_FAILED, MIGRATION_WRITES, COMPANION_MALFORMED,
   * INVALID_OPTION, IN_TRANSACTION, CLOSED
   */
  migrate<Database = SqliteDatabase>(
    migrations: readonly Migration<Database>[],
    options: MigrateOptions = {},
  ): MigrateResult {
    this.#core.assertOpen();
    checkNames(options, ["to"]);
    const result = migrate(this.#migrations, migrations as readonly Migration[], options);
    this.#core.lookAtLog();
    return result;
  }

  /** Proof of everything written here so far. Hand it to whoever reads elsewhere. */
  token(): string {
    const [self] = this.#core.refreshMarks();
    return formatToken({ peerId: self?.peerId ?? 0, sequence: self?.held ?? 0 });
  }

  /** An id as `mergelite_id()` makes them: unique on all peers, sortable, 53 bits. */
  id(): number {
    this.#core.assertOpen();
    return this.#rows.id();
  }

  /**
   * Inserts a row, or updates just the named columns of the one with this key. Returns the token;
   * `undefined` inside a transaction, which has none before it commits.
   * @throws INVALID_ROW, TABLE_NOT_REPLICATED, CLOSED, and what the driver throws
   */
  upsert(table: string, row: Row): string | undefined {
    this.#core.assertOpen();
    return this.#rows.upsert(table, row);
  }

  /**
   * Runs `fn`, which must be synchronous, in a transaction (BEGIN IMMEDIATE) that is rolled back when
   * it throws. Returns the token; inside a transaction `fn` runs in a savepoint of that, and the
   * result is `undefined`.
   * @throws CLOSED, and what `fn` or the driver throws
   */
  transaction(fn: () => unknown): string | undefined {
    this.#core.assertOpen();
    return this.#rows.transaction(fn);
  }

  /**
   * Resolves when what the token stands for shows in this file's tables.
   * @throws INVALID_TOKEN, INVALID_OPTION, CLOSED, or `signal.reason`
   */
  async wait(token: string, options: WaitOptions = {}): Promise<void> {
    this.#core.assertOpen();
    checkNames(options, ["signal"]);
    // An unknown origin means waiting, never "yes"; unless nothing was written there at all.
    const awaited = parseTokens(token).filter(({ sequence }) => sequence > 0);
    const isMerged = ({ peerId, sequence }: TokenParts) =>
      this.#core.marks.some((mark) => mark.peerId === peerId && mark.merged >= sequence);
    await this.#core.waiters.until(() => awaited.every(isMerged), options.signal);
  }

  /**
   * Resolves when `peers` peers hold on disk what this replica had written when it was called.
   * @default peers: as many as are linked, at least one
   * @throws INVALID_OPTION, CLOSED, or `signal.reason`
   */
  async drain(options: WaitOptions & { peers?: DrainPeers } = {}): Promise<void> {
    this.#core.assertOpen();
    checkNames(options, ["peers", "signal"]);
    const { peers, signal } = options;
    checkDrainPeers(peers);
    const written = parseToken(this.token());
    await this.#core.waiters.until(drainOf(this.#core.hub, written, peers), signal);
  }

  /** Resolves when every live link, at least one, has exchanged everything in both directions. */
  async synced(options: WaitOptions = {}): Promise<void> {
    this.#core.assertOpen();
    checkNames(options, ["signal"]);
    await this.#core.waiters.until(() => {
      this.#core.refreshMarks();
      return this.#core.scheduler.queuedBytes === 0 && this.#core.hub.synced;
    }, options.signal);
  }

  /** Highest sequences held and merged by origin, this peer first. */
  vector(): OriginMarks[] {
    return [...this.#core.refreshMarks()];
  }

  /**
   * Compares every replicated table with a linked peer's: rows and their stamps, by digests of key
   * ranges. With `repair` both take what the other knows better: `docs/operations.md`.
   * @default peerId: any that is linked
   * @throws NOT_LINKED, LINK_CLOSED, INVALID_OPTION
   */
  verify(call?: VerifyCall): Promise<Verification>;
  verify(peerId: number | undefined, call?: VerifyCall): Promise<Verification>;
  async verify(first?: number | VerifyCall, second: VerifyCall = {}): Promise<Verification> {
    this.#core.assertOpen();
    const [peerId, call] = typeof first === "object" ? [undefined, first] : [first, second];
    checkNames(call, ["limit", "deep", "repair", "signal"]);
    return this.#core.verifier.verify(this.#core.hub, peerId, call);
  }

  /**
   * What was committed, here and elsewhere, as soon as it shows in the tables; from a cursor on
   * exactly once.
   * @throws INVALID_OPTION, INVALID_CURSOR; the feed CHANGES_TRIMMED, CHANGES_LOST, `signal.reason`
   */
  changes(options: ChangesOptions = {}): ChangeFeed {
    this.#core.assertOpen();
    this.#core.refreshMarks();
    return openFeed(this.#feedOwner, options);
  }

  /**
   * Tells what a query gives, and again whenever that has changed: by local writes, merged ones,
   * and those of other processes. Returns the function that ends it.
   * @throws INVALID_OPTION, CLOSED, TypeError when `sql` writes, and what the driver throws
   */
  watch<Row = Record<string, unknown>>(
    sql: string,
    parameters: Parameters,
    listener: (result: WatchResult<Row>) => void,
    options: WatchOptions = {},
  ): () => void {
    this.#core.assertOpen();
    const tell = listener as (result: WatchResult<unknown>) => void;
    const read = readWatchOptions(options);
    return this.#watches.add({ sql, parameters, listener: tell, options: read });
  }

  /** Where the change feed is now: `changes({ since })` goes on from what the tables show. */
  cursor(): string {
    return this.changes().cursor;
  }

  /** Looks now for commits of other connections to the file, for where `watchFile` cannot. */
  poll(): void {
    this.#core.lookAtLog();
  }

  /** The peers that this file has linked with, and what each held when it was heard last. */
  peers(): KnownPeer[] {
    return this.#core.store.peers();
  }

  /**
   * A peer that will not return holds nothing back any more, here or elsewhere in the cluster: the
   * log is trimmed, and tombstones go, without it. If it links again all the same, it takes a new
   * id, and issues again what nobody else has of it.
   * @throws PEER_UNKNOWN, IN_TRANSACTION
   */
  forget(peerId: number): void {
    this.#core.floor.forget(peerId);
  }

  /** What an operator asks first. Reads the log's length: not for every second, see `metrics`. */
  status(): Status {
    this.#core.refreshMarks();
    return statusOf(this.#core.store, this.#core.hub.liveLinks, {
      marks: this.#core.marks,
      cluster: this.cluster,
      orphans: this.#core.conflicts.orphans,
      floor: floorStatusOf(this.#core.floor.state, this.#core.floor.outside),
    });
  }

  /** What is parked, withheld, refused or shown in violation of a constraint, a page at a time. */
  conflicts(query: ConflictQuery = {}): Conflict[] {
    checkNames(query, ["table", "reason", "limit", "after"]);
    return this.#core.conflicts.list(query);
  }

  /** Tries again, and tells whether the conflict is resolved. @throws IN_TRANSACTION */
  retry(conflict: Conflict | string): boolean {
    return this.#core.conflicts.retry(conflict);
  }

  /** Gives up, everywhere: see `docs/conflicts.md`. @throws CONFLICT_KEPT, IN_TRANSACTION */
  discard(conflict: Conflict | string): void {
    this.#core.conflicts.discard(conflict);
  }

  /** Counts rows whose foreign keys point nowhere, in slices, however large the tables are. */
  orphans(): Promise<OrphanCounts> {
    return this.#core.conflicts.lookForOrphans();
  }

  /** Counters since `attach`: cheap enough for every second. `formatOpenMetrics` spells them out. */
  metrics(): Metrics {
    return metricsOf(this.#core);
  }

  /**
   * Reads the sizes of the file and of its parts, on another thread; `metrics` has them afterwards.
   * @throws SQLITE, for one when the database is not a file
   */
  measure(): Promise<FileMetrics> {
    this.#core.assertOpen();
    return this.#core.gauge.measure();
  }

  /**
   * Copies the database as it is now into a file, on another thread, while it is read and written.
   * In WAL mode the WAL cannot be reset meanwhile. Attached, the copy is a peer of its own. The
   * option `backup` may name the path.
   * @throws INVALID_OPTION, SQLITE, CLOSED, `signal.reason`, and the file system's errors
   */
  snapshot(path?: string, options?: SnapshotOptions): Promise<SnapshotResult> {
    this.#core.assertOpen();
    return this.#core.snapshots.demand(path, options);
  }

  /** Calls `listener` for every event until the returned function is called or `signal` aborts. */
  readonly on: Emitter<ReplicaEvents>["on"] = (...event) => this.#core.events.on(...event);
  readonly once: Emitter<ReplicaEvents>["once"] = (...event) => this.#core.events.once(...event);

  /**
   * Ends all links and stops merging; what came and was not merged is sent again next time. The
   * database connection stays open, and its writes are still captured. With `drain` it first waits,
   * and takes no new links, until peers hold what was written here; with `snapshot` it makes one
   * then, if it is to. Idempotent.
   * @throws INVALID_OPTION
   */
  async close(options: CloseOptions = {}): Promise<CloseResult> {
    checkCloseOptions(options, this.#core.options);
    const { drain = false, snapshot = false, signal } = options;
    const result = { drained: false, snapshot: null as SnapshotResult | null };
    try {
      if (drain !== false && !this.#core.closing) {
        this.#draining = true;
        const peers = drain === true ? undefined : drain;
        const token = this.token();
        result.drained = await drainForClose(this.#core, peers, { token, signal });
      }
      if (snapshot && !this.#core.closing) {
        this.#draining = true;
        result.snapshot = await snapshotForClose(this.#core, signal);
      }
    } finally {
      await this.#core.close();
    }
    return result;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
