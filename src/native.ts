/**
 * The only loader of the native library: one file that is both the Node addon (this module) and the
 * SQLite extension (`extensionPath`, for `loadExtension`). Both doors share one image.
 */
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { LtxBinding } from "./native-ltx.ts";
import type {
  CopyFile,
  CopyResult,
  FileJob,
  FileReading,
  Handle,
  MergeResult,
  NativeConflict,
  NativeCounters,
  NativeFloor,
  NativeStatus,
  OrphanPage,
  RepairResult,
  StateChunk,
  StateMergeResult,
  TrimResult,
} from "./native-types.ts";
import type { WalBinding } from "./native-wal.ts";

export type * from "./native-types.ts";

/** What the addon exports. Errors have `code` and `hint`; what gives no promise is synchronous. */
export interface Binding extends LtxBinding, WalBinding {
  /** Creates the system tables when they are missing and takes or renews the peer id. */
  open(
    handle: Handle,
    fileMark: string,
    bootMark: string,
    bell: () => void,
  ): { peerId: number; renewed: boolean };
  /** Stops the bell and notes a clean end. The connection stays usable. */
  close(handle: Handle): void;
  /** Starts replication of a table; does nothing when it is replicated already. */
  replicate(handle: Handle, table: string): void;
  /** The same for many: all, or when one cannot be replicated none of them. */
  replicateAll(handle: Handle, tables: readonly string[]): void;
  /**
   * Replicates the tables that have an ordinary companion.
   * @throws COMPANION_MALFORMED, IN_TRANSACTION
   */
  takeCompanions(handle: Handle): void;
  /**
   * The tables whose changes are kept with what they replace from now on: those named, or with `all`
   * (1) every table, later ones included. @throws TABLE_NOT_REPLICATED
   */
  keepOldValues(handle: Handle, tables: readonly string[], all: number): void;
  /**
   * Begins the transaction of a migration's step, with all companions as ordinary, empty tables.
   * `renames` has flat triples (table, old column, new column) for tables that it makes anew.
   * @throws IN_TRANSACTION
   */
  beginStep(handle: Handle, renames: readonly string[]): void;
  /** Commits it; when that fails it is undone. @throws MIGRATION_FAILED, COMPANION_MALFORMED */
  commitStep(handle: Handle): void;
  abandonStep(handle: Handle): void;
  /** Removes triggers, companions and system tables from the file. */
  detach(handle: Handle): void;
  /** Takes a new peer id; the old one becomes an ordinary origin. */
  renewIdentity(handle: Handle): number;
  /**
   * The same, and this peer's changesets above `after` become the first ones of the new id, as a
   * whole number of transactions.
   */
  reissue(handle: Handle, after: number): number;
  /**
   * Tells a changeset held from others under its number, by its timestamp and checksum; 0 when the
   * log does not have it (any more).
   */
  fingerprintAt(handle: Handle, origin: number, sequence: number): number;
  /** Names of the replicated tables. */
  tables(handle: Handle): string[];
  /** Flat triples (peer id, sequence held, sequence merged), this peer first. */
  vector(handle: Handle): Float64Array;
  /** Whether the user is inside a transaction of this connection. */
  inTransaction(handle: Handle): boolean;
  /** Whether the schema may have changed since triggers were renewed: maintenance does that. */
  schemaTouched(handle: Handle): boolean;
  /** Changeset records of one origin, `first` to `last`, at least one, then up to `bytesMax`. */
  readLog(
    handle: Handle,
    origin: number,
    first: number,
    last: number,
    bytesMax: number,
  ): Uint8Array;
  /** Merges whole records from `offset` on, for about `budgetMs`, in one transaction. */
  merge(handle: Handle, records: Uint8Array, offset: number, budgetMs: number): MergeResult;
  /**
   * Absorbs local changesets, merges what was held back, folds row clocks, for about `budgetMs`.
   */
  maintain(handle: Handle, budgetMs: number): MergeResult;
  /**
   * Trims the log, for about `budgetMs`: of each origin the oldest changesets stamped up to
   * `timestamp` or not above its sequence in `heldByAll`. `acknowledged` has the highest sequences
   * that another peer holds; what this file's own peer ids wrote goes only up to there, unless it
   * is `alone` (1). Both are flat pairs of peer id and sequence.
   */
  trim(
    handle: Handle,
    timestamp: number,
    acknowledged: Float64Array,
    heldByAll: Float64Array,
    alone: 0 | 1,
    budgetMs: number,
  ): TrimResult;
  /** Notes what a peer holds, as it has told. `false`: the database is busy. */
  notePeer(handle: Handle, peerId: number, vector: Float64Array, heardMs: number): boolean;
  /** The peer holds nothing back any more. `false`: the database is busy. */
  forgetPeer(handle: Handle, peerId: number): boolean;
  /** The peers this file has linked with. `vector` has flat pairs of peer id and sequence. */
  peers(
    handle: Handle,
  ): { peerId: number; vector: Float64Array; heardMs: number; forgotten: boolean }[];
  /** Flat pairs of peer id and the sequence up to which its changesets are no longer in the log. */
  horizon(handle: Handle): Float64Array;
  /**
   * Begins a state transfer into this file or goes on with one; with `restart` 1 it begins anew.
   * `vector` has flat pairs of peer id and sequence: what all chunks so far have in common.
   */
  startState(
    handle: Handle,
    restart: 0 | 1,
  ): { busy: boolean; cursor: Uint8Array; vector: Float64Array; rows: number };
  /** Bytes of the file's pages that are in use. */
  stateBytes(handle: Handle): number;
  /** A chunk of about `bytesMax` bytes from `cursor` on; an empty cursor is the beginning. */
  readState(handle: Handle, cursor: Uint8Array, bytesMax: number, budgetMs: number): StateChunk;
  /**
   * Merges a chunk for about `budgetMs`, in one transaction. `next` is the sender's cursor behind
   * it; `offset` is 0 for the first call, then what the last one consumed. `again`: 1 unless this
   * is the first call.
   * @throws PAYLOAD_CORRUPT, STATE_OUT_OF_ORDER
   */
  mergeState(
    handle: Handle,
    chunk: Uint8Array,
    next: Uint8Array,
    offset: number,
    again: 0 | 1,
    budgetMs: number,
  ): StateMergeResult;
  /** What this file has promised its cluster: see `FloorStore`. `state` is empty at first. */
  floor(handle: Handle): NativeFloor;
  /**
   * Nothing here is stamped below the highest `bound` saved. Saves nothing when the file is at
   * another revision (`stale`).
   */
  saveFloor(
    handle: Handle,
    state: Uint8Array,
    revision: number,
    bound: number,
  ): { busy: boolean; stale: boolean };
  /** Drops row clocks of rows that died below `horizon`, and what is parked for them. */
  sweepTombstones(
    handle: Handle,
    horizon: number,
    table: string,
    after: Uint8Array,
    budgetMs: number,
  ): {
    table: string;
    after: Uint8Array;
    dropped: number;
    kept: number;
    busy: boolean;
    more: boolean;
  };
  /** What a member that holds `vector` lacks and does not take, for it begins below `bound`. */
  unsentBelow(
    handle: Handle,
    vector: Float64Array,
    members: Float64Array,
    bound: number,
  ): { own: boolean; others: boolean };
  /**
   * Writes what rows have from changesets of peers that are no members, and that the member lacks,
   * as changesets of this peer.
   */
  reissueRows(
    handle: Handle,
    vector: Float64Array,
    members: Float64Array,
    bound: number,
    cursor: Uint8Array,
    budgetMs: number,
  ): { cursor: Uint8Array; patches: number; busy: boolean; more: boolean };
  /** Drops the changesets that `unsentBelow` finds `others`. */
  giveUp(
    handle: Handle,
    vector: Float64Array,
    members: Float64Array,
    bound: number,
    budgetMs: number,
  ): { changesets: number; busy: boolean; more: boolean };
  /**
   * Descriptors of shapes with id above `since`. With `look` 1 the file is asked, else only what
   * this connection has seen.
   */
  shapes(handle: Handle, since: number, look?: 0 | 1): { last: number; descriptors: Uint8Array[] };
  /** Stores descriptors another peer sent. */
  learnShapes(handle: Handle, descriptors: Uint8Array[]): void;
  /** Reads the whole log's lengths: for operators, not for every second. */
  status(handle: Handle): NativeStatus;
  /** From memory only. */
  counters(handle: Handle): NativeCounters;
  /**
   * Digests of the key range from `from` up to, and without, `to` (encoded; empty is no bound), in
   * at most `parts` parts of about as many rows each: in one when it cannot be cut. `order`: peers
   * with the same number sort the table's keys the same way.
   */
  ranges(
    handle: Handle,
    table: string,
    from: Uint8Array,
    to: Uint8Array,
    parts: number,
    budgetMs: number,
  ): {
    busy: boolean;
    more: boolean;
    order: bigint;
    parts: { from: Uint8Array; to: Uint8Array; rows: number; digest: bigint }[];
  };
  /**
   * Encoded keys and hashes of a range's rows, from or after `from` on: `limit` of them, or fewer
   * when their keys are long.
   */
  rangeRows(
    handle: Handle,
    table: string,
    from: Uint8Array,
    to: Uint8Array,
    after: 0 | 1,
    limit: number,
    budgetMs: number,
  ): {
    busy: boolean;
    more: boolean;
    order: bigint;
    rows: { key: Uint8Array; hash: bigint }[];
    done: boolean;
  };
  /** An encoded key as SQL literals, for people. @throws KEY_MALFORMED */
  keyText(key: Uint8Array): string;
  /**
   * What this file has of the rows of `keys` (each encoded, with its length as a varint before it),
   * as a chunk of state of about `bytesMax` bytes that covers the first `keys` of them.
   */
  readRows(
    handle: Handle,
    table: string,
    keys: Uint8Array,
    bytesMax: number,
    budgetMs: number,
  ): { busy: boolean; more: boolean; keys: number; rows: number; chunk: Uint8Array };
  /** Merges what `readRows` read elsewhere, then records rows of `keys` that nobody captured. */
  repairRows(
    handle: Handle,
    table: string,
    keys: Uint8Array,
    chunk: Uint8Array,
    budgetMs: number,
  ): RepairResult;
  /** Has the digests of a table made anew when they are asked for. True: busy, call again. */
  doubtRanges(handle: Handle, table: string): boolean;
  /**
   * Replaces the wall clock of a connection by a fixed reading in ms; 0 puts it back. Budgets then
   * count a millisecond for every look at the clock, so that slices are the same in every run. For
   * simulations.
   */
  setClock(handle: Handle, nowMs: number): void;
  /**
   * Draws peer ids and the like of a connection from a seed of 53 bits; 0 puts chance back. For
   * simulations.
   */
  setSeed(handle: Handle, seed: number): void;
  /** How far ahead of the wall clock a changeset may be before it has to wait, in ms. */
  setDriftMax(handle: Handle, driftMaxMs: number): void;
  /** Parked patches with an id above `after`, or the one of `id`; "" for any table or reason. */
  conflicts(
    handle: Handle,
    after: number,
    limit: number,
    table: string,
    reason: string,
    id: number,
  ): NativeConflict[];
  /** Refused changesets after (`origin`, `sequence`), in their order. */
  refused(
    handle: Handle,
    origin: number,
    sequence: number,
    limit: number,
  ): { origin: number; sequence: number; timestamp: number; reason: string; bytes: number }[];
  /** The first changeset of each origin that is held and not merged, and how many there are. */
  waiting(
    handle: Handle,
  ): { origin: number; sequence: number; timestamp: number; changesets: number }[];
  /** Rows of a table whose foreign keys point nowhere, from `afterKey` on, for about `budgetMs`. */
  orphans(
    handle: Handle,
    table: string,
    afterKey: Uint8Array,
    budgetMs: number,
    limit: number,
  ): OrphanPage;
  /** Tries what a conflict is about again. */
  retry(handle: Handle, id: number): MergeResult;
  /** Deletes the row of a conflict as a write of this peer; of a `check` only the mark. */
  discard(handle: Handle, id: number): MergeResult;
  discardRefused(handle: Handle, origin: number, sequence: number): void;
  /** DELETE of one row, captured like any. */
  deleteRow(handle: Handle, table: string, encodedKey: Uint8Array): void;
  /** Copies the database into `target` on another thread; `check`: the copy is looked through. */
  snapshot(handle: Handle, target: string, check: number): [FileJob, Promise<unknown>];
  /** Reads what the file holds of what, on another thread. */
  measure(handle: Handle): [FileJob, Promise<FileReading[]>];
  jobProgress(job: FileJob): { done: number; pages: number };
  /** The job's promise is rejected soon after. */
  stopJob(job: FileJob): void;
  /** 0 for a changeset that the log does not have. */
  timestampAt(handle: Handle, origin: number, sequence: number): number;
  /** Hash of a shape descriptor, 16 hex digits. */
  shapeHash(descriptor: Uint8Array): string;
  /** A copy that is not open yet, with the SQLite of that connection. */
  newCopy(handle: Handle): CopyFile;
  /** This and what follows works on other threads, one call at a time. The file must exist. */
  openCopy(copy: CopyFile, file: string): Promise<CopyResult>;
  /** Begins a transaction that writes pages, unless it is `busy`. */
  beginCopy(copy: CopyFile): Promise<CopyResult>;
  /**
   * Writes pages that nobody sees yet. With `commit`, the size of the database in pages, all since
   * `beginCopy` becomes durable, then visible; 0: more follows. The buffers must not be touched
   * before the promise is settled.
   */
  appendCopy(
    copy: CopyFile,
    pageSize: number,
    numbers: Uint32Array,
    pages: Uint8Array,
    commit: number,
  ): Promise<CopyResult>;
  rollbackCopy(copy: CopyFile): Promise<CopyResult>;
  /** Empties the WAL as far as readers let it. */
  checkpointCopy(copy: CopyFile): Promise<CopyResult>;
  /** `PRAGMA integrity_check`. */
  checkCopy(copy: CopyFile): Promise<CopyResult>;
  closeCopy(copy: CopyFile): Promise<CopyResult>;
}

const require = createRequire(import.meta.url);
const root = join(dirname(fileURLToPath(import.meta.url)), "..");

/** Absolute path of the shared library, as `loadExtension` wants it. */
export const extensionPath: string = (
  require("node-gyp-build") as { path(folder: string): string }
).path(root);

export const native: Binding = require(extensionPath) as Binding;
