/** What is asked over links that stand outside the floor, and over those that have ended. */
import { describe, expect, it, vi } from "vitest";
import { systemClock } from "../../../src/clock.ts";
import { ReplicaError } from "../../../src/errors.ts";
import type { LinkHost } from "../../../src/sync/link-host.ts";
import type { Rangeable } from "../../../src/sync/own-table.ts";
import { Questions } from "../../../src/sync/questions.ts";
import { VirtualClock } from "../transport/virtual-clock.ts";

describe("a link outside the floor", () => {
  const request = { kind: "repairRequest", requestId: 7, table: "note", keys: [] } as const;
  const sent: unknown[] = [];
  const input = (one: unknown) => sent.push(one);
  const link = { live: true, gated: true, input } as unknown as LinkHost;
  const questions = new Questions({} as Rangeable, {
    clock: systemClock,
    onRepaired: () => expect.fail("rows were taken"),
    onError: ({ message }) => expect.fail(message),
  });

  it("gives no rows and gets none", async () => {
    const answer = await questions.asker(link, undefined)({ ...request, chunk: new Uint8Array(0) });
    expect(answer).toMatchObject({ outcome: "behind", taken: 0 });
    expect(sent).toEqual([]);
  });

  it("has its rows refused", () => {
    questions.onMessage(link, { ...request, chunk: Uint8Array.of(1) });
    expect(sent).toMatchObject([
      { type: "verify", message: { requestId: 7, kind: "repair", outcome: "behind" } },
    ]);
  });
});

it("asks nothing over a link that ended while nothing was asked", async () => {
  const questions = new Questions({} as Rangeable, {
    clock: systemClock,
    onRepaired: () => expect.fail("rows were taken"),
    onError: ({ message }) => expect.fail(message),
  });
  const link = { live: true, gated: false, input: () => undefined };
  const host = link as unknown as LinkHost;
  const ask = questions.asker(host, undefined);
  const request = { kind: "repairRequest", requestId: 0, table: "note", keys: [] } as const;
  const message = { ...request, chunk: new Uint8Array(0) };
  const before = ask(message);
  link.live = false;
  questions.onEnded(host);
  await expect(before).rejects.toMatchObject({ code: "LINK_CLOSED" });
  // What comparing does between two questions takes a while: the link may have ended meanwhile.
  await expect(ask(message)).rejects.toMatchObject({ code: "LINK_CLOSED" });
});

it("has an answer for rows of a table that is replicated no more", async () => {
  const gone = () => {
    throw new ReplicaError("TABLE_NOT_REPLICATED", "note");
  };
  const questions = new Questions({ rangeRows: gone } as unknown as Rangeable, {
    clock: systemClock,
    onRepaired: () => expect.fail("rows were taken"),
    onError: ({ message }) => expect.fail(message),
  });
  const answered = new Promise((resolve) => {
    const link = { live: true, gated: false, input: resolve } as unknown as LinkHost;
    const [from, to] = [new Uint8Array(0), new Uint8Array(0)];
    const request = { kind: "rowsRequest", requestId: 3, table: "note", from, to } as const;
    questions.onMessage(link, { ...request, after: false });
  });
  // Without one the other side would ask for ever.
  const message = { kind: "rows", requestId: 3, rows: [], done: true };
  expect(await answered).toMatchObject({ type: "verify", message });
});

describe("questions and answers", () => {
  const sent: { message: { requestId: number } }[] = [];
  const makeLink = () => {
    const input = (one: (typeof sent)[number]) => sent.push(one);
    return { live: true, gated: false, input } as unknown as LinkHost;
  };
  const bound = new Uint8Array(0);
  const request = { kind: "rowsRequest", table: "note", from: bound, to: bound } as const;
  const made = (store: Partial<Rangeable> = {}) => {
    sent.length = 0;
    const clock = new VirtualClock();
    const questions = new Questions(store as Rangeable, {
      clock,
      onRepaired: () => expect.fail("rows were taken"),
      onError: ({ message }) => expect.fail(message),
    });
    return { clock, questions };
  };

  it("takes an answer from the link that was asked, and then lets go of the question", async () => {
    const { clock, questions } = made();
    const [link, other] = [makeLink(), makeLink()];
    const asked = questions.asker(link, undefined)({ ...request, requestId: 0, after: false });
    const requestId = sent[0]?.message.requestId ?? 0;
    const answer = { kind: "rows", requestId, rows: [] } as const;
    questions.onMessage(other, { ...answer, done: false });
    questions.onMessage(link, { ...answer, done: true });
    expect(await asked).toMatchObject({ done: true });
    expect(clock.timers).toBe(0);
  });

  it("answers so many at once, the others when they are asked again, none when nobody waits", async () => {
    let isBusy = true;
    const looked = new Set<string>();
    const rangeRows: Rangeable["rangeRows"] = (table) => {
      looked.add(table);
      return { busy: isBusy, more: false, rows: [], done: true };
    };
    const { clock, questions } = made({ rangeRows });
    const link = makeLink();
    const ask = (first: number, last: number) => {
      for (let requestId = first; requestId <= last; requestId++) {
        const message = { ...request, table: `note${requestId}`, requestId, after: false };
        questions.onMessage(link, message);
      }
    };
    ask(1, 20);
    expect(looked.size).toBe(16);
    isBusy = false;
    await clock.advance(5);
    await vi.waitUntil(() => sent.length === 16);
    ask(17, 20);
    await vi.waitUntil(() => sent.length === 20);
    isBusy = true;
    ask(21, 36);
    looked.clear();
    questions.onEnded(link);
    await clock.advance(5);
    expect(looked.size).toBe(0);
    expect(clock.timers).toBe(0);
  });
});
