/** Multi-writer SQLite: attach a database, connect it to peers, and write plain SQL. */
export { attach } from "./attach.ts";
export type { Clock, Random } from "./clock.ts";
export type { Conflict, ConflictReason } from "./conflict.ts";
export type { ConflictQuery } from "./conflicts.ts";
export { ReplicaError, type ReplicaErrorCode, type ReplicaErrorOptions } from "./errors.ts";
export type { Listener } from "./events.ts";
export type { OriginMarks, SqliteDatabase } from "./log/store.ts";
export type { Metrics } from "./metrics.ts";
export { extensionPath, type SqlValue } from "./native.ts";
export type { AttachOptions } from "./options.ts";
export type { OrphanCounts } from "./orphans.ts";
export type { Replica } from "./replica.ts";
export type { ReplicaEvents, StateProgressEvent } from "./replica-events.ts";
export type { Status } from "./status.ts";
export type { Connection } from "./sync/hub.ts";
export type { Difference, TableVerification, Verification, VerifyCall } from "./sync/verify.ts";
export type { Dialer, Transport } from "./transport/transport.ts";
