/** When a file has to take a new peer id while it runs. */
import { ReplicaError } from "./errors.ts";
import type { OriginMarks, Store } from "./log/store.ts";

/**
 * A peer holds `claimed` of our own changesets: where this file has fewer, its id belongs to a lost
 * past. Whether it was renewed; or why not, for now.
 */
export function renewIfLost(
  store: Store,
  self: OriginMarks | undefined,
  claimed: number,
): boolean | ReplicaError {
  // Another process on the same file may just have committed.
  if (claimed > 0 && claimed <= (self?.held ?? 0)) return false;
  try {
    store.renewIdentity();
    return true;
  } catch (error) {
    if (!(error instanceof ReplicaError)) throw error;
    // Inside a user's transaction, or busy: the next attempt to link tries again.
    return error;
  }
}
