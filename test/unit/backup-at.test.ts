/** The moments and positions that `--at` takes. */
import { expect, test } from "vitest";
import { readAt } from "../../src/cli/backup-url.ts";
import { Values } from "../../src/cli/command.ts";

const at = (text: string) => readAt(new Values({ at: text })).at;

test.each([
  ["2024-02-29", "2024-02-29T00:00:00.000Z"],
  ["2026-01-31T12:00Z", "2026-01-31T12:00:00.000Z"],
  ["2026-01-31 23:30:00.25-02:00", "2026-02-01T01:30:00.250Z"],
])("a time: %s", (text, wallTime) => {
  expect(at(text)).toEqual(new Date(wallTime));
});

test.each(["2026-02-29", "2026-02-30T12:00:00Z", "2026-04-31 10:00", "2026-13-01", "2026-01-00"])(
  "no day of any year: %s",
  (text) => {
    expect(() => at(text)).toThrow("--at must be a time");
  },
);
