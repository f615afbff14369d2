/** How far the linked peers are behind this file. */
import type { OriginMarks, Store } from "./log/store.ts";
import { wallMsOf } from "./log/timestamp.ts";
import type { LinkHost } from "./sync/link-host.ts";

export interface PeerMetrics {
  readonly peerId: number;
  /** Of its transport. */
  readonly name: string;
  /** Changesets held here that the peer has not acknowledged. */
  readonly lagChangesets: number;
  /** Age of the oldest of them, in ms; 0 when there is none or the log has it no more. */
  readonly lagMs: number;
}

/** So many origins are looked up in the log; beyond them the age is that of the oldest of these. */
const originsMax = 64;

export function lagChangesets(
  link: Pick<LinkHost, "remoteHolds">,
  marks: readonly OriginMarks[],
): number {
  let changesets = 0;
  for (const { peerId, held } of marks) {
    changesets += Math.max(held - link.remoteHolds(peerId), 0);
  }
  return changesets;
}

export function peerMetrics(
  store: Pick<Store, "timestampAt">,
  link: Pick<LinkHost, "peerId" | "name" | "remoteHolds">,
  { marks, nowMs }: { marks: readonly OriginMarks[]; nowMs: number },
): PeerMetrics {
  const behind = marks.filter(({ peerId, held }) => held > link.remoteHolds(peerId));
  let lagMs = 0;
  for (const { peerId } of behind.slice(0, originsMax)) {
    const writtenMs = wallMsOf(store.timestampAt(peerId, link.remoteHolds(peerId) + 1));
    if (writtenMs !== undefined) lagMs = Math.max(lagMs, nowMs - writtenMs);
  }
  const { peerId, name } = link;
  return { peerId, name, lagChangesets: lagChangesets(link, marks), lagMs };
}
