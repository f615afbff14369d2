/** A share of CI's histories, for a test file of its own: files run side by side. */
import { describe, expect, it } from "vitest";
import { commandOf } from "./main.ts";
import { makePlan } from "./plan.ts";
import { sizeOf } from "./seeds.ts";
import { simulate } from "./world.ts";

const seedsPerTest = 25;

export function describeHistories(
  { first, last }: { first: number; last: number },
  { floors = false } = {},
): void {
  const what = floors ? ", although tombstones go" : "";
  describe(`simulated histories converge, and nothing is lost on the way${what}`, () => {
    for (let seed = first; seed <= last; seed += seedsPerTest) {
      const end = Math.min(seed + seedsPerTest - 1, last);
      it(`seeds ${seed} to ${end}`, { timeout: 600_000 }, async () => {
        for (let one = seed; one <= end; one++) await expectWell(one, floors);
      });
    }
  });
}

async function expectWell(seed: number, floors: boolean): Promise<void> {
  const size = { ...sizeOf(seed), floors };
  const { violation } = await simulate(makePlan(size));
  expect(violation, `${commandOf(size)} shows and shrinks it`).toBeUndefined();
}
