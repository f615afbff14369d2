/** Metrics as OpenMetrics text. */
import Database from "better-sqlite3";
import { expect, it } from "vitest";
import { attach, formatOpenMetrics, type Metrics } from "../../src/index.ts";
import { temporaryFolder } from "../support/folder.ts";
import { numbered, parseOpenMetrics, untoldOf } from "../support/open-metrics.ts";

const folder = temporaryFolder();

async function measured(): Promise<Metrics> {
  const db = new Database(folder.file());
  db.pragma("journal_mode = WAL");
  db.exec("CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT)");
  const replica = attach(db, { tables: ["note"] });
  db.exec("INSERT INTO note VALUES (1, 'one'), (2, 'two')");
  await replica.measure();
  await replica.snapshot(folder.file());
  const metrics = replica.metrics();
  await replica.close();
  db.close();
  return metrics;
}

it("is what the specification allows", async () => {
  const families = parseOpenMetrics(formatOpenMetrics(await measured()));
  expect(families.get("mergelite_local_patches")?.samples).toEqual([
    { name: "mergelite_local_patches_total", labels: {}, value: 2 },
  ]);
  expect(families.get("mergelite_log_changesets")?.samples[0]?.value).toBe(1);
  expect(families.get("mergelite_metadata_bytes")?.samples[0]?.value).toBeGreaterThan(4096);
  expect(families.get("mergelite_snapshots")?.samples[0]?.value).toBe(1);
  for (const [name, { help }] of families) expect([name, help]).not.toEqual([name, undefined]);
});

it("tells every number that metrics() knows", async () => {
  const peer = { peerId: 7, name: "tcp://there", lagChangesets: 1, lagMs: 1 };
  const before = { ...(await measured()), peers: [peer] };
  const file = before.file === null ? null : { ...before.file, parked: { column: 1 } };
  const { metrics, numbers } = numbered({ ...before, file });
  // When the sizes were read, and whose they are: the first is no measurement, the second a label.
  const untold = untoldOf(formatOpenMetrics(metrics), numbers);
  expect(untold.filter((path) => !/file\.measuredAtMs$|peerId$|leMs$/.test(path))).toEqual([]);
});

it("puts the replicas of one process into one text", async () => {
  const metrics = await measured();
  const text = formatOpenMetrics([
    { metrics, labels: { database: 'a "b"\\c\nd' } },
    { metrics, labels: { database: "two" } },
  ]);
  const samples = parseOpenMetrics(text).get("mergelite_connected_peers")?.samples;
  expect(samples?.map(({ labels }) => labels.database)).toEqual(['a "b"\\c\nd', "two"]);
  expect(() => formatOpenMetrics(metrics, { labels: { "a-b": "" } })).toThrow(TypeError);
});
