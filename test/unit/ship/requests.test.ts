/** What `requestsPerDay` says, against a day of what the plans of a keeper do. */
import { describe, expect, test } from "vitest";
import { planCompaction, type TimedFile } from "../../../src/backup/levels.ts";
import { planPrune } from "../../../src/backup/retention.ts";
import { ltxKey, snapshotLevel } from "../../../src/ltx/keys.ts";
import { readShipOptions, type ShipOptions } from "../../../src/ship/options.ts";
import { requestsPerDay, sumOf } from "../../../src/ship/requests.ts";

const dayMs = 86_400_000;
const options: ShipOptions = {
  intervalMs: 2000,
  keep: {
    intervalsMs: [30_000, 600_000],
    snapshotMs: dayMs / 4,
    retentionMs: dayMs / 2,
    level0Ms: 60_000,
    levelsMs: 1_200_000,
  },
};

function fileOf(level: number, minTxid: number, maxTxid: number, timestampMs: number): TimedFile {
  const key = ltxKey({ level, minTxid, maxTxid }, "plain");
  return { level, minTxid, maxTxid, key, bytes: 1, modifiedMs: timestampMs, timestampMs };
}

/** The second of two days of commits without a pause. */
function simulate() {
  const { intervalMs, keep } = readShipOptions(options);
  if (keep === false) throw new Error("it is kept");
  const { intervalsMs, snapshotMs, retentionMs, snapshotsMin, level0Ms, levelsMs } = keep;
  const ages = { retentionMs, snapshotsMin, level0Ms, levelsMs };
  const counts = { joined: 0, read: 0, snapshots: 0, snapshotInputs: 0, deleted: 0 };
  const startMs = 20_000 * dayMs;
  let files = [fileOf(0, 1, 1, startMs)];
  let isCounted = false;
  const [stepMs = 1] = intervalsMs;
  let txid = 1;
  for (let nowMs = startMs + intervalMs; nowMs < startMs + 2 * dayMs; nowMs += intervalMs) {
    isCounted = nowMs >= startMs + dayMs;
    txid++;
    files.push(fileOf(0, txid, txid, nowMs));
    if (nowMs % stepMs === 0) tend(nowMs);
  }
  return counts;

  function tend(nowMs: number): void {
    for (;;) {
      const step = planCompaction(files, { intervalsMs, snapshotMs, nowMs });
      if (step === undefined) break;
      const last = step.inputs.at(-1);
      const made = fileOf(step.level, step.inputs[0]?.minTxid ?? 0, last?.maxTxid ?? 0, nowMs);
      files.push({ ...made, timestampMs: last?.timestampMs ?? 0 });
      if (!isCounted) continue;
      const isSnapshot = step.level === snapshotLevel;
      counts[isSnapshot ? "snapshots" : "joined"]++;
      counts[isSnapshot ? "snapshotInputs" : "read"] += step.inputs.length;
    }
    const { keep: kept, drop } = planPrune(files, { ...ages, nowMs });
    files = [...kept];
    if (isCounted) counts.deleted += drop.length;
  }
}

function expectNear(estimate: number | undefined, real: number, tolerance = 0.05): void {
  expect(estimate).toBeGreaterThanOrEqual(real * (1 - tolerance));
  expect(estimate).toBeLessThanOrEqual(real * (1 + tolerance) + 2);
}

describe("requests of a day", () => {
  test("are those of what a keeper plans", () => {
    const real = simulate();
    const settings = readShipOptions(options);
    const estimate = requestsPerDay(settings, { keepsMetadata: true });
    const joining = estimate.get("joining");
    const snapshots = estimate.get("snapshots");
    expectNear(joining?.puts, real.joined);
    expectNear(joining?.gets, real.read + real.joined);
    expectNear(snapshots?.puts, real.snapshots);
    // The tail is as long as it can be.
    expect(snapshots?.gets).toBeGreaterThanOrEqual(real.snapshotInputs + real.snapshots);
    const { puts, deletes } = sumOf(
      (["shipping", "joining", "snapshots"] as const).flatMap((name) => estimate.get(name) ?? []),
    );
    expectNear(deletes, real.deleted);
    expect(puts).toBe(deletes);
  });

  test("are fewer without keeping, without a lease, and with metadata", () => {
    const few = requestsPerDay(readShipOptions({ keep: false, unsafeNoLease: true }), {
      keepsMetadata: true,
    });
    expect([...few.keys()]).toEqual(["shipping", "start"]);
    expect(few.get("shipping")).toEqual({ puts: 86_400, gets: 0, lists: 0, deletes: 0 });
    const more = requestsPerDay(readShipOptions({}), { keepsMetadata: false });
    expect(more.get("manifest")).toEqual({ puts: 86_400, gets: 0, lists: 0, deletes: 0 });
    const { lists } = sumOf([...more].flatMap(([name, day]) => (name === "start" ? [] : day)));
    expect(lists).toBe(0);
  });
});
