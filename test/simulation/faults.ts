/** What can be done to a world, drawn from chance: writes, and faults of all kinds. */
import type { Weather } from "./network.ts";
import type { Action, PeerPlan, PlanSize, Step } from "./plan.ts";
import type { Chance } from "./random.ts";
import type { Statement } from "./schema.ts";
import { firstVersion, lastVersion } from "./versions.ts";

export interface FaultyWorld extends PlanSize {
  readonly tickMs: number;
  /** One peer id may come to stand for two histories. */
  readonly forks: boolean;
  /** Hours pass. */
  readonly isSlow: boolean;
  /** Peers go up and down through versions of the schema. */
  readonly isVersioned: boolean;
}

/** What a log is kept for, in ms. */
const retentions = [1_000, 1_000, 5_000, 60_000, 25 * 3_600_000];
/** Where hours pass: upkeep goes by the retention, and hours full of seconds show nothing new. */
const slowRetentions = [60_000, 60_000, 300_000, 3_600_000, 25 * 3_600_000];
const idleMsMax = 60_000;

function drawStatement(chance: Chance): Statement {
  return {
    table: chance.int(0, 3),
    kind: chance.int(0, 39),
    key: chance.int(0, 23),
    value: chance.int(0, 255),
  };
}

export function drawWrite(chance: Chance, peers: number): Action {
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
  const write = {
    do: "write",
    peer,
    steps,
    end,
    bytes: isLarge ? chance.int(900_000, 2_500_000) : 0,
  } as const;
  const journal = chance.stream("journal");
  return journal.chance(0.3) ? { ...write, erase: journal.int(0, 99) } : write;
}

export function drawFault(chance: Chance, world: FaultyWorld): Action {
  const { peers: count, tickMs } = world;
  const peer = chance.int(0, count + 1);
  const other = chance.int(0, count + 1);
  const ticks = chance.pick([1, 3, 10, 30]);
  const offsets = [0, -3_600_000, -5_000, 1_000, 10_000, 90_000];
  switch (chance.int(0, 17)) {
    case 0:
    case 1:
    case 2: {
      const peers = Array.from({ length: count + 2 }, (_, i) => i);
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
      return { do: "copy", peer, other, plan: drawPeer(chance, world) };
    case 13:
      return { do: "join", other, plan: drawPeer(chance, world) };
    case 14:
      return chance.chance(0.5) ? { do: "leave", peer } : { do: "migrate", peer };
    case 15:
      return { do: "idle", ms: Math.min(tickMs * chance.pick([10, 100, 1_000]), idleMsMax) };
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

/** What one does not meet every day, but has to live through. */
export function drawRareFault(chance: Chance, world: FaultyWorld): Action | undefined {
  const { peers: count, tickMs, forks, isSlow } = world;
  const peer = chance.int(0, count + 1);
  const other = chance.int(0, count + 1);
  // For longer than a log is kept.
  const ticks = Math.ceil(chance.pick([1_500, 6_000]) / tickMs);
  switch (chance.int(0, 9)) {
    case 0:
    case 1:
      return { do: "close", peer, ticks };
    case 2:
      return { do: "crash", peer, ticks, inside: false };
    case 3:
    case 4:
      return { do: "partition", peers: [peer], way: "both", ticks, flaps: 0 };
    case 5:
      return { do: "forget", peer, other };
    case 6:
      return { do: "leave", peer, forget: true };
    case 7:
      return { do: "idle", ms: isSlow ? 3_600_000 : 5_000 };
    case 8:
      if (isSlow) return { do: "clock", peer, offsetMs: 3_600_000, rate: 0 };
      return forks ? { do: "backup", peer } : undefined;
    default:
      if (!forks) return undefined;
      return chance.chance(0.5)
        ? { do: "restore", peer, ticks: 3, inPlace: true }
        : { do: "copy", peer, other, plan: drawPeer(chance, world), twin: true };
  }
}

/** What leaves a peer behind a floor, and what waits for it. */
export function drawAbsence(chance: Chance, { peers: count, tickMs }: FaultyWorld): Action {
  const peer = chance.int(0, count + 1);
  const other = chance.int(0, count + 1);
  const ticks = Math.ceil(chance.pick([15_000, 60_000]) / tickMs);
  switch (chance.int(0, 7)) {
    case 0:
    case 1:
      return { do: "forget", peer, other };
    case 2:
      return { do: "partition", peers: [peer], way: "both", ticks, flaps: 0 };
    case 3:
      return { do: "close", peer, ticks };
    case 4:
      return { do: "backup", peer };
    case 5:
      return { do: "restore", peer, ticks: 3 };
    default:
      return { do: "idle", ms: chance.pick([20_000, 60_000]) };
  }
}

/** Writes at whatever version a peer is, and now and then another version. */
export function drawVersioned(chance: Chance, { peers }: FaultyWorld): Action[] {
  const peer = chance.int(0, peers + 1);
  const actions: Action[] = [];
  if (chance.chance(0.5)) {
    const number = () => chance.int(0, 11);
    const write = { kind: number(), key: number(), column: number(), value: number() };
    actions.push({ do: "versioned write", peer, write });
  }
  if (chance.chance(0.06)) {
    const to = chance.int(firstVersion, lastVersion);
    actions.push({ do: "upgrade", peer: chance.int(0, peers + 1), to });
  }
  return actions;
}

export function drawPeer(
  chance: Chance,
  { isSlow, isVersioned }: Pick<FaultyWorld, "isSlow" | "isVersioned">,
): PeerPlan {
  const log = chance.stream("log");
  const version = chance.stream("version").int(firstVersion, lastVersion);
  return {
    lacks: { table: chance.chance(0.15), column: chance.chance(0.15) },
    ...(isVersioned ? { version } : {}),
    offsetMs: chance.chance(0.3) ? chance.int(-20_000, 20_000) : 0,
    rate: chance.chance(0.2) ? (chance.next() - 0.5) / 50 : 0,
    stepMs: chance.pick([0, 1, 20]),
    mergeSliceMs: chance.pick([1, 4, 100]),
    trim: log.pick(["age", "age", "held", "either", "never"] as const),
    retentionMs: log.pick(isSlow ? slowRetentions : retentions),
  };
}

export function drawWeather(chance: Chance, isCalm: boolean): Weather {
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
