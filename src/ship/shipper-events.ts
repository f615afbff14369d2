/** What a shipper tells, and what it counts. */

export interface ShipperEvents {
  /** A file of these transactions is in a storage. */
  shipped: ShippedEvent;
  /** Pages were compared with what was shipped of them, for the WAL alone did not tell. */
  rebase: RebaseEvent;
  /** An upload or a look at the WAL failed; it is tried again after `retryMs`. */
  failed: FailedEvent;
  /** The first upload that worked after those that failed. */
  recovered: { readonly storage: string };
  /** Another shipper has the place; `label` says which. Told again when it shows signs of life. */
  waiting: { readonly storage: string; readonly label: string; readonly leftMs: number };
}

export interface ShippedEvent {
  readonly storage: string;
  readonly minTxid: number;
  readonly maxTxid: number;
  readonly bytes: number;
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
  /** Of the WAL when it was last read, in bytes, and the largest that was seen. */
  readonly walBytes: number;
  readonly walBytesPeak: number;
  /** When every storage was last known to have all commits, in ms since 1970; 0 for never. */
  readonly caughtUpMs: number;
}
