/**
 * The one error class. Callers switch on `code`; the message is for people and may change.
 * Every code has a row in `docs/errors.md`.
 */

export const replicaErrorCodes = [
  "ALREADY_ATTACHED",
  "BACKUP_DAMAGED",
  "BACKUP_EMPTY",
  "BACKUP_GAP",
  "CAPTURE_FAILED",
  "CAPTURE_FOREIGN",
  "CAPTURE_MISUSE",
  "CHANGES_LOST",
  "CHANGES_TRIMMED",
  "CLOSED",
  "CLUSTER_MISMATCH",
  "COMPANION_ARGUMENT",
  "COMPANION_MALFORMED",
  "COMPANION_NAME",
  "CONFLICT_KEPT",
  "DISK_FULL",
  "ENCRYPTION_DAMAGED",
  "ENCRYPTION_KEY",
  "ENCRYPTION_PLAIN",
  "EXTENSION_REFUSED",
  "FILE_DAMAGED",
  "FILE_EXISTS",
  "FILE_IN_USE",
  "FOLLOW_ACTIVE",
  "IDENTITY_LOST",
  "INVALID_CURSOR",
  "INVALID_OPTION",
  "INVALID_ROW",
  "INVALID_TOKEN",
  "IN_TRANSACTION",
  "KEY_COLLATION",
  "KEY_MALFORMED",
  "KEY_NULL",
  "LEASE_HELD",
  "LEASE_LOST",
  "LINK_CLOSED",
  "LINK_TIMEOUT",
  "LTX_CORRUPT",
  "LTX_GAP",
  "MESSAGE_TOO_LARGE",
  "MIGRATION_CHANGED",
  "MIGRATION_FAILED",
  "MIGRATION_WRITES",
  "NOT_LINKED",
  "PAGE_SIZE_CHANGED",
  "PAYLOAD_CORRUPT",
  "PEER_ID_IN_USE",
  "PEER_UNKNOWN",
  "PROTOCOL_MALFORMED",
  "RECORD_MALFORMED",
  "SCHEMA_STALE",
  "SHAPE_MALFORMED",
  "SHIP_ACTIVE",
  "SHIP_UNSUPPORTED",
  "SQLITE",
  "STATE_OUT_OF_ORDER",
  "STORAGE_DENIED",
  "STORAGE_FAILED",
  "STORAGE_MISSING",
  "STORAGE_MODULE",
  "STORAGE_UNAVAILABLE",
  "STORAGE_UNSAFE",
  "TABLE_MISSING",
  "TABLE_NOT_REPLICATED",
  "TABLE_NO_KEY",
  "TABLE_RESERVED_COLUMN",
  "TABLE_TOO_WIDE",
  "TABLE_UNSUPPORTED",
  "TOO_MANY_ORIGINS",
  "TOO_MANY_SHAPES",
  "TRANSACTION_TOO_LARGE",
  "TRANSPORT_CLOSED",
  "TRANSPORT_FAILED",
  "TRANSPORT_OVERLOADED",
  "TRANSPORT_REFUSED",
  "VERSION_MISMATCH",
] as const;

export type ReplicaErrorCode = (typeof replicaErrorCodes)[number];

export interface ReplicaErrorOptions {
  cause?: unknown;
  hint?: string;
}

/** Something the world did. Our own mistakes are assertions, the caller's are `TypeError`s. */
export class ReplicaError extends Error {
  override readonly name = "ReplicaError";
  readonly code: ReplicaErrorCode;
  /** What to do about it, when that is known. */
  readonly hint?: string;

  constructor(code: ReplicaErrorCode, message: string, options: ReplicaErrorOptions = {}) {
    // `cause` must stay absent, not undefined: loggers print the property when it exists.
    super(message, "cause" in options ? { cause: options.cause } : undefined);
    this.code = code;
    if (options.hint !== undefined) this.hint = options.hint;
  }
}

/** What was thrown may be anything. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/** Whether a string from outside (a BYE, a native error) is a code of ours. */
export function isReplicaErrorCode(code: unknown): code is ReplicaErrorCode {
  return (replicaErrorCodes as readonly unknown[]).includes(code);
}

/** For codes of the native core; what is not one of ours is SQLite's. */
export function toReplicaErrorCode(code: unknown): ReplicaErrorCode {
  return isReplicaErrorCode(code) ? code : "SQLITE";
}
