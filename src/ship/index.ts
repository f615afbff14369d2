/** `mergelite/ship`: continuous backup of a database to one or more storages. */

export {
  type FormatOptions,
  joinOpenMetrics,
  type Labelled,
  type Labels,
  openMetricsContentType,
} from "../metrics-text.ts";
export type { KeepOptions } from "./keep-options.ts";
export {
  acquireLease,
  type Lease,
  type LeaseBefore,
  type LeaseOptions,
  type LeaseWait,
  unguardedLease,
} from "./lease.ts";
export {
  type DatabaseState,
  decodeManifest,
  encodeManifest,
  formatChecksum,
  type Manifest,
  manifestBytesMax,
  manifestKey,
  metadataNames,
  metadataOf,
  parseChecksum,
} from "./manifest.ts";
export { formatShipperMetrics } from "./open-metrics.ts";
export type { ShipOptions } from "./options.ts";
export { formatPosition, type Position, parsePosition } from "./position.ts";
export { type ShipDatabase, ship } from "./ship.ts";
export type { Shipper } from "./shipper.ts";
export type {
  CompactedEvent,
  FailedEvent,
  LeaseState,
  RebaseEvent,
  RebaseReason,
  ShippedEvent,
  ShipperEvents,
  ShipperMetrics,
  StorageMetrics,
  VerifiedEvent,
} from "./shipper-events.ts";
