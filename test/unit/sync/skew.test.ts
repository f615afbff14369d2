import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { ClockEvent } from "../../../src/replica-events.ts";
import { ClockWatch } from "../../../src/sync/clock-watch.ts";
import { decodeMessage, encodeMessage, type Message } from "../../../src/sync/protocol.ts";
import { createSkew, medianSkew, onReading, skewOf } from "../../../src/sync/skew.ts";
import { World, type WorldLink } from "./world.ts";

const between = (aheadMs: number) => ({ aheadMs, roundTripMs: 0 });

describe("the skew of two clocks", () => {
  it("is right to half the round trip, whatever the ways there and back take", () => {
    const way = fc.integer({ min: 0, max: 500 });
    fc.assert(
      fc.property(
        fc.integer({ min: -1e9, max: 1e9 }),
        fc.array(fc.tuple(way, way), { minLength: 1 }),
        (skew, ways) => {
          const [left, right] = [createSkew(), createSkew()];
          let nowMs = 2e9;
          for (const [there, back] of ways) {
            const told = left.lagMs;
            const reading = { wallMs: nowMs, ...(told === undefined ? {} : { lagMs: told }) };
            onReading(right, reading, nowMs + there - skew);
            nowMs += 1_000;
            const answer = right.lagMs === undefined ? {} : { lagMs: right.lagMs };
            onReading(left, { wallMs: nowMs - skew, ...answer }, nowMs + back);
            nowMs += 1_000;
          }
          const measured = skewOf(left);
          const error = Math.abs((measured?.aheadMs ?? Number.NaN) - skew);
          expect(error).toBeLessThanOrEqual((measured?.roundTripMs ?? 0) / 2);
        },
      ),
      { numRuns: 300, seed: 1 },
    );
  });

  it("is measured by a link on heartbeats", () => {
    const world = new World({ seed: 1, loss: 0, repetition: 0, delayMsMax: 20 });
    const [left, right] = [world.replica(1), world.replica(2)];
    left.clockAheadMs = 3_600_000;
    const [there, back] = world.join(left, right) as [WorldLink, WorldLink];
    world.run(60_000);
    const [here, other] = [skewOf(there.state.skew), skewOf(back.state.skew)];
    expect(Math.abs((here?.aheadMs ?? 0) - 3_600_000)).toBeLessThanOrEqual(20);
    expect(Math.abs((other?.aheadMs ?? 0) + 3_600_000)).toBeLessThanOrEqual(20);
  });

  it("is measured anew when the clock was set", () => {
    const world = new World({ seed: 1, loss: 0, repetition: 0, delayMsMax: 20 });
    const [left, right] = [world.replica(1), world.replica(2)];
    left.clockAheadMs = 3_600_000;
    const [there] = world.join(left, right) as [WorldLink, WorldLink];
    world.run(60_000);
    left.clockAheadMs = 0;
    world.run(20_000);
    expect(Math.abs(skewOf(there.state.skew)?.aheadMs ?? Number.NaN)).toBeLessThanOrEqual(20);
  });
});

describe("a replica", () => {
  it("finds itself ahead of most, not of one", () => {
    const events: ClockEvent[] = [];
    const watch = new ClockWatch((event) => events.push(event));
    watch.look([]);
    watch.look([between(10), between(5_000), between(-20)]);
    expect(events).toEqual([]);
    watch.look([between(5_100), between(5_000), between(-20)]);
    expect(events).toEqual([{ skewMs: 5_000, peers: 3, ok: false }]);
    watch.look([between(1_500), between(1_500), between(-20)]);
    expect(events).toHaveLength(1);
    watch.look([between(900), between(900), between(-20)]);
    expect(events.at(-1)).toEqual({ skewMs: 900, peers: 3, ok: true });
  });

  it("between two peers that differ believes the nearer one", () => {
    expect(medianSkew([between(90_000), between(5)])).toBe(5);
    expect(medianSkew([between(-5), between(-90_000)])).toBe(-5);
    expect(medianSkew([])).toBeUndefined();
  });
});

it("a clock in a HAVE keeps its bytes", () => {
  const wallMs = 1_700_000_000_000;
  const have: Message = {
    kind: "have",
    full: false,
    vector: new Map(),
    clock: { wallMs, lagMs: -3 },
  };
  expect(Buffer.from(encodeMessage(have)).toString("hex")).toBe("04010680d095ffbc310500");
  expect(decodeMessage(encodeMessage(have))).toEqual(have);
  const first: Message = { kind: "have", full: true, vector: new Map([[9, 1]]), clock: { wallMs } };
  expect(decodeMessage(encodeMessage(first))).toEqual(first);
});
