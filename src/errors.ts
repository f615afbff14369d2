/**
 * The one error class. Callers switch on `code`; the message is for people and may change.
 * Every code has a row in `docs/errors.md`.
 */

export const replicaErrorCodes = [
  "CLUSTER_MISMATCH",
  "IDENTITY_LOST",
  "LINK_CLOSED",
  "LINK_TIMEOUT",
  "MESSAGE_TOO_LARGE",
  "PEER_ID_IN_USE",
  "PROTOCOL_MALFORMED",
  "TRANSPORT_CLOSED",
  "TRANSPORT_FAILED",
  "TRANSPORT_OVERLOADED",
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

/** Whether a string from outside (a BYE, a native error) is a code of ours. */
export function isReplicaErrorCode(code: unknown): code is ReplicaErrorCode {
  return (replicaErrorCodes as readonly unknown[]).includes(code);
}
