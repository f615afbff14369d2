/** A simulated history as data: everything that will happen, drawn from the seed beforehand. */
import type { Weather } from "./network.ts";
import { Chance } from "./random.ts";
import type { Lacks, Statement } from "./schema.ts";

export const topologies = ["mesh", "chain", "ring", "hub", "two hubs", "tree"] as const;
export type Topology = (typeof topologies)[number];

export interface PeerPlan {
  readonly lacks: Lacks;
  readonly offsetMs: number;
  readonly rate: number;
  /** How long a turn of its event loop takes. */
  readonly stepMs: number;
  readonly mergeSliceMs: number;
}

export type Step = Statement | "savepoint" | "rollback to" | "release";

export type Action =
  /** In one transaction, unless `end` is "none". `bytes` of filling in a further row. */
  | {
      do: "write";
      peer: number;
      steps: readonly Step[];
      end: "COMMIT" | "ROLLBACK" | "none";
      bytes: number;
    }
  | { do: "burst"; peer: number; count: number; statement: Statement }
  | { do: "partition"; peers: number[]; way: "both" | "out" | "in"; ticks: number; flaps: number }
  | { do: "slow"; peer: number; other: number; ticks: number }
  | { do: "weather"; weather: Weather; ticks: number }
  | { do: "crash"; peer: number; ticks: number; inside: boolean }
  | { do: "power"; peer: number; ticks: number; keep: number }
  | { do: "close"; peer: number; ticks: number }
  | { do: "backup"; peer: number }
  | { do: "restore"; peer: number; ticks: number }
  | { do: "copy"; peer: number; other: number; plan: PeerPlan }
  | { do: "join"; other: number; plan: PeerPlan }
  | { do: "leave"; peer: number }
  | { do: "clock"; peer: number; offsetMs: number; rate: number }
  | { do: "migrate"; peer: number }
  | { do: "checkpoint"; peer: number }
  | { do: "idle"; ms: number };

export interface Event {
  readonly tick: number;
  readonly action: Action;
}

export interface Plan {
  readonly seed: number;
  readonly ticks: number;
  readonly tickMs: number;
  readonly topology: Topology;
  readonly kind: "stream" | "datagram" | "both";
  readonly heartbeatMs: number;
  readonly driftMaxMs: number;
  readonly weather: Weather;
  readonly peers: readonly PeerPlan[];
  readonly events: readonly Event[];
}

export interface PlanSize {
  readonly seed: number;
  readonly peers: number;
  readonly ticks: number;
  readonly topology?: Topology | undefined;
  /** Kinds of actions that are left out. */
  readonly without?: readonly string[];
}

export function makePlan(size: PlanSize): Plan {
  const chance = new Chance(size.seed);
  const shape = chance.stream("shape");
  const tickMs = shape.pick([20, 100, 500]);
  const topology = shape.pick(topologies);
  const isCalm = shape.chance(0.2);
  const peers = Array.from({ length: size.peers }, (_, i) => drawPeer(chance.stream(`peer${i}`)));
  const events: Event[] = [];
  for (let tick = 0; tick < size.ticks; tick++) {
    const dice = chance.stream(`tick${tick}`);
    for (let left = dice.int(0, 2); left > 0; left--) {
      events.push({ tick, action: drawWrite(dice.stream(left), size.peers) });
    }
    if (isCalm || !dice.chance(0.25)) continue;
    const action = drawFault(dice.stream("fault"), size, tickMs);
    if (!size.without?.includes(action.do)) events.push({ tick, action });
  }
  return {
    seed: size.seed,
    ticks: size.ticks,
    tickMs,
    topology: size.topology ?? topology,
    kind: shape.pick(["stream", "datagram", "both"]),
    heartbeatMs: shape.pick([1_000, 5_000]),
    driftMaxMs: shape.pick([2_000, 60_000]),
    weather: drawWeather(shape, isCalm),
    peers,
    events,
  };
}

function drawPeer(chance: Chance): PeerPlan {
  return {
    lacks: { table: chance.chance(0.15), column: chance.chance(0.15) },
    offsetMs: chance.chance(0.3) ? chance.int(-20_000, 20_000) : 0,
    rate: chance.chance(0.2) ? (chance.next() - 0.5) / 50 : 0,
    stepMs: chance.pick([0, 1, 20]),
    mergeSliceMs: chance.pick([1, 4, 100]),
  };
}

function drawWeather(chance: Chance, isCalm: boolean): Weather {
  const max = chance.pick([3, 30, 300]);
  const delayMs = { min: chance.int(1, max), max };
  if (isCalm) return { loss: 0, repetition: 0, corruption: 0, delayMs, bandwidth: 100_000 };
  return {
    loss: chance.pick([0, 0.01, 0.1, 0.3]),
    repetition: chance.pick([0, 0.1, 0.3]),
    corruption: chance.pick([0, 0, 0.01]),
    delayMs,
    bandwidth: chance.pick([20, 1_000, 100_000]),
  };
}

function drawStatement(chance: Chance): Statement {
  return {
    table: chance.int(0, 3),
    kind: chance.int(0, 39),
    key: chance.int(0, 23),
    value: chance.int(0, 255),
  };
}

function drawWrite(chance: Chance, peers: number): Action {
  const peer = chance.int(0, peers + 1);
  if (chance.chance(0.04)) {
    return { do: "burst", peer, count: chance.int(20, 120), statement: drawStatement(chance) };
  }
  const end = chance.pick(["none", "COMMIT", "COMMIT", "COMMIT", "ROLLBACK"] as const);
  const steps: Step[] = [];
  for (let left = end === "none" ? 1 : chance.int(1, 8); left > 0; left--) {
    const isSavepoint = end !== "none" && chance.chance(0.2);
    if (isSavepoint) steps.push(chance.pick(["savepoint", "rollback to", "release"] as const));
    else steps.push(drawStatement(chance));
  }
  const isLarge = end !== "none" && chance.chance(0.01);
  return { do: "write", peer, steps, end, bytes: isLarge ? chance.int(900_000, 2_500_000) : 0 };
}

function drawFault(chance: Chance, size: PlanSize, tickMs: number): Action {
  const peer = chance.int(0, size.peers + 1);
  const other = chance.int(0, size.peers + 1);
  const ticks = chance.pick([1, 3, 10, 30]);
  const offsets = [0, -3_600_000, -5_000, 1_000, 10_000, 90_000];
  switch (chance.int(0, 17)) {
    case 0:
    case 1:
    case 2: {
      const peers = Array.from({ length: size.peers + 2 }, (_, i) => i);
      const side = peers.filter(() => chance.chance(0.4));
      const way = chance.pick(["both", "out", "in"] as const);
      const flaps = chance.chance(0.3) ? chance.int(1, 4) : 0;
      return { do: "partition", peers: side, way, ticks, flaps };
    }
    case 3:
      return { do: "slow", peer, other, ticks };
    case 4:
      return { do: "weather", weather: drawWeather(chance, false), ticks };
    case 5:
    case 6:
    case 7:
      return { do: "crash", peer, ticks, inside: chance.chance(0.3) };
    case 8:
      return { do: "power", peer, ticks, keep: chance.int(0, 40) };
    case 9:
      return { do: "close", peer, ticks };
    case 10:
      return { do: "backup", peer };
    case 11:
      return { do: "restore", peer, ticks };
    case 12:
      return { do: "copy", peer, other, plan: drawPeer(chance) };
    case 13:
      return { do: "join", other, plan: drawPeer(chance) };
    case 14:
      return chance.chance(0.5) ? { do: "leave", peer } : { do: "migrate", peer };
    case 15:
      return { do: "idle", ms: tickMs * chance.pick([10, 100, 1_000]) };
    case 16:
      return { do: chance.pick(["migrate", "checkpoint"] as const), peer };
    default:
      return {
        do: "clock",
        peer,
        offsetMs: chance.pick(offsets),
        rate: chance.chance(0.3) ? (chance.next() - 0.5) / 20 : 0,
      };
  }
}
