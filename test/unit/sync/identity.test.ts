import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { forkOf, namedSequences, yields } from "../../../src/sync/identity.ts";

describe("fingerprints", () => {
  it("name the newest changesets and ever fewer of the others", () => {
    expect(namedSequences(0)).toEqual([]);
    expect(namedSequences(1)).toEqual([1]);
    expect(namedSequences(20)).toEqual([20, 19, 18, 16, 12, 4]);
    expect(namedSequences(2 ** 40 - 1).length).toBeLessThan(64);
  });

  it("find every fork, and of what both have never more than a part is given up", () => {
    const length = fc.integer({ min: 0, max: 300 });
    fc.assert(
      fc.property(length, length, length, (common, mine, theirs) => {
        const ours = (sequence: number) => sequence * 10;
        const stampOf = (sequence: number) => sequence * 10 + (sequence > common ? 5 : 0);
        const fingerprints = namedSequences(common + theirs).map((sequence) => ({
          sequence,
          print: stampOf(sequence),
        }));
        const held = common + mine;
        const fork = forkOf(fingerprints, held, ours);
        expect(fork !== undefined).toBe(theirs > 0);
        if (fork === undefined) return;
        expect(fork.after).toBeLessThanOrEqual(common);
        // The steps double: of the common part more than half is found, seen from its other end.
        expect(common - fork.after).toBeLessThanOrEqual(theirs + common / 2);
      }),
      { numRuns: 500, seed: 1 },
    );
  });

  it("that are not known any more prove nothing", () => {
    expect(forkOf([{ sequence: 5, print: 50 }], 9, () => 0)).toBeUndefined();
  });
});

it("of two with one id exactly one yields", () => {
  const stamp = fc.record({ sequence: fc.nat(5), print: fc.nat(5) });
  fc.assert(
    fc.property(stamp, stamp, (a, b) => {
      const same = a.sequence === b.sequence && a.print === b.print;
      expect(Number(yields(a, b)) + Number(yields(b, a))).toBe(same ? 0 : 1);
    }),
  );
});
