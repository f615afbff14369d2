/** A shipper's metrics as OpenMetrics text. */
import {
  counter,
  type Family,
  type FormatOptions,
  formatFamilies,
  gauge,
  type Labelled,
  type Sample,
} from "../metrics-text.ts";
import { leaseStates, type ShipperMetrics, type StorageMetrics } from "./shipper-events.ts";

const ms = 1 / 1000;

/** Of who reads a WAL, with what their names begin with. */
export function readingFamilies(
  prefix: string,
): Family<{ commits: number; rebases: number; checkpoints: number }>[] {
  return [
    counter(`${prefix}_commits`, "Transactions read.", ({ commits }) => commits),
    counter(`${prefix}_rebases`, "Comparisons of all pages.", ({ rebases }) => rebases),
    counter(
      `${prefix}_checkpoints`,
      "Checkpoints after which the WAL can begin anew.",
      ({ checkpoints }) => checkpoints,
    ),
  ];
}

const families: readonly Family<ShipperMetrics>[] = [
  gauge("ship_position", "The newest transaction read.", ({ txid }) => txid),
  gauge("ship_shipped_position", "The newest one that every storage has.", (m) => m.shippedTxid),
  gauge("ship_lag_seconds", "Age of the oldest commit that a storage lacks.", (m) => m.lagMs * ms),
  gauge("ship_queue_bytes", "On disk, waiting for a storage.", ({ queuedBytes }) => queuedBytes),
  gauge("ship_queued_files", "Files of them.", ({ queuedFiles }) => queuedFiles),
  gauge("ship_wal_bytes", "The WAL when it was last read.", ({ walBytes }) => walBytes),
  gauge("ship_wal_peak_bytes", "The largest that was seen.", ({ walBytesPeak }) => walBytesPeak),
  ...readingFamilies("ship"),
  {
    name: "ship_storage_position",
    type: "gauge",
    help: "The newest transaction that a storage has.",
    samples: ({ storages }) => byStorage(storages, ({ txid }) => txid),
  },
  {
    name: "ship_uploads",
    type: "counter",
    help: "Files of transactions that were put into a storage.",
    samples: ({ storages }) => byStorage(storages, ({ files }) => files),
  },
  {
    name: "ship_uploaded_bytes",
    type: "counter",
    unit: "bytes",
    help: "Bytes of them.",
    samples: ({ storages }) => byStorage(storages, ({ uploadedBytes }) => uploadedBytes),
  },
  {
    name: "ship_upload_failures",
    type: "counter",
    help: "Uploads that failed, and were or will be tried again.",
    samples: ({ storages }) => byStorage(storages, ({ uploadFailures }) => uploadFailures),
  },
  {
    name: "ship_lease",
    type: "gauge",
    help: "1 for the state that the lease on a storage is in.",
    samples: ({ storages }) =>
      storages.flatMap(({ storage, lease }) =>
        leaseStates.map((state) => ({
          labels: { storage, state },
          value: state === lease ? 1 : 0,
        })),
      ),
  },
  counter("ship_compactions", "Files made of others.", ({ compactions }) => compactions),
  counter(
    "ship_pruned_files",
    "Files deleted that were not needed any more.",
    (m) => m.prunedFiles,
  ),
  counter("ship_verifications", "Proofs of a backup by a restore.", (m) => m.verifications),
  counter("ship_keep_failures", "Failures to join, prove or delete.", (m) => m.keepFailures),
  gauge(
    "ship_last_verified_timestamp_seconds",
    "When the backup was proved last, where that is longest ago; 0 for never.",
    ({ lastVerifiedMs }) => lastVerifiedMs * ms,
  ),
  gauge(
    "ship_caught_up_timestamp_seconds",
    "When every storage was last known to have all commits; 0 for never.",
    ({ caughtUpMs }) => caughtUpMs * ms,
  ),
];

/**
 * What a scrape is answered with, as `openMetricsContentType`: of one shipper, or of several with
 * labels that tell them apart.
 * @throws TypeError for a label whose name OpenMetrics does not allow
 */
export function formatShipperMetrics(
  of: ShipperMetrics | readonly Labelled<ShipperMetrics>[],
  options: FormatOptions = {},
): string {
  return formatFamilies(families, of, options);
}

function byStorage(
  storages: readonly StorageMetrics[],
  read: (storage: StorageMetrics) => number,
): Sample[] {
  return storages.map((one) => ({ labels: { storage: one.storage }, value: read(one) }));
}
