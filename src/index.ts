/** Multi-writer SQLite: attach a database, connect it to peers, and write plain SQL. */
export type { ChangeFeed, Changeset, ChangesOptions } from "./app/changes.ts";
export type { Row } from "./app/rows.ts";
export type { CloseOptions, CloseResult } from "./app/shutdown.ts";
export type { Parameters } from "./app/tables-read.ts";
export type { WatchOptions, WatchResult } from "./app/watch.ts";
export { attach } from "./attach.ts";
export type { Clock, Random } from "./clock.ts";
export type { Conflict, ConflictReason } from "./conflict.ts";
export type { ConflictQuery } from "./conflicts.ts";
export type { DrainPeers } from "./drain.ts";
export { ReplicaError, type ReplicaErrorCode, type ReplicaErrorOptions } from "./errors.ts";
export type { Listener } from "./events.ts";
export type { FileMetrics } from "./file-gauge.ts";
export type { Histogram } from "./histogram.ts";
export type { PeerMetrics } from "./lag.ts";
export type { Patch } from "./log/payload.ts";
export type { OriginMarks, SqliteDatabase } from "./log/store.ts";
export type { KnownPeer } from "./log/trim.ts";
export type { Metrics } from "./metrics.ts";
export { joinOpenMetrics, type Labels, openMetricsContentType } from "./metrics-text.ts";
export { extensionPath, type SqlValue } from "./native.ts";
export { formatOpenMetrics, type LabelledMetrics } from "./open-metrics.ts";
export type { AttachOptions, Logger } from "./options.ts";
export type { OrphanCounts } from "./orphans.ts";
export type { Replica, WaitOptions } from "./replica.ts";
export type {
  ClockEvent,
  CollisionEvent,
  LeaderEvent,
  MembershipEvent,
  ReplicaEvents,
  StateProgressEvent,
  VerifyEvent,
} from "./replica-events.ts";
export type { MigrateOptions, MigrateResult, Migration, MigrationStep } from "./schema/migrate.ts";
export {
  type SelfTestDifference,
  type SelfTestResult,
  type SelfTestStep,
  selfTest,
} from "./self-test.ts";
export type { SnapshotOptions, SnapshotProgress, SnapshotResult } from "./snapshot/snapshot.ts";
export type { BackupOptions, SnapshotEvent, SnapshotKind } from "./snapshot/snapshots.ts";
export type { Status } from "./status.ts";
export type { Connection } from "./sync/hub.ts";
export type { RepairCounts } from "./sync/repair.ts";
export type { Difference, TableVerification, Verification } from "./sync/verify.ts";
export { combineTokens } from "./token.ts";
export type { Dialer, Transport } from "./transport/transport.ts";
export type { VerifyCall } from "./verifier.ts";
