/** What a shipper tells, and what it counts. */

export interface ShipperEvents {
  /** A file of these transactions is in a storage. */
  shipped: ShippedEvent;
  /** Pages were compared with what was shipped of them, for the WAL alone did not tell. */
  rebase: RebaseEvent;
  /** Something failed; it is tried again after `retryMs`, unless that is 0. */
  failed: FailedEvent;
  /** The first upload that worked after those that failed. */
  recovered: { readonly storage: string };
  /** Another shipper has the place; `label` says which. Told again when it shows signs of life. */
  waiting: { readonly storage: string; readonly label: string; readonly leftMs: number };
  /** Files of a backup were joined into one. */
  compacted: CompactedEvent;
  /** A backup was restored into a temporary file, compared and checked: it is sound. */
  verified: VerifiedEvent;
  /** What a backup needs no more was deleted. */
  pruned: { readonly storage: string; readonly files: number; readonly bytes: number };
}

/** For listeners of other names to be refused. */
export const shipperEventNames: Readonly<Record<keyof ShipperEvents, true>> = {
  shipped: true,
  rebase: true,
  failed: true,
  recovered: true,
  waiting: true,
  compacted: true,
  verified: true,
  pruned: true,
};

export interface ShippedEvent {
  readonly storage: string;
  readonly minTxid: number;
  readonly maxTxid: number;
  readonly bytes: number;
}

export interface CompactedEvent {
  readonly storage: string;
  /** 1 to 8; 9 is a snapshot. */
  readonly level: number;
  readonly minTxid: number;
  readonly maxTxid: number;
  readonly bytes: number;
  /** How many were joined. */
  readonly files: number;
}

export interface VerifiedEvent {
  readonly storage: string;
  /** The position that was restored, and when it was committed, in ms since 1970. */
  readonly txid: number;
  readonly timestampMs: number;
  /** Whether the checksum of all its pages was there to compare with. */
  readonly checksum: "right" | "unknown";
}

export interface RebaseEvent {
  readonly reason: RebaseReason;
  /** The transaction that has them. */
  readonly txid: number;
  /** Pages that were found changed. With `queue` it is not known yet which, and 0. */
  readonly pages: number;
}

/**
 * `start`: nothing is known of the database's earlier state. `wal`: others used the file while
 * nobody shipped it, or its WAL lost what had been shipped. `storage`: the storage holds more than
 * this shipper put there. `queue`: more than `queueBytesMax` waited.
 */
export type RebaseReason = "start" | "wal" | "storage" | "queue";

export interface FailedEvent {
  /** Reading commits, putting them into a storage, or keeping the backup there. */
  readonly task: "capture" | "upload" | "keep";
  /** Absent when it was not a storage that failed. */
  readonly storage?: string;
  readonly error: unknown;
  readonly retryMs: number;
}

export interface ShipperMetrics {
  /** The newest transaction read from the WAL, and the newest all storages have; 0 for none. */
  readonly txid: number;
  readonly shippedTxid: number;
  /** Files and bytes that wait for a storage. */
  readonly queuedFiles: number;
  readonly queuedBytes: number;
  /** Since the shipper was made. */
  readonly commits: number;
  readonly files: number;
  readonly uploadedBytes: number;
  readonly uploadFailures: number;
  readonly rebases: number;
  readonly checkpoints: number;
  readonly compactions: number;
  readonly prunedFiles: number;
  readonly verifications: number;
  readonly keepFailures: number;
  /**
   * When the backup was proved last, in ms since 1970, of several storages the one where that is
   * longest ago; 0 for never. Outlives a restart.
   */
  readonly lastVerifiedMs: number;
  /** Of the WAL when it was last read, in bytes, and the largest that was seen. */
  readonly walBytes: number;
  readonly walBytesPeak: number;
  /** When every storage was last known to have all commits, in ms since 1970; 0 for never. */
  readonly caughtUpMs: number;
  /**
   * Age of the oldest commit that a storage lacks, in ms; 0 for none. Commits count from when they
   * are read, `intervalMs` after they are made, or from when reading them failed.
   */
  readonly lagMs: number;
  /** Each storage, in the order in which they were given. */
  readonly storages: readonly StorageMetrics[];
}

export interface StorageMetrics {
  /** As it is named in events. */
  readonly storage: string;
  /** The newest transaction it has; 0 for none, or before it was looked at. */
  readonly txid: number;
  readonly lease: LeaseState;
  /** Uploads since the shipper was made, their bytes, and those that failed. */
  readonly files: number;
  readonly uploadedBytes: number;
  readonly uploadFailures: number;
}

/**
 * `waiting`: another shipper has the place. `held`: nobody else can take it now. `idle`: nobody is
 * known to have taken it; the next upload asks. `lost`: another shipper has taken it. `none`: it
 * was not asked for, or was given back, or there is none (`unsafeNoLease`).
 */
export type LeaseState = "none" | "waiting" | "held" | "idle" | "lost";

export const leaseStates: readonly LeaseState[] = ["none", "waiting", "held", "idle", "lost"];
