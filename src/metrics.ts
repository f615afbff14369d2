/** Counters of one replica. Plain numbers since it was attached, and a few present readings. */
import type { Store } from "./log/store.ts";
import type { LinkHost } from "./sync/link-host.ts";

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

/** Counters that the replica keeps itself. */
export type Counters = Pick<
  Metrics,
  | "mergedChangesets"
  | "mergedPatches"
  | "lostPatches"
  | "parkedPatches"
  | "duplicateChangesets"
  | "refusedChangesets"
  | "mergeErrors"
  | "linksOpened"
>;

export function noCounters(): Counters {
  return {
    mergedChangesets: 0,
    mergedPatches: 0,
    lostPatches: 0,
    parkedPatches: 0,
    duplicateChangesets: 0,
    refusedChangesets: 0,
    mergeErrors: 0,
    linksOpened: 0,
  };
}

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

/** Counters, the totals of links that have ended, and what the store and live links say now. */
export function metricsOf(
  store: Store,
  links: readonly LinkHost[],
  parts: Counters & Pick<Metrics, "mergeSliceMsMax" | "mergeQueueBytes"> & { ended: LinkTotals },
): Metrics {
  const { ended, ...counters } = parts;
  const totals = { ...ended };
  for (const link of links) addTotals(totals, link.metrics);
  return { ...counters, ...totals, ...store.counters(), links: links.length };
}
