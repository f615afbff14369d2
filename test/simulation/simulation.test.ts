/** The simulator itself, and the histories that once failed. */
import { describe, expect, it } from "vitest";
import { commandOf } from "./main.ts";
import { makePlan, type Plan } from "./plan.ts";
import { namedSeeds } from "./seeds.ts";
import { shrink } from "./shrink.ts";
import { simulate } from "./world.ts";

describe("the simulator", () => {
  it("does the same from the same seed, to the last byte", { timeout: 60_000 }, async () => {
    const plan = makePlan({ seed: 5, peers: 4, ticks: 40 });
    const traces: string[][] = [[], []];
    for (const trace of traces) {
      const { violation } = await simulate(plan, { onTrace: (line) => trace.push(line) });
      expect(violation).toBeUndefined();
    }
    expect(traces[1]).toEqual(traces[0]);
    expect(traces[0]?.length).toBeGreaterThan(100);
  });

  it("does something else from another seed", { timeout: 60_000 }, async () => {
    const one = await simulate(makePlan({ seed: 6, peers: 2, ticks: 10 }));
    const other = await simulate(makePlan({ seed: 7, peers: 2, ticks: 10 }));
    expect(one.hash).not.toBe(other.hash);
  });

  it("notices what goes wrong, and shrinks it", { timeout: 120_000 }, async () => {
    const good = makePlan({ seed: 8, peers: 3, ticks: 20 });
    // Half an account, written past the statements that always write both sides.
    const half = { table: 1, kind: -1, key: 1, value: 1 };
    const action = { do: "write", peer: 1, steps: [half], end: "none", bytes: 0 } as const;
    const events = [...good.events, { tick: 15, action }].sort((a, b) => a.tick - b.tick);
    const bad: Plan = { ...good, events };
    const { violation } = await simulate(bad);
    expect(violation).toMatch(/shows half of account/);
    const small = await shrink(bad, violation ?? "", { runsMax: 60 });
    expect(small.plan.events).toEqual([expect.objectContaining({ action })]);
    expect(small.plan.peers).toHaveLength(2);
  });
});

describe("histories that once failed", () => {
  for (const { found, size } of namedSeeds) {
    it(found, { timeout: 60_000 }, async () => {
      const { violation } = await simulate(makePlan({ floors: false, ...size }));
      expect(violation, commandOf(size)).toBeUndefined();
    });
  }
});
