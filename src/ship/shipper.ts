/** What `ship` gives: a database's continuous way into its storages. */
import type { ReplicaError } from "../errors.ts";
import type { Listener } from "../events.ts";
import type { StorageCallOptions } from "../storage/storage.ts";
import type { Position } from "./position.ts";

export interface ShipperEvents {
  /** A file of these transactions is in a storage. */
  shipped: ShippedEvent;
  /** The chain of WAL frames was broken, or too much waited: pages were compared and shipped. */
  rebase: RebaseEvent;
  /** An upload or a look at the WAL failed; it is tried again after `retryMs`. */
  failed: FailedEvent;
  /** The first upload that worked after those that failed. */
  recovered: { readonly storage: string };
}

export interface ShippedEvent {
  readonly storage: string;
  readonly minTxid: number;
  readonly maxTxid: number;
  readonly bytes: number;
}

export interface RebaseEvent {
  readonly reason: RebaseReason;
  readonly txid: number;
  /** Pages that were found changed, and shipped. */
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

export interface Shipper {
  /** The newest position that every storage has; `undefined` before the first. */
  readonly position: Position | undefined;
  /**
   * Resolves when every commit made before the call is in every storage: then no crash can lose
   * them. Rejects with the storage's error when an upload fails meanwhile; shipping goes on.
   * @throws `CLOSED`, `signal.reason`, `STORAGE_…`
   */
  flush(options?: StorageCallOptions): Promise<Position>;
  /**
   * Ships a snapshot of the database as it is now, so that a restore needs no older file.
   * @throws as `flush`
   */
  snapshot(options?: StorageCallOptions): Promise<Position>;
  /**
   * Ships what is left and lets go of the database; rejects when that fails, closed all the same.
   * What could not be shipped stays in `stateDir`, and a later shipper goes on with it. Idempotent.
   */
  close(options?: StorageCallOptions): Promise<void>;
  metrics(): ShipperMetrics;
  on<Name extends keyof ShipperEvents>(
    name: Name,
    listener: Listener<ShipperEvents[Name]>,
    options?: { signal?: AbortSignal | undefined },
  ): () => void;
  /** Why nothing can be shipped any more; `undefined` while it goes on. */
  readonly failure: ReplicaError | undefined;
}
