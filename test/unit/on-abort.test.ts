/** Many who wait for one signal. */
import { expect, test } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { onAbort } from "../../src/on-abort.ts";

test("all are called once, but those that have gone", () => {
  const stop = new AbortController();
  const called: number[] = [];
  const note = () => called.push(0);
  onAbort(stop.signal, note);
  onAbort(stop.signal, note);
  const off = onAbort(stop.signal, () => called.push(1));
  onAbort(stop.signal, () => called.push(2));
  off();
  stop.abort();
  expect(called).toEqual([0, 0, 2]);
  onAbort(stop.signal, () => called.push(3));
  expect(called).toEqual([0, 0, 2]);
});

test("a hundred that sleep are no leak", async () => {
  const warnings: unknown[] = [];
  const warn = (warning: unknown) => warnings.push(warning);
  process.on("warning", warn);
  const stop = new AbortController();
  const asleep = Array.from({ length: 100 }, () => systemClock.sleep(60_000, stop));
  stop.abort(new Error("enough"));
  const woken = await Promise.allSettled(asleep);
  expect(woken.map(({ status }) => status)).toEqual(Array(100).fill("rejected"));
  await new Promise((resolve) => setImmediate(resolve));
  process.off("warning", warn);
  expect(warnings).toEqual([]);
});
