import { describe, expect, it } from "vitest";
import { checkDrainPeers, holdersWanted } from "../../src/drain.ts";

describe("a write is safe", () => {
  it.each([
    // peers, known, holders besides the writer
    ["majority", 0, 1],
    ["majority", 1, 1],
    ["majority", 2, 1],
    ["majority", 3, 2],
    ["majority", 4, 2],
    ["majority", 5, 3],
    ["all", 0, 1],
    ["all", 5, 5],
    [3, 1, 3],
  ] as const)("for %j of %i known peers with %i holders", (peers, known, holders) => {
    expect(holdersWanted(peers, { linked: 0, known })).toBe(holders);
    // More than half of all, the writer among them.
    if (peers === "majority") expect(holders + 1).toBeGreaterThan((known + 1) / 2);
  });

  it("by default when the linked peers hold it, and one at least", () => {
    expect(holdersWanted(undefined, { linked: 0, known: 4 })).toBe(1);
    expect(holdersWanted(undefined, { linked: 3, known: 4 })).toBe(3);
  });

  it.each(["most", -1, 1.5, Number.NaN, null, {}])("%j is not a number of peers", (peers) => {
    const invalid = expect.objectContaining({ code: "INVALID_OPTION" });
    expect(() => checkDrainPeers(peers)).toThrow(invalid);
  });
});
