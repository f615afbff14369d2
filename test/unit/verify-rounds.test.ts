/** Rounds of comparing: whom, when, and what is told. */
import { expect, it } from "vitest";
import { ReplicaError } from "../../src/errors.ts";
import type { Verification } from "../../src/sync/verify.ts";
import { type RoundPeer, VerifyRounds } from "../../src/verify-rounds.ts";
import { VirtualClock } from "./transport/virtual-clock.ts";

const everyMs = 1000;

function world(look: (peerId: number) => number | Error = () => 0) {
  const clock = new VirtualClock();
  const calls: string[] = [];
  const errors: string[] = [];
  const linked: RoundPeer[] = [];
  const held = new Map([[1, 5]]);
  const rounds = new VerifyRounds(
    {
      clock,
      random: () => 0.5,
      linked: () => linked,
      held: () => held,
      look: (peerId) => {
        calls.push(`${clock.now()} look ${peerId}`);
        const differences = look(peerId);
        if (differences instanceof Error) return Promise.reject(differences);
        return Promise.resolve({ tables: [], differences } satisfies Verification);
      },
      verify: (peerId) => {
        calls.push(`${clock.now()} verify ${peerId}`);
        return Promise.resolve();
      },
      onError: ({ code }) => errors.push(code),
    },
    everyMs,
  );
  const link = (peerId: number, sequence = 5) =>
    linked.push({ peerId, remoteVector: new Map([[1, sequence]]) });
  return { clock, calls, errors, linked, held, rounds, link };
}

it("takes the linked peers in turn", async () => {
  const { clock, calls, link, linked } = world();
  await clock.advance(1500);
  for (const peerId of [7, 8, 9]) link(peerId);
  await clock.advance(4000);
  const looks = () => calls.filter((call) => call.includes("look"));
  expect(looks()).toEqual(["2000 look 7", "3000 look 8", "4000 look 9", "5000 look 7"]);
  expect(calls).toContain("2000 verify 7");
  linked.shift();
  link(6);
  await clock.advance(2000);
  expect(looks().slice(4)).toEqual(["6000 look 6", "7000 look 8"]);
});

it("waits until both hold what the other held, and leaves who does not get there", async () => {
  const { clock, calls, link, linked } = world(() => 3);
  link(7, 4);
  await clock.advance(3500);
  expect(calls).toEqual([]);
  linked.shift();
  link(7, 5);
  await clock.advance(1000);
  expect(calls).toEqual(["4000 look 7", "4000 verify 7"]);
  linked.shift();
  link(7, 4);
  await clock.advance(64_000);
  expect(calls).toHaveLength(2);
});

it("tells nothing of rows that were on their way", async () => {
  const { clock, calls, link, held } = world(() => {
    held.set(1, 6);
    return 3;
  });
  link(7);
  await clock.advance(30_000);
  expect(calls).toEqual(["1000 look 7"]);
});

it("tells of errors, but not of links that end, and goes on", async () => {
  const failures = [new ReplicaError("LINK_CLOSED", "gone"), new ReplicaError("SQLITE", "full"), 0];
  const { clock, calls, errors, link } = world(() => failures.shift() ?? 0);
  link(7);
  await clock.advance(3000);
  expect(errors).toEqual(["SQLITE"]);
  expect(calls.at(-1)).toBe("3000 verify 7");
});

it("ends when the replica closes, while it waits for a peer too", async () => {
  const { clock, rounds, link, calls, errors } = world();
  link(7, 4);
  await clock.advance(1500);
  await rounds.close(new Error("closed"));
  await clock.advance(10_000);
  expect(clock.timers).toBe(0);
  expect([calls, errors]).toEqual([[], []]);
});
