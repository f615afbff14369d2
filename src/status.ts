/** What an operator asks of a replica first. */
import type { OriginMarks, Store } from "./log/store.ts";
import type { LinkHost } from "./sync/link-host.ts";

export interface Status {
  readonly peerId: number;
  readonly cluster: string;
  readonly tables: string[];
  /** This peer first. */
  readonly origins: OriginMarks[];
  /** `behind`: changesets held here that the peer has not acknowledged. */
  readonly links: { peerId: number; name: string; behind: number }[];
  readonly log: { rows: number; bytes: number };
  readonly clockCache: { entries: number; bytes: number };
  readonly parked: { table: string; reason: string; count: number }[];
  readonly refused: number;
}

export function statusOf(
  store: Store,
  links: readonly LinkHost[],
  { marks, cluster }: { marks: readonly OriginMarks[]; cluster: string },
): Status {
  const { peerId, logRows, logBytes, parked, refused } = store.status();
  const { clockCacheEntries, clockCacheBytes } = store.counters();
  return {
    peerId,
    cluster,
    tables: store.tables(),
    origins: [...marks],
    links: links.map((link) => ({
      peerId: link.peerId,
      name: link.name,
      behind: behind(link, marks),
    })),
    log: { rows: logRows, bytes: logBytes },
    clockCache: { entries: clockCacheEntries, bytes: clockCacheBytes },
    parked,
    refused,
  };
}

function behind(link: LinkHost, marks: readonly OriginMarks[]): number {
  let changesets = 0;
  for (const { peerId, held } of marks) {
    changesets += Math.max(held - link.remoteHolds(peerId), 0);
  }
  return changesets;
}
