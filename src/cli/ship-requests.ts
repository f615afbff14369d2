/** `mergelite ship --dry-run`: how many requests a day the options make. No storage is asked. */
import { readShipOptions } from "../ship/options.ts";
import { type DayOfRequests, requestsPerDay, sumOf } from "../ship/requests.ts";
import { openStorage } from "../storage/open.ts";
import { alignRows, formatCount, type Output } from "./output.ts";
import type { ShipPlan } from "./ship-plan.ts";

export async function printRequests(
  plans: readonly ShipPlan[],
  output: Output,
  isJson: boolean,
): Promise<void> {
  for (const { file, targets, options } of plans) {
    const settings = readShipOptions(options);
    for (const target of targets) {
      // Opening one reads its URL and credentials, and connects to nothing.
      const storage = await openStorage(target);
      const { name, keepsMetadata } = storage;
      await storage.close();
      const requests = requestsPerDay(settings, { keepsMetadata });
      if (isJson) output.json({ file, storage: name, perDay: Object.fromEntries(requests) });
      else print(file, name, [...requests], output);
    }
  }
  if (!isJson)
    output.line("At most, while a database is written without a pause; idle it makes none.");
}

function print(
  file: string,
  name: string,
  requests: readonly (readonly [string, DayOfRequests])[],
  output: Output,
): void {
  const daily = requests.filter(([purpose]) => purpose !== "start");
  const rows = [
    ...daily,
    ["a day", sumOf(daily.map(([, each]) => each))] as const,
    ...requests.filter(([purpose]) => purpose === "start"),
  ];
  output.line(`${file} to ${name}`);
  const head = ["", "puts", "gets", "lists", "deletes"];
  const table = rows.map(([purpose, { puts, gets, lists, deletes }]) => {
    const counts = [puts, gets, lists, deletes].map(formatCount);
    return [purpose === "start" ? "each start" : purpose, ...counts];
  });
  for (const row of alignRows(toTheRight([head, ...table]))) output.line(`  ${row}`);
}

/** All cells but the first of each row; heads are words. */
function toTheRight(rows: readonly (readonly string[])[]): string[][] {
  const width = Math.max(...rows.flatMap((row) => row.slice(1).map((cell) => cell.length)));
  return rows.map((row) => row.map((cell, i) => (i === 0 ? cell : cell.padStart(width))));
}
