/** Counters of one replica. Plain numbers since it was attached, and a few present readings. */

import type { Clock } from "./clock.ts";
import type { ConflictReason } from "./conflict.ts";
import type { FileGauge, FileMetrics } from "./file-gauge.ts";
import type { Histogram } from "./histogram.ts";
import { type PeerMetrics, peerMetrics } from "./lag.ts";
import type { OriginMarks, Store } from "./log/store.ts";
import type { MergeScheduler } from "./merge/scheduler.ts";
import type { MergeResult } from "./native.ts";
import type { SnapshotResult } from "./snapshot/snapshot.ts";
import type { Snapshots } from "./snapshot/snapshots.ts";
import type { LinkHost } from "./sync/link-host.ts";
import { medianSkew } from "./sync/skew.ts";
import type { Waiters } from "./waiters.ts";

export interface Metrics extends VerifyMetrics {
  /** Local transactions captured, and the patches in them. */
  localCommits: number;
  localPatches: number;
  /** Remote changesets merged, the patches in them, and how many of those lost or had to wait. */
  mergedChangesets: number;
  mergedPatches: number;
  lostPatches: number;
  parkedPatches: number;
  refusedChangesets: number;
  /** Remote inserts that met a row which another peer had inserted later under the same key. */
  keyCollisions: number;
  mergeErrors: number;
  /** Conflicts told of, by reason. */
  conflicts: Record<ConflictReason, number>;
  /** How long slices of merging held the event loop, and the longest of them, in ms. */
  mergeSlices: Histogram;
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
  /** Calls of `wait`, `drain` and `synced` that were given up: their signal aborted first. */
  waitTimeouts: number;
  snapshots: number;
  snapshotFailures: number;
  /** The one made last; null before the first. */
  lastSnapshot: SnapshotResult | null;
  /** What {@link Replica.measure} read last; null before that. */
  file: FileMetrics | null;
  /** The peers that are linked now. */
  peers: PeerMetrics[];
  /** Row clocks of dead rows that have been dropped, and those that the last sweep has left. */
  tombstonesDropped: number;
  tombstones: number;
}

/** What comparing tables with peers has come to. */
export interface VerifyMetrics {
  /** Wall time in ms at which the last comparison ended; 0 before the first. */
  verifiedAtMs: number;
  /** Differences it found. */
  verifyDifferences: number;
  /** Rows changed here by repairs, this peer's or those that others asked for. */
  repairedRows: number;
  /** Rows that repairs have written anew here, for all peers. */
  rewrittenRows: number;
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
  | "keyCollisions"
  | "mergeErrors"
  | "linksOpened"
>;

/** The parts of a replica that count. */
export interface MetricsSource {
  readonly store: Store;
  readonly options: { readonly clock: Clock };
  readonly counters: Counters;
  /** Of links that have ended. */
  readonly totals: LinkTotals;
  readonly marks: readonly OriginMarks[];
  readonly hub: { readonly liveLinks: readonly LinkHost[] };
  readonly scheduler: Pick<MergeScheduler, "slices" | "queuedBytes">;
  readonly conflicts: { readonly counts: Metrics["conflicts"] };
  readonly waiters: Pick<Waiters, "abortedCount">;
  readonly snapshots: Pick<Snapshots, "counts">;
  readonly verifier: { readonly counters: VerifyMetrics };
  readonly gauge: Pick<FileGauge, "latest">;
  readonly floor: {
    readonly sweeper: { readonly dropped: number; readonly kept?: number | undefined };
  };
}

export function noCounters(): Counters {
  return {
    mergedChangesets: 0,
    mergedPatches: 0,
    lostPatches: 0,
    parkedPatches: 0,
    refusedChangesets: 0,
    keyCollisions: 0,
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

/** What the replica's parts know, now. */
export function metricsOf(core: MetricsSource): Metrics {
  const { store, scheduler, options } = core;
  const links = core.hub.liveLinks;
  const totals = { ...core.totals };
  let waitingMessages = 0;
  for (const link of links) {
    addTotals(totals, link.metrics);
    waitingMessages += link.metrics.waitingMessages;
  }
  const { clockCacheEntries, clockCacheBytes, localCommits, localPatches } = store.counters();
  const skews = links.flatMap(({ skew }) => skew ?? []);
  const seen = { marks: core.marks, nowMs: options.clock.now() };
  return {
    ...core.counters,
    ...totals,
    ...core.snapshots.counts,
    ...core.verifier.counters,
    localCommits,
    localPatches,
    clockCacheEntries,
    clockCacheBytes,
    conflicts: { ...core.conflicts.counts },
    mergeSlices: scheduler.slices.histogram,
    mergeSliceMsMax: scheduler.slices.maxMs,
    mergeQueueBytes: scheduler.queuedBytes,
    links: links.length,
    waitingMessages,
    clockSkewMs: Math.round(medianSkew(skews) ?? 0),
    waitTimeouts: core.waiters.abortedCount,
    tombstonesDropped: core.floor.sweeper.dropped,
    tombstones: core.floor.sweeper.kept ?? 0,
    file: core.gauge.latest ?? null,
    peers: links.map((link) => peerMetrics(store, link, seen)),
  };
}
