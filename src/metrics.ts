/** Counters of one replica. Plain numbers since it was attached, and a few present readings. */
import type { ConflictReason } from "./conflict.ts";
import type { Store } from "./log/store.ts";
import type { MergeResult } from "./native.ts";
import type { LinkHost } from "./sync/link-host.ts";
import { medianSkew } from "./sync/skew.ts";

export interface Metrics {
  /** Local transactions captured, and the patches in them. */
  localCommits: number;
  localPatches: number;
  /** Remote changesets merged, the patches in them, and how many of those lost or had to wait. */
  mergedChangesets: number;
  mergedPatches: number;
  lostPatches: number;
  parkedPatches: number;
  refusedChangesets: number;
  mergeErrors: number;
  /** Conflicts told of, by reason. */
  conflicts: Record<ConflictReason, number>;
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
  /** Changesets received over all links, and those of them that had come before. */
  receivedChangesets: number;
  duplicateChangesets: number;
  /** Requests for changesets that were announced and did not come. */
  wants: number;
  /** How far the clock here is ahead of those of most linked peers, in ms; 0 when not known. */
  clockSkewMs: number;
  /** Messages that transports have not taken yet. */
  waitingMessages: number;
  /** Row clocks in memory, not folded into their tables yet. */
  clockCacheEntries: number;
  clockCacheBytes: number;
}

export type LinkTotals = Pick<
  Metrics,
  | "sentMessages"
  | "sentBytes"
  | "receivedMessages"
  | "receivedBytes"
  | "retransmissions"
  | "receivedChangesets"
  | "duplicateChangesets"
  | "wants"
>;

/** Counters that the replica keeps itself. */
export type Counters = Pick<
  Metrics,
  | "mergedChangesets"
  | "mergedPatches"
  | "lostPatches"
  | "parkedPatches"
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
    refusedChangesets: 0,
    mergeErrors: 0,
    linksOpened: 0,
  };
}

export function countSlice(
  counters: Counters,
  slice: Pick<MergeResult, "changesets" | "patches" | "lost" | "parked" | "refused">,
): void {
  counters.mergedChangesets += slice.changesets;
  counters.mergedPatches += slice.patches;
  counters.lostPatches += slice.lost;
  counters.parkedPatches += slice.parked;
  counters.refusedChangesets += slice.refused.length;
}

export function noTotals(): LinkTotals {
  return {
    sentMessages: 0,
    sentBytes: 0,
    receivedMessages: 0,
    receivedBytes: 0,
    retransmissions: 0,
    receivedChangesets: 0,
    duplicateChangesets: 0,
    wants: 0,
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
  parts: Counters &
    Pick<Metrics, "mergeSliceMsMax" | "mergeQueueBytes" | "conflicts"> & { ended: LinkTotals },
): Metrics {
  const { ended, ...counters } = parts;
  const totals = { ...ended };
  let waitingMessages = 0;
  for (const link of links) {
    addTotals(totals, link.metrics);
    waitingMessages += link.metrics.waitingMessages;
  }
  const { clockCacheEntries, clockCacheBytes, localCommits, localPatches } = store.counters();
  const native = { clockCacheEntries, clockCacheBytes, localCommits, localPatches };
  const skews = links.flatMap(({ skew }) => skew ?? []);
  const clockSkewMs = Math.round(medianSkew(skews) ?? 0);
  const present = { links: links.length, waitingMessages, clockSkewMs };
  return { ...counters, ...totals, ...native, ...present };
}
