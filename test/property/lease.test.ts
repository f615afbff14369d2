/** One holder at a time, whatever happens to clocks, processes, requests and answers. */
import { describe, expect, test } from "vitest";
import { Chance } from "../simulation/random.ts";
import { unlimited } from "../support/unlimited.ts";
import { LeaseWorld, ttlMs } from "./lease-world.ts";

const runs = Math.ceil(Number(process.env.PROPERTY_RUNS ?? 300) / 10);
// No world of one seed is another's as well.
const first = Number(process.env.PROPERTY_SEED ?? 1) * runs;
const seeds = Array.from({ length: runs }, (_, i) => first + i);

async function runWorld(seed: number): Promise<LeaseWorld> {
  const chance = new Chance(seed);
  const world = new LeaseWorld(chance, {
    error: chance.pick([0, 0.05, 0.3]),
    lostAnswer: chance.pick([0, 0.05, 0.3]),
    hang: chance.pick([0, 0.02]),
    hangMs: 3 * ttlMs,
    slowMs: chance.pick([10, 500, ttlMs / 2, 2 * ttlMs]),
    lateMs: chance.pick([0, 500, ttlMs]),
  });
  const count = chance.int(2, 4);
  // A clock that is set back shows nothing of the time its machine slept: not both.
  const sleeps = Array.from({ length: count }, () => chance.chance(0.5));
  for (let i = 0; i < count; i++) world.start(`process-${i}`, chance.chance(0.3));
  for (let step = 0; step < 40; step++) {
    await world.clock.advance(chance.int(1, ttlMs));
    const at = chance.int(0, world.processes.length - 1);
    const process = world.processes[at];
    if (process === undefined) continue;
    const asleep = sleeps[at] === true;
    const what = chance.int(0, 9);
    if (what < 4) process.stand(chance.int(1, chance.pick([ttlMs, 2 * ttlMs, 9 * ttlMs])), asleep);
    else if (what === 4) process.setWall(chance.int(asleep ? 0 : -1e9, 1e9));
    else if (what === 5 && count < 4) {
      process.dead = true;
      world.processes[at] = world.start(`process-${at}-${step}`, false);
      world.processes.pop();
      sleeps[at] = false;
    }
  }
  return world;
}

describe("a lease", () => {
  test(`has one holder at a time, in ${runs} worlds`, { timeout: unlimited }, async () => {
    let [confirmed, lost, takenOver] = [0, 0, 0];
    for (const seed of seeds) {
      const world = await runWorld(seed);
      expect(world.wrong, `seed ${seed}`).toEqual([]);
      expect(new Set(world.fences).size, `seed ${seed}`).toBe(world.fences.length);
      // Once all goes well, somebody gets it soon; but each may stand still for 20 of its times.
      world.faults.heal();
      const before = world.confirmed;
      for (let i = 0; i < 5 && world.confirmed <= before; i++) {
        await world.clock.advance(20 * ttlMs);
      }
      expect(world.wrong, `seed ${seed}`).toEqual([]);
      expect(world.confirmed, `seed ${seed}`).toBeGreaterThan(before);
      confirmed += world.confirmed;
      lost += world.lost;
      takenOver += world.fences.length;
    }
    // The worlds were not dull.
    expect(confirmed).toBeGreaterThan(20 * runs);
    expect(lost).toBeGreaterThan(runs / 4);
    expect(takenOver).toBeGreaterThan(2 * runs);
  });
});
