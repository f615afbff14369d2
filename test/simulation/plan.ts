/** A simulated history as data: everything that will happen, drawn from the seed beforehand. */
import type { TrimPolicy } from "../../src/log/trim.ts";
import {
  drawAbsence,
  drawFault,
  drawPeer,
  drawRareFault,
  drawVersioned,
  drawWeather,
  drawWrite,
} from "./faults.ts";
import type { Weather } from "./network.ts";
import { Chance } from "./random.ts";
import type { Lacks, Statement } from "./schema.ts";
import { firstVersion, lastVersion, type VersionedWrite } from "./versions.ts";

export const topologies = ["mesh", "chain", "ring", "hub", "two hubs", "tree"] as const;
export type Topology = (typeof topologies)[number];

export interface PeerPlan {
  readonly lacks: Lacks;
  /** Of the tables whose schema changes meanwhile; undefined where there are none. */
  readonly version?: number;
  readonly offsetMs: number;
  readonly rate: number;
  /** How long a turn of its event loop takes. */
  readonly stepMs: number;
  readonly mergeSliceMs: number;
  readonly trim: TrimPolicy;
  readonly retentionMs: number;
}

/** One whose clock is right and whose log is never trimmed. */
export const calmPeer: PeerPlan = {
  lacks: { table: false, column: false },
  offsetMs: 0,
  rate: 0,
  stepMs: 1,
  mergeSliceMs: 100,
  trim: "never",
  retentionMs: 3_600_000,
};

export type Step = Statement | "savepoint" | "rollback to" | "release";

export type Action =
  /**
   * In one transaction, unless `end` is "none". `bytes` of filling in a further row. A transaction
   * enters a number of its own into the journal, and takes an older one out when `erase` says which.
   */
  | {
      do: "write";
      peer: number;
      steps: readonly Step[];
      end: "COMMIT" | "ROLLBACK" | "none";
      bytes: number;
      erase?: number;
    }
  | { do: "burst"; peer: number; count: number; statement: Statement }
  | { do: "partition"; peers: number[]; way: "both" | "out" | "in"; ticks: number; flaps: number }
  | { do: "slow"; peer: number; other: number; ticks: number }
  | { do: "weather"; weather: Weather; ticks: number }
  | { do: "crash"; peer: number; ticks: number; inside: boolean }
  | { do: "power"; peer: number; ticks: number; keep: number }
  | { do: "close"; peer: number; ticks: number }
  | { do: "backup"; peer: number }
  /** `inPlace`: over the old file, against all advice. */
  | { do: "restore"; peer: number; ticks: number; inPlace?: boolean }
  /** `twin`: nothing tells the copy from the file, as with machines that are cloned. */
  | { do: "copy"; peer: number; other: number; plan: PeerPlan; twin?: boolean }
  | { do: "join"; other: number; plan: PeerPlan }
  | { do: "leave"; peer: number; forget?: boolean }
  /** What `peer` knows of `other` holds nothing back any more, whether it comes back or not. */
  | { do: "forget"; peer: number; other: number }
  | { do: "clock"; peer: number; offsetMs: number; rate: number }
  | { do: "migrate"; peer: number }
  /** Up or down to a version of `versions.ts`. */
  | { do: "upgrade"; peer: number; to: number }
  | { do: "versioned write"; peer: number; write: VersionedWrite }
  | { do: "checkpoint"; peer: number }
  | { do: "idle"; ms: number }
  /** Never drawn: for tests that the checks notice. The file is changed behind the replica's back. */
  | { do: "sabotage"; peer: number; sql: string }
  /** Never drawn: from here on messages of this kind that the peer sends are lost. */
  | { do: "mute"; peer: number; kind: number }
  /** Never drawn: from here on everybody tells everybody that all are members of everything. */
  | { do: "vouch" };

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
  /** What a chunk of state holds at most, so that small tables take many. */
  readonly chunkBytes: number;
  /** Where all peers go in the end, of the tables whose schema changes. */
  readonly version?: number;
  /** Tombstones go: peers agree on floors, and who was left behind is let in again. */
  readonly floors?: boolean;
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
  /** Whether tombstones go. @default false */
  readonly floors?: boolean | undefined;
}

export function makePlan(size: PlanSize): Plan {
  const chance = new Chance(size.seed);
  const shape = chance.stream("shape");
  const floors = size.floors ?? false;
  const drawnMs = shape.pick([20, 100, 500]);
  // Peers agree within seconds, or not at all.
  const tickMs = floors ? Math.max(drawnMs, 100) : drawnMs;
  const topology = shape.pick(topologies);
  const isCalm = shape.chance(0.2);
  const rare = chance.stream("rare");
  // A file set back in place has lost its promise without knowing.
  const forks = !isCalm && rare.chance(0.15) && !floors;
  const versions = chance.stream("versions");
  const world = {
    ...size,
    tickMs,
    forks,
    isSlow: rare.chance(0.1) && !floors,
    isVersioned: versions.chance(0.25) && size.without?.includes("upgrade") !== true,
  };
  const events: Event[] = [];
  const add = (tick: number, action: Action | undefined) => {
    if (action !== undefined && !size.without?.includes(action.do)) events.push({ tick, action });
  };
  for (let tick = 0; tick < size.ticks; tick++) {
    const dice = chance.stream(`tick${tick}`);
    for (let left = dice.int(0, 2); left > 0; left--) {
      add(tick, drawWrite(dice.stream(left), size.peers));
    }
    if (world.isVersioned) {
      for (const action of drawVersioned(dice.stream("versions"), world)) add(tick, action);
    }
    if (isCalm) continue;
    if (dice.chance(0.25)) add(tick, drawFault(dice.stream("fault"), world));
    const rarely = dice.stream("rare");
    if (rarely.chance(0.08)) add(tick, drawRareFault(rarely, world));
    const apart = dice.stream("floors");
    if (floors && apart.chance(0.1)) add(tick, drawAbsence(apart, world));
  }
  const heartbeatMs = shape.pick([1_000, 5_000]);
  return {
    seed: size.seed,
    ticks: size.ticks,
    tickMs,
    topology: size.topology ?? topology,
    kind: shape.pick(["stream", "datagram", "both"]),
    // Where hours pass, a beat a second would be all there is to see.
    heartbeatMs: world.isSlow ? 30_000 : heartbeatMs,
    driftMaxMs: shape.pick([2_000, 60_000]),
    weather: drawWeather(shape, isCalm),
    chunkBytes: rare.pick([100, 1_000, 262_144]),
    floors,
    ...(world.isVersioned ? { version: versions.int(firstVersion, lastVersion) } : {}),
    peers: Array.from({ length: size.peers }, (_, i) => drawPeer(chance.stream(`peer${i}`), world)),
    events,
  };
}
