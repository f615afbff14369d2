import { expect, it } from "vitest";
import type { Clock } from "../../src/clock.ts";
import type { LeaderEvent } from "../../src/index.ts";
import { LeaderWatch } from "../../src/leader.ts";

function setUp() {
  let nowMs = 0;
  const timers = new Map<() => void, number>();
  const clock: Clock = {
    now: () => nowMs,
    sleep: () => Promise.reject(new Error("nobody sleeps")),
    setTimer(ms, fn) {
      timers.set(fn, nowMs + ms);
      return () => timers.delete(fn);
    },
    nextTurn: (fn) => fn(),
  };
  const events: LeaderEvent[] = [];
  const watch = new LeaderWatch({ clock, graceMs: 100, onChange: (event) => events.push(event) });
  const wait = (ms: number) => {
    nowMs += ms;
    for (const [fn, dueMs] of [...timers]) {
      if (dueMs > nowMs) continue;
      timers.delete(fn);
      fn();
    }
  };
  return { watch, events, wait };
}

it("leads alone after the grace, and not before", () => {
  const { watch, events, wait } = setUp();
  watch.look(5, []);
  wait(99);
  expect([watch.leads, events]).toEqual([false, []]);
  wait(1);
  expect([watch.leads, events]).toEqual([true, [{ leader: true, peerId: 5 }]]);
});

it("yields to a smaller peer that stays, and takes over when it is gone for long", () => {
  const { watch, events, wait } = setUp();
  watch.look(5, []);
  wait(100);
  watch.look(5, [3, 9]);
  wait(50);
  expect(watch.leads).toBe(true);
  wait(50);
  expect(watch.leads).toBe(false);
  watch.look(5, [9]);
  wait(100);
  expect(events.map(({ peerId }) => peerId)).toEqual([5, 3, 5]);
  expect(watch.leads).toBe(true);
});

it("does not flap: short absences and short visits change nothing", () => {
  const { watch, events, wait } = setUp();
  watch.look(5, [3]);
  wait(100);
  for (let i = 0; i < 10; i++) {
    watch.look(5, []);
    wait(60);
    watch.look(5, [2, 3]);
    wait(60);
    watch.look(5, [3]);
    wait(60);
  }
  expect(events).toEqual([{ leader: false, peerId: 3 }]);
});

it("leads no more under a new id, nor when closed", () => {
  const { watch, events, wait } = setUp();
  watch.look(5, [8]);
  wait(100);
  watch.look(7, [8]);
  expect(watch.leads).toBe(false);
  expect(events.at(-1)).toEqual({ leader: false, peerId: 5 });
  wait(100);
  expect(events.at(-1)).toEqual({ leader: true, peerId: 7 });
  watch.close();
  expect(watch.leads).toBe(false);
});
