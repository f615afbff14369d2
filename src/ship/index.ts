/** `mergelite/ship`: continuous backup of a database to one or more storages. */

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
export type { ShipOptions } from "./options.ts";
export { formatPosition, type Position, parsePosition } from "./position.ts";
export { type ShipDatabase, ship } from "./ship.ts";
export type { Shipper } from "./shipper.ts";
export type {
  CompactedEvent,
  FailedEvent,
  RebaseEvent,
  RebaseReason,
  ShippedEvent,
  ShipperEvents,
  ShipperMetrics,
  VerifiedEvent,
} from "./shipper-events.ts";
