/** Counters of one replica. Plain numbers since it was attached, and a few present readings. */

export interface Metrics {
  /** Local transactions captured, and the patches in them. */
  localCommits: number;
  localPatches: number;
  /** Remote changesets merged, the patches in them, and how many of those lost or had to wait. */
  mergedChangesets: number;
  mergedPatches: number;
  lostPatches: number;
  parkedPatches: number;
  /** Changesets that came more than once. */
  duplicateChangesets: number;
  refusedChangesets: number;
  mergeErrors: number;
  /** Longest that one slice of merging held the event loop, in ms. */
  mergeSliceMsMax: number;
  /** Bytes received and not merged yet. */
  mergeQueueBytes: number;
  links: number;
  linksOpened: number;
  sentMessages: number;
  sentBytes: number;
  receivedMessages: number;
  receivedBytes: number;
  retransmissions: number;
  /** Row clocks in memory, not folded into their tables yet. */
  clockCacheEntries: number;
  clockCacheBytes: number;
}

export type LinkTotals = Pick<
  Metrics,
  "sentMessages" | "sentBytes" | "receivedMessages" | "receivedBytes" | "retransmissions"
>;

export function noTotals(): LinkTotals {
  return {
    sentMessages: 0,
    sentBytes: 0,
    receivedMessages: 0,
    receivedBytes: 0,
    retransmissions: 0,
  };
}

/** Adds a link's counters. */
export function addTotals(into: LinkTotals, link: Readonly<LinkTotals>): void {
  for (const name of Object.keys(into) as (keyof LinkTotals)[]) into[name] += link[name];
}
