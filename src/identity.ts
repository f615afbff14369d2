/** When a file has to take a new peer id while it runs. */
import { ReplicaError } from "./errors.ts";
import type { OriginMarks, Store } from "./log/store.ts";
import type { LinkHost } from "./sync/link-host.ts";

/**
 * A link has ended because its peer holds changesets of ours that this file has not, or others than
 * this file has. Whether the id was renewed; or why not, for now.
 */
export function renewIfLost(
  store: Store,
  self: OriginMarks | undefined,
  link: Pick<LinkHost, "ownPeerId" | "acknowledged" | "forkedAfter">,
): boolean | ReplicaError {
  const { ownPeerId, acknowledged, forkedAfter } = link;
  const held = self?.held ?? 0;
  // Another process on the same file has renewed it.
  if (ownPeerId !== self?.peerId) return false;
  // Another process on the same file may just have committed.
  if (forkedAfter === undefined && acknowledged > 0 && acknowledged <= held) return false;
  try {
    store.reissue(forkedAfter ?? held);
    return true;
  } catch (error) {
    if (!(error instanceof ReplicaError)) throw error;
    // Inside a user's transaction, or busy: the next attempt to link tries again.
    return error;
  }
}
