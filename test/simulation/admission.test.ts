/**
 * That nobody brings back what is older than a floor is checked, too: with what keeps it out taken
 * away, the same histories end badly.
 */
import { describe, expect, it } from "vitest";
import { fairWeather } from "./network.ts";
import { type Action, calmPeer, type Event, type PeerPlan, type Plan } from "./plan.ts";
import { simulate } from "./world.ts";

const peer: PeerPlan = { ...calmPeer, trim: "age", retentionMs: 20_000 };

function worldOf(peers: number, events: readonly Event[]): Plan {
  return {
    seed: 1,
    ticks: 60,
    tickMs: 1_000,
    topology: "chain",
    kind: "stream",
    heartbeatMs: 1_000,
    driftMaxMs: 60_000,
    weather: fairWeather,
    chunkBytes: 1_000,
    floors: true,
    peers: Array.from({ length: peers }, () => peer),
    events: [...events].sort((a, b) => a.tick - b.tick),
  };
}

/** A transaction that enters the next number into the journal, and takes out the oldest. */
function entry(number: number, erases = false): Action {
  const write = { do: "write", peer: number, steps: [], end: "COMMIT", bytes: 0 } as const;
  return erases ? { ...write, erase: 0 } : write;
}

const apart = (peers: number[]): Action => ({
  do: "partition",
  peers,
  way: "both",
  ticks: 1_000,
  flaps: 0,
});
const at = (tick: number, action: Action): Event => ({ tick, action });

/** Peer 1 goes back to before a delete whose tombstone peer 0 has dropped, and both have new ids. */
const setBack: readonly Event[] = [
  at(2, entry(0)),
  at(6, { do: "backup", peer: 1 }),
  at(8, entry(1, true)),
  at(10, { do: "idle", ms: 60_000 }),
  at(12, apart([0])),
  at(14, { do: "restore", peer: 1, ticks: 3 }),
  at(22, { do: "power", peer: 0, ticks: 3, keep: 40 }),
];

/** Peer 2 writes while it is away, is forgotten, and comes back with a new id. */
const forgotten: readonly Event[] = [
  at(2, entry(0)),
  at(6, apart([2])),
  at(8, entry(2)),
  at(9, { do: "backup", peer: 2 }),
  at(9, entry(0, true)),
  at(10, { do: "forget", peer: 1, other: 2 }),
  at(12, { do: "idle", ms: 60_000 }),
  at(14, { do: "idle", ms: 60_000 }),
  at(18, { do: "restore", peer: 2, ticks: 3 }),
];

describe("what is older than a floor", () => {
  it("stays away, although files go back in time", { timeout: 240_000 }, async () => {
    expect((await simulate(worldOf(2, setBack))).violation).toBeUndefined();
  });

  it("comes back if a file forgets what it has dropped", { timeout: 240_000 }, async () => {
    const sql = "DELETE FROM _mergelite_meta WHERE key = 'swept'";
    const forgets = at(20, { do: "sabotage", peer: 0, sql });
    const { violation } = await simulate(worldOf(2, [...setBack, forgets]));
    expect(violation).toMatch(/hold the same and show|resurrected/);
  });

  it("is written again by who was forgotten", { timeout: 240_000 }, async () => {
    expect((await simulate(worldOf(3, forgotten))).violation).toBeUndefined();
  });

  it("never arrives if everybody vouches for everybody", { timeout: 240_000 }, async () => {
    const { violation } = await simulate(worldOf(3, [...forgotten, at(16, { do: "vouch" })]));
    expect(violation).toMatch(/not converged in time/);
  });
});
