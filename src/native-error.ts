/** The native core throws plain errors with a code and a hint. */
import { ReplicaError, toReplicaErrorCode } from "./errors.ts";

/** @throws ReplicaError for what the native core throws */
export function call<Result>(fn: () => Result): Result {
  try {
    return fn();
  } catch (error) {
    throw fromNative(error);
  }
}

/** The same for what another thread does. */
export function told<Result>(done: Promise<Result>): Promise<Result> {
  return done.catch((error) => {
    throw fromNative(error);
  });
}

function fromNative(error: unknown): unknown {
  if (!(error instanceof Error) || !("code" in error)) return error;
  const hint = "hint" in error && typeof error.hint === "string" ? error.hint : "";
  const advice = hint === "" && /readonly database/.test(error.message) ? writableHint : hint;
  return new ReplicaError(toReplicaErrorCode(error.code), error.message, {
    cause: error,
    ...(advice === "" ? {} : { hint: advice }),
  });
}

const writableHint = "Open the database for writing; its folder must be writable, too.";
