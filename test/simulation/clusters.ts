/** What a changeset costs in larger clusters without faults: copies received, bytes, and time. */
import { runningOf } from "./checks.ts";
import { fairWeather } from "./network.ts";
import type { Peer } from "./peer.ts";
import { calmPeer, type PeerPlan, type Plan, type Topology } from "./plan.ts";
import { World } from "./world.ts";

interface Cluster {
  readonly topology: Topology;
  readonly peers: number;
  /** The bridge between the first two is broken for 300 ms of each second. */
  readonly flaky: boolean;
}

const clusters = {
  "hub and 19 spokes": { topology: "hub", peers: 20, flaky: false },
  "chain of 10": { topology: "chain", peers: 10, flaky: false },
  "ring of 10": { topology: "ring", peers: 10, flaky: false },
  "full mesh of 20": { topology: "mesh", peers: 20, flaky: false },
  "two hubs of 8 spokes, the bridge silent for 300 ms of each second": {
    topology: "two hubs",
    peers: 18,
    flaky: true,
  },
} as const satisfies Record<string, Cluster>;

export type ClusterName = keyof typeof clusters;
export const clusterNames = Object.keys(clusters) as ClusterName[];

export interface Cost {
  /** Times a changeset was received, for each replica that had to get it. */
  readonly copies: number;
  /** The same of the first changesets of each origin, from which links learn the ways. */
  readonly copiesAtFirst: number;
  /** Bytes sent for each changeset and replica that had to get it. */
  readonly bytes: number;
  /** From the commit to the last replica, in ms. */
  readonly medianMs: number;
  readonly maxMs: number;
}

const peer: PeerPlan = { ...calmPeer, stepMs: 0 };
const roundMs = 1_000;
const settleMs = 10_000;

export async function measureCluster(name: ClusterName): Promise<Cost> {
  const { topology, peers, flaky }: Cluster = clusters[name];
  const world = new World(planOf(topology, peers), {});
  try {
    await world.run();
    if (flaky) breakNowAndThen(world);
    await world.time.run(roundMs);
    const first = await measure(world, 3);
    const cost = await measure(world, 5);
    return { ...cost, copiesAtFirst: first.copies };
  } finally {
    await world.close(undefined);
  }
}

function planOf(topology: Topology, peers: number): Plan {
  return {
    seed: 1,
    ticks: 0,
    tickMs: 1,
    topology,
    kind: "stream",
    heartbeatMs: 5_000,
    driftMaxMs: 60_000,
    weather: { ...fairWeather, delayMs: { min: 1, max: 10 } },
    chunkBytes: 262_144,
    peers: Array.from({ length: peers }, () => peer),
    events: [],
  };
}

function breakNowAndThen({ network, time }: World): void {
  const both = (what: "block" | "unblock") => {
    network[what](0, 1);
    network[what](1, 0);
  };
  const round = () => {
    both("block");
    time.after(300, () => both("unblock"));
    time.after(1_000, round);
  };
  round();
}

/** Rounds of a second, in each of which every replica commits once. */
async function measure(world: World, rounds: number): Promise<Omit<Cost, "copiesAtFirst">> {
  const { peers, time, chance } = world;
  const before = totals(peers);
  const latencies: number[] = [];
  for (let round = 0; round < rounds; round++) {
    for (const one of peers) {
      time.after(chance.next() * roundMs, () => commit(world, one, (ms) => latencies.push(ms)));
    }
    await time.run(roundMs);
  }
  await time.run(settleMs);
  const after = totals(peers);
  const deliveries = rounds * peers.length * (peers.length - 1);
  const sorted = latencies.sort((a, b) => a - b);
  if (sorted.length < rounds * peers.length) throw new Error("changesets are missing");
  return {
    copies: (after.received - before.received) / deliveries,
    bytes: (after.bytes - before.bytes) / deliveries,
    medianMs: sorted[sorted.length >> 1] ?? 0,
    maxMs: sorted.at(-1) ?? 0,
  };
}

/** Tells how long it took until all had it. */
function commit({ peers, time }: World, writer: Peer, onHeldByAll: (ms: number) => void): void {
  const statement = { table: 0, kind: 1, key: writer.number, value: 3 };
  writer.burst(1, statement);
  const origin = writer.peerId;
  const sequence = writer.held.get(origin) ?? 0;
  const startMs = time.nowMs;
  let waiting: readonly Peer[] = peers;
  const look = () => {
    waiting = waiting.filter(({ held }) => (held.get(origin) ?? 0) < sequence);
    if (waiting.length === 0) onHeldByAll(time.nowMs - startMs);
    else time.after(1, look);
  };
  look();
}

function totals(peers: readonly Peer[]): { received: number; bytes: number } {
  const sum = { received: 0, bytes: 0 };
  for (const { running } of runningOf(peers)) {
    const { receivedChangesets, sentBytes } = running.replica.metrics();
    sum.received += receivedChangesets;
    sum.bytes += sentBytes;
  }
  return sum;
}

export const tableHead = `| topology | copies received | at first | bytes sent | median, longest ms to the last replica |
|---|---:|---:|---:|---:|
`;

export function tableRow(name: ClusterName, cost: Cost): string {
  const { copies, copiesAtFirst, bytes, medianMs, maxMs } = cost;
  const cells = [
    name,
    copies.toFixed(2),
    copiesAtFirst.toFixed(2),
    Math.round(bytes),
    `${medianMs}, ${maxMs}`,
  ];
  return `| ${cells.join(" | ")} |\n`;
}
