/** What a policy lets go, and when the log is looked at. */
import { describe, expect, it } from "vitest";
import { ReplicaError } from "../../src/errors.ts";
import { type KnownPeer, planOf, Trimmer, type TrimPlan } from "../../src/log/trim.ts";
import { VirtualClock } from "./transport/virtual-clock.ts";

const at = (ms: number) => (ms - Date.UTC(2025, 0, 1)) * 8192;
const peers = [
  {
    vector: new Map([
      [1, 10],
      [2, 5],
    ]),
  },
  {
    vector: new Map([
      [1, 7],
      [3, 2],
    ]),
  },
];

describe("a trim plan", () => {
  const olderThanMs = Date.UTC(2026, 0, 1);
  it("by age goes by timestamps, and keeps what nobody else holds", () => {
    const plan = planOf(peers, { policy: "age", olderThanMs });
    expect(plan.timestamp).toBe(at(olderThanMs));
    expect([...plan.heldByAll]).toEqual([]);
    expect([...plan.acknowledged]).toEqual([
      [1, 10],
      [2, 5],
      [3, 2],
    ]);
    expect(plan.alone).toBe(false);
  });

  it("by peers goes by the least that any of them holds", () => {
    const plan = planOf(peers, { policy: "held", olderThanMs });
    expect(plan.timestamp).toBe(0);
    expect([...plan.heldByAll]).toEqual([
      [1, 7],
      [2, 0],
      [3, 0],
    ]);
    expect(planOf([], { policy: "held", olderThanMs })).toMatchObject({
      alone: true,
      timestamp: 0,
    });
  });

  it("by either goes by both", () => {
    const plan = planOf(peers, { policy: "either", olderThanMs });
    expect([plan.timestamp, plan.heldByAll.get(1)]).toEqual([at(olderThanMs), 7]);
    expect(planOf(peers, { policy: "age", olderThanMs: 0 }).timestamp).toBe(0);
  });
});

describe("the trimmer", () => {
  function make(
    known: KnownPeer[],
    results: { changesets: number; busy: boolean; more: boolean }[],
    { isFull = false } = {},
  ) {
    const clock = new VirtualClock();
    const plans: TrimPlan[] = [];
    const told: string[] = [];
    const store = {
      peers: () => known,
      notePeer: ({ peerId }: { peerId: number }) => {
        if (isFull) throw new ReplicaError("SQLITE", "database or disk is full");
        return told.push(`note ${peerId}`) > 0;
      },
      trim: (plan: TrimPlan) => {
        plans.push(plan);
        return results.shift() ?? { changesets: 0, busy: false, more: false };
      },
    };
    const trimmer = new Trimmer(
      store,
      { clock, mergeSliceMs: 4, trim: "either", retentionMs: 3_600_000 },
      {
        linked: () => [{ peerId: 9, remoteVector: new Map() }],
        onTrimmed: () => told.push("trimmed"),
        onError: (error) => told.push(error.code),
      },
    );
    return { clock, plans, told, trimmer };
  }
  const peer = (peerId: number, forgotten: boolean) => ({
    peerId,
    vector: new Map([[1, peerId]]),
    heardMs: 0,
    forgotten,
  });

  it("goes on in slices, waits for a busy database, and tells once", async () => {
    const { clock, plans, told, trimmer } = make(
      [peer(5, false), peer(2, true)],
      [
        { changesets: 3, busy: false, more: true },
        { changesets: 0, busy: true, more: false },
        { changesets: 0, busy: false, more: false },
      ],
    );
    await clock.advance(61_000);
    expect(plans).toHaveLength(3);
    // The forgotten peer holds nothing back.
    expect(plans[0]?.heldByAll.get(1)).toBe(5);
    expect(told).toEqual(["note 9", "trimmed"]);
    await clock.advance(61_000);
    expect(plans).toHaveLength(4);
    expect(told.filter((one) => one === "trimmed")).toHaveLength(1);
    trimmer.close();
    await clock.advance(600_000);
    expect(plans).toHaveLength(4);
  });

  it("looks as seldom as ever when a full disk does not let it note who is linked", async () => {
    const { clock, plans, told, trimmer } = make([peer(5, false)], [], { isFull: true });
    trimmer.note({ peerId: 9, remoteVector: new Map() });
    await clock.advance(301_000);
    expect(plans).toHaveLength(5);
    expect(told).toHaveLength(6);
    trimmer.close();
    await clock.advance(600_000);
    expect(plans).toHaveLength(5);
  });
});
