/** A failure that another choice of objects may avoid. It never leaves this folder. */
import { ReplicaError, type ReplicaErrorCode } from "../errors.ts";

const codes: readonly ReplicaErrorCode[] = ["LTX_CORRUPT", "STORAGE_MISSING", "ENCRYPTION_DAMAGED"];

export class UnusableObject extends Error {
  override readonly name = "UnusableObject";
  readonly key: string;
  override readonly cause: ReplicaError;

  constructor(key: string, cause: ReplicaError) {
    super(cause.message);
    this.key = key;
    this.cause = cause;
  }
}

/** @throws `UnusableObject` when `use` finds the object of that key damaged or gone */
export async function usingObject<T>(key: string, use: () => Promise<T>): Promise<T> {
  try {
    return await use();
  } catch (error) {
    if (!(error instanceof ReplicaError && codes.includes(error.code))) throw error;
    throw new UnusableObject(key, error);
  }
}
