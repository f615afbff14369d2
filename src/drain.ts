/** How many peers have to hold a write before it counts as safe. */
import { ReplicaError } from "./errors.ts";

/**
 * `majority`: with this replica more than half of it and all known peers. `all`: all known peers, at
 * least one. Known are those that are linked or have been since `attach`.
 */
export type DrainPeers = number | "majority" | "all";

interface DrainHub {
  readonly linkedPeers: number;
  readonly knownPeers: number;
  holders(origin: number, sequence: number): number;
}

/** @throws INVALID_OPTION */
export function checkDrainPeers(peers: unknown): void {
  if (peers === undefined || peers === "majority" || peers === "all") return;
  if (typeof peers === "number" && Number.isSafeInteger(peers) && peers >= 0) return;
  throw new ReplicaError("INVALID_OPTION", "peers must be a count, 'majority' or 'all'", {
    hint: "See docs/api.md.",
  });
}

/** Tells whether peers hold what was written here up to `written`, by whatever id it goes by now. */
export function drainOf(
  hub: DrainHub & { readonly self: { peerId: number; held: number } | undefined },
  written: { peerId: number; sequence: number },
  peers: DrainPeers | undefined,
): () => boolean {
  let { peerId, sequence } = written;
  if (sequence === 0) return () => true;
  return () => {
    const { self } = hub;
    // What others do not have was issued anew, as the first changesets of the new id.
    if (self !== undefined && self.peerId !== peerId) ({ peerId, held: sequence } = self);
    return sequence === 0 || isDrained(hub, { peerId, sequence }, peers);
  };
}

/** Whether as many peers hold the write as were asked for. */
function isDrained(
  hub: DrainHub,
  { peerId, sequence }: { peerId: number; sequence: number },
  peers: DrainPeers | undefined,
): boolean {
  const counts = { linked: hub.linkedPeers, known: hub.knownPeers };
  return hub.holders(peerId, sequence) >= holdersWanted(peers, counts);
}

export function holdersWanted(
  peers: DrainPeers | undefined,
  { linked, known }: { linked: number; known: number },
): number {
  switch (peers) {
    case undefined:
      return Math.max(linked, 1);
    case "all":
      return Math.max(known, 1);
    case "majority":
      // Of `known + 1`, and this replica is one of the holders.
      return Math.max(Math.floor((known + 1) / 2), 1);
    default:
      return peers;
  }
}
