/** Replicas on virtual time in the usual topologies, and what each changeset costs them. */
import { World, type WorldLink, type WorldOptions, type WorldReplica } from "./world.ts";

export interface Cost {
  /** Times a changeset was received, a replica that had to get it. */
  copies: number;
  /** Bytes sent a changeset and replica that had to get it, and of these in CHANGES. */
  bytes: number;
  changesBytes: number;
  /** From the commit to the last replica, median and longest, in ms. */
  medianMs: number;
  maxMs: number;
}

export const topologies = {
  "hub and 19 spokes": (world: World) => {
    const [hub, ...spokes] = replicas(world, 20);
    for (const spoke of spokes) join(world, hub, spoke);
  },
  "chain of 10": (world: World) => {
    const chain = replicas(world, 10);
    for (let i = 1; i < chain.length; i++) join(world, chain[i - 1], chain[i]);
  },
  "ring of 10": (world: World) => {
    const ring = replicas(world, 10);
    for (let i = 0; i < ring.length; i++) join(world, ring[i], ring[(i + 1) % ring.length]);
  },
  "full mesh of 20": (world: World) => {
    const mesh = replicas(world, 20);
    for (let i = 0; i < mesh.length; i++) {
      for (let j = 0; j < i; j++) join(world, mesh[j], mesh[i]);
    }
  },
  "two hubs, flaky bridge, 8 spokes each": (world: World) => {
    const [left, right, ...spokes] = replicas(world, 18);
    for (const [index, spoke] of spokes.entries()) join(world, index % 2 ? left : right, spoke);
    const bridge = () => {
      const links = join(world, left, right);
      world.after(700, () => {
        for (const link of links) link.end();
        world.after(300, bridge);
      });
    };
    bridge();
  },
} satisfies Record<string, (world: World) => void>;

export type Topology = keyof typeof topologies;

export function makeWorld(name: Topology, seed = 1): World {
  const options: WorldOptions = { seed, loss: 0, repetition: 0, delayMsMax: 10 };
  const world = new World(options);
  topologies[name](world);
  world.run(1_000);
  return world;
}

/**
 * `rounds` rounds in which the first `writers` replicas commit once each, spread over a second of
 * virtual time. The first time this measures how links learn the ways, later what they cost.
 */
export function measure(world: World, { rounds = 5, writers = world.replicas.length } = {}): Cost {
  const before = totals(world);
  const latencies = commitRounds(world, rounds, writers).sort((a, b) => a - b);
  const after = totals(world);
  const deliveries = rounds * writers * (world.replicas.length - 1);
  return {
    copies: (after.received - before.received) / deliveries,
    bytes: (after.bytes - before.bytes) / deliveries,
    changesBytes: (after.changesBytes - before.changesBytes) / deliveries,
    medianMs: latencies[Math.floor(latencies.length / 2)] ?? 0,
    maxMs: latencies.at(-1) ?? 0,
  };
}

/** Each commit's time until every replica had it. */
function commitRounds(world: World, rounds: number, writers: number): number[] {
  const latencies: number[] = [];
  for (let round = 0; round < rounds; round++) {
    for (const replica of world.replicas.slice(0, writers)) {
      world.after(world.random() * 1_000, () => {
        replica.commit(1);
        const { nowMs } = world;
        const sequence = replica.held.get(replica.peerId) ?? 0;
        const check = () => {
          const isHeld = (one: WorldReplica) => (one.held.get(replica.peerId) ?? 0) >= sequence;
          if (world.replicas.every(isHeld)) latencies.push(world.nowMs - nowMs);
          else world.after(1, check);
        };
        check();
      });
    }
    world.run(1_000);
  }
  world.run(10_000);
  return latencies;
}

function totals(world: World) {
  const sum = { received: 0, bytes: 0, changesBytes: 0 };
  for (const { state, sentBytes } of world.links) {
    sum.received += state.metrics.receivedChangesets;
    sum.changesBytes += state.metrics.sentChangesBytes;
    sum.bytes += sentBytes;
  }
  return sum;
}

function replicas(world: World, count: number): WorldReplica[] {
  return Array.from({ length: count }, (_, index) => world.replica(2 ** 40 + index * 2 ** 30));
}

function join(world: World, left?: WorldReplica, right?: WorldReplica): WorldLink[] {
  return left === undefined || right === undefined ? [] : world.join(left, right);
}
