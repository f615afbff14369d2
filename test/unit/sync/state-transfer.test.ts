/** Both ends of a state transfer on virtual time: who does how much, and when. */
import { expect, it } from "vitest";
import type { StateChunk, StateMergeResult } from "../../../src/native.ts";
import type { StateChunkMessage, StateMessage } from "../../../src/sync/protocol-state.ts";
import { StateReceiver } from "../../../src/sync/state-receive.ts";
import { type StateLink, StateSender } from "../../../src/sync/state-send.ts";
import { VirtualClock } from "../transport/virtual-clock.ts";

const marks = () => [{ peerId: 1, held: 0, merged: 0 }];
const fail = (error: Error) => {
  throw error;
};
const linkTo = (peerId: number): StateLink => ({ peerId, live: true, remoteHolds: () => 0 });
const bytesOf = (number: number) => Uint8Array.of(number);

const merged: StateMergeResult = {
  consumed: 0,
  patches: 1,
  lost: 0,
  parked: 0,
  rows: 1,
  busy: false,
  more: false,
  complete: false,
  conflicts: [],
  resolved: [],
  untold: 0,
  resumeAtMs: 0,
};

function receiver(results: (number: number) => Partial<StateMergeResult>) {
  const clock = new VirtualClock();
  const calls: { number: number; offset: number; again: boolean; atMs: number }[] = [];
  const requests: number[] = [];
  const link = linkTo(2);
  const transfer = new StateReceiver(
    {
      startState: () => ({ busy: false, cursor: bytesOf(0), vector: new Map(), rows: 0 }),
      mergeState: ({ chunk }, { offset, again }) => {
        const number = chunk[0] ?? 0;
        calls.push({ number, offset, again, atMs: clock.now() });
        return { ...merged, ...results(number) };
      },
    },
    {
      clock,
      sliceMs: 4,
      marks,
      send: (_, message) => {
        if (message.kind === "stateRequest") requests.push(message.requestId);
      },
      onProgress: () => undefined,
      onMerged: () => undefined,
      onRejected: (_, error) => fail(error),
      onError: fail,
    },
  );
  const vector = new Map([[2, 9]]);
  transfer.onOffer(link, { kind: "stateOffer", vector, horizon: vector, bytes: 100 });
  const answer = (number: number, ends = false, requestId = requests.at(-1) ?? 0) => {
    const message = { requestId, ends, table: "t", next: bytesOf(number), chunk: bytesOf(number) };
    transfer.onChunk(link, { kind: "stateChunk", ...message } satisfies StateChunkMessage);
  };
  return { clock, calls, requests, answer, transfer };
}

it("asks on while chunks wait, but for no more than four", async () => {
  const { clock, calls, requests, answer } = receiver(() => ({}));
  for (let number = 1; number <= 4; number++) {
    expect(requests).toHaveLength(number);
    answer(number);
  }
  expect(requests).toHaveLength(4);
  expect(calls).toEqual([]);
  await clock.advance(0);
  expect(calls.map(({ number }) => number)).toEqual([1, 2, 3, 4]);
  expect(requests).toHaveLength(5);
});

it("merges a slice a turn, and waits while the database is busy", async () => {
  const answers: Partial<StateMergeResult>[] = [
    { more: true, consumed: 7 },
    { busy: true },
    { busy: true },
    {},
    { complete: true },
  ];
  const { clock, calls, requests, answer, transfer } = receiver(() => answers.shift() ?? {});
  answer(1);
  answer(2, true);
  await clock.advance(100);
  expect(calls).toEqual([
    { number: 1, offset: 0, again: false, atMs: 0 },
    { number: 1, offset: 7, again: true, atMs: 0 },
    { number: 1, offset: 7, again: true, atMs: 1 },
    { number: 1, offset: 7, again: true, atMs: 3 },
    { number: 2, offset: 0, again: false, atMs: 3 },
  ]);
  expect(transfer.active).toBe(false);
  expect(requests).toHaveLength(2);
});

it("takes the answer to any request for what comes next, and each part once", async () => {
  const { clock, calls, requests, answer } = receiver(() => ({}));
  // A chunk takes longer to arrive than it is waited for.
  await clock.advance(25_000);
  expect(requests).toEqual([1, 2, 3]);
  answer(1, false, 1);
  expect(requests).toEqual([1, 2, 3, 4]);
  answer(1, false, 2);
  answer(1, false, 3);
  answer(9, false, 5);
  await clock.advance(0);
  expect(calls.map(({ number }) => number)).toEqual([1]);
  answer(2, false, 4);
  await clock.advance(0);
  expect(calls.map(({ number }) => number)).toEqual([1, 2]);
});

it("answers one request a turn, in their order, and none of a link that has ended", async () => {
  const clock = new VirtualClock();
  const reads: number[] = [];
  const sent: [number, StateMessage][] = [];
  const states: Partial<StateChunk>[] = [{ more: true }, { busy: true }];
  const sender = new StateSender(
    {
      horizon: () => new Map(),
      stateBytes: () => 0,
      readState: (cursor): StateChunk => {
        reads.push(cursor[0] ?? 0);
        const empty = { chunk: bytesOf(0), next: bytesOf(0), table: "t", rows: 0 };
        return { ...empty, busy: false, more: false, ends: false, ...states.shift() };
      },
    },
    {
      clock,
      sliceMs: 4,
      marks,
      send: (link, message) => sent.push([link.peerId, message]),
      onError: fail,
    },
  );
  const links = [1, 2, 3].map((peerId) => linkTo(peerId));
  for (const link of links) {
    const cursor = bytesOf(link.peerId);
    sender.onRequest(link, { kind: "stateRequest", requestId: 1, bytesMax: 100, cursor });
  }
  expect(reads).toEqual([]);
  sender.onEnded(links[1] as StateLink);
  await clock.advance(100);
  // The first had clocks to fold, and the next one met a writer.
  expect(reads).toEqual([1, 3, 1, 3]);
  expect(sent.map(([peerId]) => peerId)).toEqual([1, 3]);
  expect(clock.timers).toBe(0);
});
