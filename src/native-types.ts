/** What calls of the native library take and give: see {@link Binding}, which has the calls. */

/** Names a database connection that has the extension: `SELECT mergelite_handle()`. */
export type Handle = number;

/** What merging of any kind has brought and settled. */
export interface ConflictChanges {
  /** Ids of {@link NativeConflict}s that are new; of a large batch the first 256 rows. */
  conflicts: number[];
  /** What is not in conflict any more, likewise; `key` holds names and values in turn. */
  resolved: { table: string; reason: string; key: SqlValue[] }[];
  /** Changes to what is parked, of further rows. */
  untold: number;
  /**
   * Earliest wall time in ms at which what is held back for its future clock may be merged; 0 if
   * none. Of a chunk of rows then nothing was merged.
   */
  resumeAtMs: number;
}

/** What one call of {@link Binding.merge} or {@link Binding.maintain} did. */
export interface MergeResult extends ConflictChanges {
  /** Offset in `records` up to which records were consumed (merged, known already, or refused). */
  consumed: number;
  changesets: number;
  patches: number;
  /** Patches that lost against a newer stamp. */
  lost: number;
  parked: number;
  /** Records that were held already. */
  duplicates: number;
  /**
   * Another connection holds the write lock, or the user is inside a transaction: call again later.
   */
  busy: boolean;
  /** Time ran out before the work did: call again. */
  more: boolean;
  /** Origins whose next sequence is missing: flat pairs of peer id and first missing sequence. */
  gaps: number[];
  /** Changesets among them that are older than tombstones which are gone here. */
  below: number;
  /** Hashes (16 hex digits) of shapes that records need and this replica has not learned. */
  unknownShapes: string[];
  /** Records that make no sense, kept in `_mergelite_refused`. */
  refused: { origin: number; sequence: number; reason: string }[];
  /** Inserts that met a row which another origin had inserted; `collisions` has the first 16. */
  keyCollisions: number;
  collisions: { table: string; key: SqlValue[]; origin: number; other: number }[];
}

/** What runs on another thread. */
export type FileJob = object & { readonly __job: unique symbol };

export interface FileReading {
  kind: string;
  name: string;
  value: number;
}

/** An integer beyond 53 bits is a bigint. */
export type SqlValue = null | number | bigint | string | Uint8Array;

/** A parked patch, or a withheld row; `key` and `values` hold names and values in turn. */
export interface NativeConflict {
  id: number;
  table: string;
  reason: string;
  detail: string;
  origin: number;
  /** 0 where it is not remembered. */
  sequence: number;
  timestamp: number;
  operation: "insert" | "update" | "delete";
  key: SqlValue[];
  values: SqlValue[];
}

/** A page of the rows of one table whose foreign keys point nowhere. */
export interface OrphanPage {
  /** Rows looked at, and how many of them are orphans. */
  rows: number;
  count: number;
  found: { encodedKey: Uint8Array; detail: string; key: SqlValue[]; values: SqlValue[] }[];
  lastKey: Uint8Array;
  done: boolean;
}

/** What the file has promised, and whether it is whole: see `FloorStore`. */
export interface NativeFloor {
  state: Uint8Array;
  revision: number;
  bound: number;
  swept: number;
  transfer: boolean;
}

export interface NativeStatus {
  peerId: number;
  logRows: number;
  logBytes: number;
  /** Timestamp (HLC) of the newest changeset held. */
  timestamp: number;
  parked: { table: string; reason: string; count: number }[];
  refused: number;
}

export interface NativeCounters {
  /** Row clocks in memory, not folded yet. */
  clockCacheEntries: number;
  clockCacheBytes: number;
  /** Row clocks that merging has looked for in their tables. */
  clockReads: number;
  localCommits: number;
  localPatches: number;
  /** How often a withheld row was tried. */
  withheldTries: number;
  /** Some row is known to be withheld, or to violate a CHECK. */
  held: boolean;
}

/** What one call of {@link Binding.trim} did. */
export interface TrimResult {
  changesets: number;
  /** As of {@link MergeResult}. */
  busy: boolean;
  more: boolean;
}

/** A part of what the tables hold, for a peer that the log does not reach. */
export interface StateChunk {
  busy: boolean;
  /** Row clocks had to be folded first: call again. */
  more: boolean;
  /** This is the last chunk. */
  ends: boolean;
  /** Empty when `busy` or `more`. */
  chunk: Uint8Array;
  /** The cursor behind it. */
  next: Uint8Array;
  table: string;
  rows: number;
}

/** What one call of {@link Binding.mergeState} did. */
export interface StateMergeResult extends ConflictChanges {
  /** Where the next call goes on. */
  consumed: number;
  patches: number;
  lost: number;
  parked: number;
  rows: number;
  busy: boolean;
  more: boolean;
  /** This was the last slice of the last chunk: the vector has moved. */
  complete: boolean;
}

/** What is kept of an LTX file while it is written or read: order, page index and checksum. */
export type NativeLtx = object & { readonly __ltx: unique symbol };

/** What packing or unpacking pages of an LTX file gave. */
export interface LtxPagesResult {
  /** Bytes of page blocks written, or consumed. */
  bytes: number;
  /** Pages decoded. */
  pages: number;
  /** The end of the page blocks has been consumed, too. */
  ended: boolean;
  /** Of the system, when writing into a file failed; else 0. */
  error: number;
  /** What is wrong with the file; "" for nothing. */
  wrong: string;
}

/** A database file that is a copy of another one, and the connection it is written through. */
export type CopyFile = object & { readonly __copy: unique symbol };

/** How a copy stands after a call. */
export interface CopyResult {
  /** Another connection writes: nothing was done. */
  busy: boolean;
  /** Somebody else has written the file since this connection last did. */
  altered: boolean;
  /** In the WAL. */
  frames: number;
  pageSize: number;
  /** Of the last check: the first few. */
  problems: string[];
}

/** Reads the WAL of one database on other threads; one operation at a time. */
export type WalSource = object & { readonly __walSource: unique symbol };

/** A lock among processes, until it is given back or its process ends. */
export type NativeLock = object & { readonly __nativeLock: unique symbol };

/** What an operation on a WAL gave; what it does not tell of is 0, empty or false. */
export interface WalAnswer {
  pageSize: number;
  /** Eight words; the last five are a place: two salts, frame, two checksums. */
  end: Uint32Array;
  /** Numbers of pages, rising, and for each the frame that has it; 0: the database file. */
  pages: Uint32Array;
  frames: Uint32Array;
  /** What the pages hold, where the WAL may not have it any more. */
  data: Uint8Array;
  commits: number;
  /** Of the database, in pages. */
  size: number;
  /** What is asked for is not there any more, or frames were replaced by others. */
  broken: boolean;
  moved: boolean;
}

/** What one call of `repairRows` did. */
export interface RepairResult extends ConflictChanges {
  busy: boolean;
  more: boolean;
  /** The sender lacks changesets that are trimmed here: nothing was merged. */
  behind: boolean;
  patches: number;
  lost: number;
  parked: number;
  /** Rows that are other than before, and those that became a new write of this peer. */
  taken: number;
  rewritten: number;
}
