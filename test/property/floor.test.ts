/**
 * Floors under random absence, forgetting, new ids and stale messages: nothing older than a peer's
 * horizon ever comes in, and when all is quiet everyone is a member and the floor rises.
 */
import { describe, expect, it } from "vitest";
import { horizonOf, membersOf } from "../../src/sync/floor.ts";
import { unlimited } from "../support/unlimited.ts";
import { FloorWorld } from "./floor-world.ts";

const runs = Math.max(Number(process.env.PROPERTY_RUNS ?? 2000) / 50, 10);
// No world of one seed is another's as well.
const first = Number(process.env.PROPERTY_SEED ?? 1) * runs;

describe("floors", () => {
  it("let nothing in below a horizon, and rise", { timeout: unlimited }, () => {
    let horizons = 0;
    for (let seed = first; seed < first + runs; seed++) {
      const world = new FloorWorld(seed, 2 + (seed % 4));
      try {
        for (let step = 0; step < 4000; step++) world.step();
        horizons += world.peers.filter(({ state }) => horizonOf(state) > 0).length;
        world.settle(130);
        const [one] = world.peers;
        if (one === undefined) throw new Error("no peers");
        for (const peer of world.peers) {
          const everyone = new Set(world.peers.map(({ state }) => state.self));
          expect(new Set(membersOf(peer.state))).toEqual(everyone);
          expect(peer.held).toEqual(one.held);
          expect(horizonOf(peer.state)).toBeGreaterThan(world.now - 40 - 90);
        }
      } catch (error) {
        throw new Error(`seed ${seed}`, { cause: error });
      }
    }
    // Otherwise the histories prove nothing.
    expect(horizons).toBeGreaterThan(runs / 4);
  });
});
