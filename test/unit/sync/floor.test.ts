/** What peers agree on about floors, step by step; random histories are in test/property. */
import { describe, expect, it } from "vitest";
import {
  admits,
  advanceFloor,
  type FloorState,
  forgetPeers,
  horizonOf,
  isElsewhere,
  isWhole,
  joinFloor,
  membersOf,
  mergeFloor,
  newFloor,
  verdictOf,
} from "../../../src/sync/floor.ts";

const now = (held: [number, number][] = [], settled = true) => ({
  timestamp: 1000,
  aim: 500,
  stride: 50,
  held: new Map(held),
  settled,
});
const fresh = (self: number) => newFloor(self, 0);

/** Two that have met, and nothing promised. */
function pair(): [FloorState, FloorState] {
  const [a, b] = [fresh(1), fresh(2)];
  return [mergeFloor(a, b), mergeFloor(b, a)];
}

/** Two members of one floor of 500. */
function agreed(): [FloorState, FloorState] {
  let [a, b] = pair();
  for (let i = 0; i < 6; i++) {
    a = advanceFloor(mergeFloor(a, b), now());
    b = advanceFloor(mergeFloor(b, a), now());
  }
  return [a, b];
}

describe("a round", () => {
  it("promises, announces, passes, and only then is the floor", () => {
    let [a, b] = pair();
    a = advanceFloor(a, now([[1, 7]], false));
    expect(a).toMatchObject({ bound: 500, floor: 0, round: { timestamp: 500 } });
    // Not before every process on the file knows of the promise.
    expect(advanceFloor(a, now([[1, 7]], false))).toBe(a);
    a = advanceFloor(a, now([[1, 7]]));
    expect(a.round?.announced).toEqual(new Set([1]));
    expect(advanceFloor(a, now([[1, 8]]))).toBe(a);
    b = mergeFloor(b, a);
    b = advanceFloor(advanceFloor(b, now()), now([[2, 3]]));
    expect(b.round?.vector).toEqual(
      new Map([
        [1, 7],
        [2, 3],
      ]),
    );
    // It does not hold what the other one has announced.
    expect(advanceFloor(b, now([[2, 3]]))).toBe(b);
    b = advanceFloor(
      b,
      now([
        [1, 7],
        [2, 3],
      ]),
    );
    expect([b.passed, b.floor, horizonOf(b)]).toEqual([500, 0, 0]);
    a = advanceFloor(
      mergeFloor(a, b),
      now([
        [1, 9],
        [2, 3],
      ]),
    );
    expect([a.floor, a.round, horizonOf(a)]).toEqual([500, undefined, 500]);
    b = mergeFloor(b, a);
    expect([b.floor, b.round, horizonOf(b)]).toEqual([500, undefined, 500]);
  });

  it("is not begun alone, nor by who wants none, nor before there is anything to drop", () => {
    const alone = fresh(1);
    expect(advanceFloor(alone, now())).toBe(alone);
    const [a] = pair();
    expect(advanceFloor(a, { ...now(), aim: 0 })).toBe(a);
    const young = { ...a, since: 600 };
    expect(advanceFloor(young, now())).toBe(young);
  });

  it("begins anew when someone is forgotten or comes with less of a promise", () => {
    let [a] = pair();
    a = advanceFloor(advanceFloor(a, now()), now());
    expect(a.round?.announced.size).toBe(1);
    expect(forgetPeers(a, [2]).round?.announced.size).toBe(0);
    const third = mergeFloor({ ...fresh(3), added: new Map(a.added).set(3, 0) }, pair()[0]);
    expect(mergeFloor(a, third).round).toMatchObject({ timestamp: 500, announced: new Set() });
    const late = joinFloor(fresh(4), a);
    expect(mergeFloor(a, late).round).toMatchObject({ timestamp: 500, announced: new Set() });
  });

  it("of a clock that is ahead gives way to one of now", () => {
    let [a, b] = pair();
    a = advanceFloor(a, { ...now(), timestamp: 9000, aim: 8500 });
    b = advanceFloor(mergeFloor(b, a), now());
    expect(b.round?.timestamp).toBe(500);
    expect(mergeFloor(a, b).round?.timestamp).toBe(500);
  });
});

describe("a stranger", () => {
  it("is let in as it is while nothing is promised, and stands outside after that", () => {
    const [a] = agreed();
    const stranger = fresh(9);
    expect(verdictOf(pair()[0], stranger)).toBe("merge");
    expect(admits(a, stranger)).toBe(false);
    expect([verdictOf(a, stranger), verdictOf(stranger, a)]).toEqual(["gate", "yield"]);
    const member = joinFloor(stranger, a);
    expect(member).toMatchObject({ bound: 500, passed: 500 });
    expect([verdictOf(a, member), verdictOf(member, a)]).toEqual(["merge", "merge"]);
    expect(membersOf(mergeFloor(a, member))).toEqual([1, 2, 9]);
    // It has merged all that there was below.
    expect(horizonOf(mergeFloor(member, a))).toBe(500);
  });

  it("keeps apart what is older than tombstones it once had, under whatever id", () => {
    const [a] = agreed();
    const renewed = newFloor(7, 900, { swept: 400, whole: true });
    expect(horizonOf(renewed)).toBe(400);
    // What others have done before it takes as little as a cluster does.
    expect([verdictOf(renewed, fresh(9)), verdictOf(fresh(9), renewed)]).toEqual(["gate", "yield"]);
    expect(admits(renewed, fresh(9))).toBe(false);
    expect([verdictOf(renewed, a), admits(renewed, a)]).toEqual(["yield", true]);
    // At the same gate who is alone gives way.
    expect(verdictOf(newFloor(7, 900, { swept: 500, whole: true }), a)).toBe("yield");
  });

  it("half of whose rows have come gives way, and makes nobody whole", () => {
    const half = newFloor(7, 900, { swept: 800, whole: false });
    const [a] = agreed();
    expect([verdictOf(half, a), verdictOf(a, half)]).toEqual(["yield", "gate"]);
    expect(verdictOf(fresh(9), half)).toBe("yield");
    expect(isWhole(joinFloor(fresh(9), half))).toBe(false);
    // Its gate is above what the other one can tell.
    expect(joinFloor(half, a)).toMatchObject({ gate: 800, passed: 500 });
    expect(isWhole(joinFloor(fresh(9), a))).toBe(true);
  });

  it("let in below what this peer has passed may hold what it does not", () => {
    const [a, b] = agreed();
    const early = { ...joinFloor(fresh(9), a), gate: 300, added: new Map(a.added).set(9, 300) };
    const ahead = { ...b, floor: 200, gate: 500, passed: 500 };
    const merged = mergeFloor(ahead, early);
    expect([merged.passed, isWhole(merged)]).toEqual([300, false]);
  });

  it("let in below what this peer has passed is not taken, for others may count on that", () => {
    const [a] = agreed();
    const guest = joinFloor(fresh(9), a);
    // As long as this peer has not passed, or knows that it has in vain, the round goes on with it.
    const passing = { ...a, gate: 700, passed: 700 };
    expect([admits(passing, guest), verdictOf(guest, passing)]).toEqual([false, "wait"]);
    expect(admits({ ...passing, passed: 500 }, guest)).toBe(true);
    expect(membersOf(mergeFloor(passing, mergeFloor(a, guest)))).toEqual([1, 2, 9]);
    // Once it is a floor, the other one stands outside.
    expect(verdictOf(guest, { ...passing, floor: 700 })).toBe("yield");
    expect(verdictOf({ ...passing, floor: 700 }, guest)).toBe("gate");
  });

  it("that was forgotten gives way, whatever it has promised", () => {
    const [a, b] = agreed();
    const forgetful = mergeFloor(forgetPeers(a, [2]), joinFloor(fresh(9), a));
    const guest = joinFloor(fresh(8), forgetful);
    const ahead = { ...b, bound: 900, gate: 900, passed: 900 };
    expect([verdictOf(ahead, guest), verdictOf(guest, ahead)]).toEqual(["yield", "gate"]);
  });

  it("has told what it was before it was let in, and belongs to that no more", () => {
    const [a] = agreed();
    const other = mergeFloor(fresh(9), fresh(8));
    const heard = mergeFloor(a, joinFloor(other, a));
    expect(membersOf(heard)).toEqual([1, 2, 9]);
    expect([verdictOf(heard, other), admits(heard, other)]).toEqual(["gate", false]);
    expect(admits(heard, joinFloor(other, a))).toBe(true);
  });

  it("that only overheard who the members are is no member", () => {
    const [a] = agreed();
    const listener = mergeFloor(fresh(9), pair()[0]);
    expect(membersOf(listener)).toContain(1);
    expect(admits(a, listener)).toBe(false);
  });

  it("let in by a peer that was forgotten before is not let in here", () => {
    const [a, b] = agreed();
    const forgetful = forgetPeers(a, [2]);
    const guest = joinFloor(fresh(9), b);
    expect(admits(forgetful, guest)).toBe(false);
    expect(verdictOf(guest, forgetful)).toBe("yield");
    expect(isElsewhere(guest, forgetful)).toBe(false);
    expect(verdictOf(b, forgetful)).toBe("yield");
  });

  it("of another cluster: the one that has promised less gives way", () => {
    const [a] = agreed();
    const other = { ...fresh(7), added: new Map([[7, 0]]), bound: 400 };
    other.added.set(8, 0);
    expect([verdictOf(a, other), verdictOf(other, a)]).toEqual(["gate", "yield"]);
    expect(isElsewhere(other, a)).toBe(true);
  });
});
