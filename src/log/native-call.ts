/** What every call of the native core shares: its errors, and how vectors cross. */
import { ReplicaError, toReplicaErrorCode } from "../errors.ts";
import type { ReadonlyVersionVector, VersionVector } from "./vector.ts";

/** The native core throws plain errors with a code and a hint. */
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
  return new ReplicaError(toReplicaErrorCode(error.code), error.message, {
    cause: error,
    ...(hint === "" ? {} : { hint }),
  });
}

/** Flat pairs as the native core gives them. */
export function pairs(flat: Float64Array): VersionVector {
  const vector: VersionVector = new Map();
  for (let i = 0; i + 1 < flat.length; i += 2) vector.set(flat[i] ?? 0, flat[i + 1] ?? 0);
  return vector;
}

export function flat(vector: ReadonlyVersionVector): Float64Array {
  return new Float64Array([...vector].flat());
}
