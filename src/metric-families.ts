/** What of a replica's metrics is told to whoever scrapes them, and by which names. */
import type { Metrics } from "./metrics.ts";
import type { Family as FamilyOf, Sample } from "./metrics-text.ts";

type Family = FamilyOf<Metrics>;

type NumberKey = {
  [Key in keyof Metrics]: Metrics[Key] extends number ? Key : never;
}[keyof Metrics];

const ms = 1 / 1000;

export const families: readonly Family[] = [
  counter("local_commits", "localCommits", "Local transactions captured."),
  counter("local_patches", "localPatches", "Patches in them: one a row written."),
  counter("merged_changesets", "mergedChangesets", "Remote changesets merged."),
  counter("merged_patches", "mergedPatches", "Patches in them."),
  counter("lost_patches", "lostPatches", "Remote patches that lost against a newer write."),
  counter("parked_patches", "parkedPatches", "Remote patches that had to wait."),
  counter("refused_changesets", "refusedChangesets", "Remote changesets that made no sense."),
  counter("key_collisions", "keyCollisions", "Remote inserts that met another peer's row."),
  counter("merge_errors", "mergeErrors", "Slices of merging that the database did not allow."),
  {
    name: "conflicts",
    type: "counter",
    help: "Conflicts told of, by reason.",
    samples: ({ conflicts }) => byLabel("reason", conflicts),
  },
  {
    name: "merge_slice_seconds",
    type: "histogram",
    unit: "seconds",
    help: "How long slices of merging held the event loop.",
    samples: ({ mergeSlices: { buckets, count, sumMs } }) => [
      ...buckets.map(({ leMs, count: value }) => ({
        suffix: "_bucket",
        labels: { le: bound(leMs * ms) },
        value,
      })),
      { suffix: "_bucket", labels: { le: "+Inf" }, value: count },
      { suffix: "_count", value: count },
      { suffix: "_sum", value: sumMs * ms },
    ],
  },
  gauge("merge_slice_max_seconds", "mergeSliceMsMax", "The longest of them.", "seconds"),
  gauge("merge_queue_bytes", "mergeQueueBytes", "Received and not merged yet.", "bytes"),
  gauge("connected_peers", "links", "Live links."),
  counter("links_opened", "linksOpened", "Links that went live."),
  {
    name: "messages",
    type: "counter",
    help: "Messages over all links, by direction.",
    samples: ({ sentMessages, receivedMessages }) =>
      byLabel("direction", { sent: sentMessages, received: receivedMessages }),
  },
  {
    name: "message_bytes",
    type: "counter",
    unit: "bytes",
    help: "Bytes of them, by direction.",
    samples: ({ sentBytes, receivedBytes }) =>
      byLabel("direction", { sent: sentBytes, received: receivedBytes }),
  },
  gauge("waiting_messages", "waitingMessages", "Messages that transports have not taken yet."),
  counter("retransmissions", "retransmissions", "Changesets sent again for want of an answer."),
  counter("received_changesets", "receivedChangesets", "Changesets received over all links."),
  counter("duplicate_changesets", "duplicateChangesets", "Those of them that had come before."),
  counter("wants", "wants", "Requests for changesets that were announced and did not come."),
  gauge(
    "verify_timestamp_seconds",
    "verifiedAtMs",
    "When tables were last compared with a peer's; 0 before.",
    "seconds",
  ),
  gauge("verify_differences", "verifyDifferences", "Rows that were found to differ."),
  counter("repaired_rows", "repairedRows", "Rows changed here by repairs."),
  counter("rewritten_rows", "rewrittenRows", "Rows written anew by repairs, for all peers."),
  {
    name: "peer_lag_changesets",
    type: "gauge",
    help: "Changesets held here that a linked peer has not acknowledged.",
    samples: ({ peers }) => byPeer(peers, ({ lagChangesets }) => lagChangesets),
  },
  {
    name: "peer_lag_seconds",
    type: "gauge",
    unit: "seconds",
    help: "Age of the oldest of them.",
    samples: ({ peers }) => byPeer(peers, ({ lagMs }) => lagMs * ms),
  },
  gauge(
    "clock_skew_seconds",
    "clockSkewMs",
    "Ahead of the clocks of most linked peers.",
    "seconds",
  ),
  counter("wait_timeouts", "waitTimeouts", "Calls of wait, drain and synced that were given up."),
  gauge("clock_cache_entries", "clockCacheEntries", "Row clocks in memory, not folded yet."),
  gauge("clock_cache_bytes", "clockCacheBytes", "Memory of them.", "bytes"),
  counter("tombstones_dropped", "tombstonesDropped", "Row clocks of dead rows that have gone."),
  gauge("tombstones", "tombstones", "Those that the last sweep has left."),
  ofFile("database_bytes", "The database file.", ({ databaseBytes }) => databaseBytes, "bytes"),
  ofFile("log_changesets", "Changesets in the log.", ({ logChangesets }) => logChangesets),
  ofFile("log_bytes", "Their payloads.", ({ logBytes }) => logBytes, "bytes"),
  ofFile("metadata_bytes", "Other tables of mergelite.", (file) => file.metadataBytes, "bytes"),
  ofFile("refused", "Refused changesets that are kept.", (file) => file.refusedChangesets),
  {
    name: "parked",
    type: "gauge",
    help: "Patches that wait, and marks, by reason.",
    samples: ({ file }) => byLabel("reason", file?.parked ?? {}),
  },
  counter("snapshots", "snapshots", "Snapshots made."),
  counter("snapshot_failures", "snapshotFailures", "Snapshots that failed."),
  ofSnapshot(
    "last_snapshot_timestamp_seconds",
    "When the last one was begun.",
    "seconds",
    (one) => one.atMs * ms,
  ),
  ofSnapshot("last_snapshot_bytes", "Its size.", "bytes", (one) => one.bytes),
  ofSnapshot(
    "last_snapshot_duration_seconds",
    "How long it took.",
    "seconds",
    (one) => one.tookMs * ms,
  ),
];

function counter(name: string, key: NumberKey, help: string): Family {
  return { name, type: "counter", help, samples: (metrics) => [{ value: metrics[key] }] };
}

function gauge(name: string, key: NumberKey, help: string, unit?: Family["unit"]): Family {
  const scale = unit === "seconds" ? ms : 1;
  return {
    name,
    type: "gauge",
    help,
    ...(unit === undefined ? {} : { unit }),
    samples: (metrics) => [{ value: metrics[key] * scale }],
  };
}

function ofFile(
  name: string,
  help: string,
  read: (file: NonNullable<Metrics["file"]>) => number,
  unit?: Family["unit"],
): Family {
  return {
    name,
    type: "gauge",
    help,
    ...(unit === undefined ? {} : { unit }),
    samples: ({ file }) => (file === null ? [] : [{ value: read(file) }]),
  };
}

function ofSnapshot(
  name: string,
  help: string,
  unit: NonNullable<Family["unit"]>,
  read: (snapshot: NonNullable<Metrics["lastSnapshot"]>) => number,
): Family {
  return {
    name,
    type: "gauge",
    unit,
    help,
    samples: ({ lastSnapshot }) => (lastSnapshot === null ? [] : [{ value: read(lastSnapshot) }]),
  };
}

function byLabel(label: string, values: Readonly<Record<string, number>>): Sample[] {
  return Object.entries(values).map(([name, value]) => ({ labels: { [label]: name }, value }));
}

function byPeer(
  peers: Metrics["peers"],
  read: (peer: Metrics["peers"][number]) => number,
): Sample[] {
  return peers.map((peer) => ({
    // Two links may lead to one peer for a moment: the name tells them apart.
    labels: { peer: String(peer.peerId), link: peer.name },
    value: read(peer),
  }));
}

/** Spelled as a number with a fraction, as the specification wants it. */
function bound(seconds: number): string {
  return Number.isInteger(seconds) ? seconds.toFixed(1) : String(seconds);
}
