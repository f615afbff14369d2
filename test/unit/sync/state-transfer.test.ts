/** Both ends of a state transfer on virtual time: who does how much, and when. */
import { describe, expect, it } from "vitest";
import type { StateChunk, StateMergeResult } from "../../../src/native.ts";
import type { StateChunkMessage, StateMessage } from "../../../src/sync/protocol-state.ts";
import { StateReceiver } from "../../../src/sync/state-receive.ts";
import { type StateLink, StateSender } from "../../../src/sync/state-send.ts";
import { VirtualClock } from "../transport/virtual-clock.ts";

const marks = () => [{ peerId: 1, held: 0, merged: 0 }];
const fail = (error: Error) => {
  throw error;
};
const linkTo = (peerId: number) => ({ peerId, live: true, fragments: 0, remoteHolds: () => 0 });
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
  /** Which peers were asked, in turn. */
  const asked: number[] = [];
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
      send: ({ peerId }, message) => {
        if (message.kind !== "stateRequest") return;
        requests.push(message.requestId);
        if (asked.at(-1) !== peerId) asked.push(peerId);
      },
      takes: () => true,
      onProgress: () => undefined,
      onMerged: () => undefined,
      onRejected: (_, error) => fail(error),
      onError: fail,
    },
  );
  const vector = new Map([[2, 9]]);
  const offer = { kind: "stateOffer", vector, horizon: vector, bytes: 100 } as const;
  const from = (sender: StateLink) => {
    const answer = (number: number, ends = false, requestId = requests.at(-1) ?? 0) => {
      const [next, chunk] = [bytesOf(number), bytesOf(number)];
      const message = { requestId, ends, table: "t", next, chunk };
      transfer.onChunk(sender, { kind: "stateChunk", ...message } satisfies StateChunkMessage);
    };
    transfer.onOffer(sender, offer);
    return answer;
  };
  /** Time passes, while these links offer as they do when they can. */
  const offering = async (links: readonly StateLink[], ms: number) => {
    for (let passedMs = 0; passedMs < ms; passedMs += 5_000) {
      await clock.advance(5_000);
      for (const one of links) transfer.onOffer(one, offer);
    }
  };
  const answer = from(link);
  return { clock, calls, requests, asked, link, answer, from, offering, transfer };
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

describe("a link that offers and does not send", () => {
  it("is left for others that offer, in turn, and asked again after them", async () => {
    const { asked, link, offering, transfer } = receiver(() => ({}));
    const links = [link, linkTo(3), linkTo(4)];
    await offering([link], 100_000);
    // There was nobody else.
    expect(asked).toEqual([2]);
    await offering(links, 10_000);
    expect(asked).toEqual([2, 3]);
    await offering(links, 600_000);
    expect(asked.slice(0, 4)).toEqual([2, 3, 4, 2]);
    expect(transfer.active).toBe(true);
  });

  it("is not left while it sends, slow as it may be", async () => {
    const { asked, calls, answer, offering } = receiver(() => ({}));
    for (let number = 1; number <= 5; number++) {
      await offering([linkTo(3)], 50_000);
      answer(number);
    }
    await offering([linkTo(3)], 5_000);
    expect(asked).toEqual([2]);
    expect(calls).toHaveLength(5);
  });

  it("is not asked for what is late when another is asked, nor are both left for ever", async () => {
    const { asked, calls, link, answer, from, offering } = receiver(() => ({}));
    const other = linkTo(3);
    const otherAnswers = from(other);
    await offering([other], 60_000);
    expect(asked).toEqual([2, 3]);
    answer(1);
    await offering([link], 90_000);
    expect(calls).toEqual([]);
    otherAnswers(1);
    await offering([], 5_000);
    expect(calls).toMatchObject([{ number: 1 }]);
  });

  it("is neither left nor asked again while parts of a large row come", async () => {
    const { asked, clock, link, requests, offering } = receiver(() => ({}));
    const other = [linkTo(3)];
    for (let parts = 0; parts < 20; parts++) {
      await offering(other, 5_000);
      link.fragments += 1;
    }
    expect(requests).toHaveLength(1);
    await offering(other, 75_000);
    expect(asked).toEqual([2, 3]);
    expect(clock.timers).toBe(1);
  });

  it("may have ended when it would be asked", async () => {
    const { asked, from, offering, transfer } = receiver(() => ({}));
    const other = linkTo(3);
    from(other);
    transfer.onEnded(other);
    await offering([], 100_000);
    expect(asked).toEqual([2]);
  });
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
