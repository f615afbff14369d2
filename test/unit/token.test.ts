import { describe, expect, it } from "vitest";
import { combineTokens, formatToken, parseTokens } from "../../src/token.ts";

const invalid = expect.objectContaining({ code: "INVALID_TOKEN" });

describe("tokens", () => {
  it("combine to the highest sequence of each peer", () => {
    expect(combineTokens("7.3")).toBe("7.3");
    expect(combineTokens("7.3", "8.1", "7.9_9.0", "8.0")).toBe("7.9_8.1_9.0");
    expect(parseTokens("7.9_8.1")).toEqual([
      { peerId: 7, sequence: 9 },
      { peerId: 8, sequence: 1 },
    ]);
  });

  it.each(["", "_", "7.3_", "7.3__8.1", "7", "7.3 8.1", "0.1", "7.03"])("%j is none", (token) => {
    expect(() => parseTokens(token)).toThrow(invalid);
  });

  it("of more than 64 peers are refused", () => {
    const tokens = Array.from({ length: 64 }, (_, i) =>
      formatToken({ peerId: i + 1, sequence: 1 }),
    );
    expect(parseTokens(combineTokens(...tokens))).toHaveLength(64);
    expect(() => combineTokens(...tokens, "65.1")).toThrow(invalid);
    expect(() => combineTokens()).toThrow(invalid);
  });
});
