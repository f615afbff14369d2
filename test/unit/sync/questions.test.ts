/** What is asked over links that stand outside the floor. */
import { describe, expect, it } from "vitest";
import { systemClock } from "../../../src/clock.ts";
import type { LinkHost } from "../../../src/sync/link-host.ts";
import type { Rangeable } from "../../../src/sync/own-table.ts";
import { Questions } from "../../../src/sync/questions.ts";

describe("a link outside the floor", () => {
  const request = { kind: "repairRequest", requestId: 7, table: "note", keys: [] } as const;
  const sent: unknown[] = [];
  const link = { gated: true, input: (input: unknown) => sent.push(input) } as unknown as LinkHost;
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
