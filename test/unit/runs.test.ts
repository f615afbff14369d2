/** Which followers of a primary may go on. */
import { expect, test } from "vitest";
import { Runs } from "../../src/live/runs.ts";
import { temporaryFolder } from "../support/folder.ts";

const folder = temporaryFolder();
const [first, second, third] = ["1", "2", "3"].map((digit) => digit.repeat(16)) as [
  string,
  string,
  string,
];

test("a run's transactions are known up to where any later one began", async () => {
  const runs = new Runs([
    { source: first, after: 0 },
    { source: second, after: 10 },
  ]);
  expect(runs.knows({ source: first, reach: 10 }, 20)).toBe(true);
  expect(runs.knows({ source: first, reach: 11 }, 20)).toBe(false);
  expect(runs.knows({ source: second, reach: 20 }, 20)).toBe(true);
  expect(runs.knows({ source: second, reach: 21 }, 20)).toBe(false);
  expect(runs.knows({ source: third, reach: 1 }, 20)).toBe(false);
  // The state on disk was older than the list of runs.
  await runs.begin(folder.path, { source: third, after: 5 });
  expect(runs.knows({ source: first, reach: 5 }, 20)).toBe(true);
  expect(runs.knows({ source: first, reach: 6 }, 20)).toBe(false);
  expect((await Runs.read(folder.path)).knows({ source: second, reach: 6 }, 20)).toBe(false);
});
