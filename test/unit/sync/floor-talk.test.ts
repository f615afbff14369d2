/** How often peers tell each other about floors. */
import { describe, expect, it } from "vitest";
import { forgetPeers, mergeFloor, newFloor } from "../../../src/sync/floor.ts";
import { newTalk, type Talk, tellIn, told } from "../../../src/sync/floor-talk.ts";

const periodMs = 62.5;
const here = newFloor(1, 0);
const there = newFloor(2, 0);
const both = mergeFloor(here, there);

/** Looks every `stepMs`, and tells when it is time; returns when it did. */
function tellings(talk: Talk, state = here, { stepMs = 10, untilMs = 600_000 } = {}): number[] {
  const times: number[] = [];
  for (let nowMs = 0; nowMs < untilMs; nowMs += stepMs) {
    if (tellIn(talk, state, { nowMs, periodMs }) !== 0) continue;
    told(talk, state, nowMs);
    times.push(nowMs);
  }
  return times;
}

describe("what is known of floors", () => {
  it("is told at once, and again ever more rarely while the other side tells something else", () => {
    const talk = { ...newTalk(), state: there };
    const times = tellings(talk);
    expect(times[0]).toBe(0);
    const gaps = times.slice(1).map((ms, i) => ms - (times[i] ?? 0));
    expect(gaps.slice(0, 5)).toEqual([70, 130, 250, 500, 1000]);
    expect(new Set(gaps.slice(5))).toEqual(new Set([1000]));
  });

  it("is told no more once both tell the same, and a last time if there was something to pass", () => {
    expect(tellings({ ...newTalk(), state: { ...both, self: 2 } }, both)).toEqual([0]);
    const passed = { ...both, bound: 5, gate: 5, passed: 5 };
    expect(tellings({ ...newTalk(), state: { ...passed, self: 2 } }, passed)).toHaveLength(2);
  });

  it("waits before the next news, but not for a clock that was set back", () => {
    const talk = { ...newTalk(), state: there };
    told(talk, here, 1_000_000);
    const news = forgetPeers(both, [2]);
    expect(tellIn(talk, news, { nowMs: 1_000_000, periodMs: 5_000 })).toBe(1_000);
    expect(tellIn(talk, news, { nowMs: 1_000_500, periodMs: 100 })).toBe(0);
    expect(tellIn(talk, news, { nowMs: 5, periodMs: 5_000 })).toBe(0);
  });
});
