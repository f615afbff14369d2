/** What a shipper asks of its storage, beside what `--dry-run` says of it beforehand. */
import { expect, test } from "vitest";
import { type Clock, systemClock } from "../../src/clock.ts";
import { readShipOptions, type ShipOptions } from "../../src/ship/options.ts";
import { requestsPerDay, sumOf } from "../../src/ship/requests.ts";
import { Faults, faultStorage } from "../support/fault-storage.ts";
import { temporaryFolder } from "../support/folder.ts";
import { memoryStorage } from "../support/memory-storage.ts";
import { openWal, ship } from "../support/ship.ts";

const folder = temporaryFolder();
const minuteMs = 60_000;
/** A minute takes 0.6 s. */
const speed = 100;
const clock: Clock = {
  now: () => 1_800_000_000_000 + Math.floor(performance.now() * speed),
  sleep: (ms, options) => systemClock.sleep(ms / speed, options),
  setTimer: (ms, fn) => systemClock.setTimer(ms / speed, fn),
  nextTurn: (fn) => systemClock.nextTurn(fn),
};

test("a database that is written each second makes no more requests than are told", async () => {
  const faults = new Faults({ random: Math.random });
  const storage = faultStorage(memoryStorage(), faults);
  const options: ShipOptions = {
    clock,
    intervalMs: 1000,
    // On a busy machine a shorter one ends now and then.
    leaseTtlMs: 24 * 60 * minuteMs,
    keep: {
      intervalsMs: [10_000, minuteMs],
      snapshotMs: 2 * minuteMs,
      retentionMs: 2 * minuteMs,
      snapshotsMin: 1,
      level0Ms: minuteMs,
      levelsMs: 1.5 * minuteMs,
      verifyMs: 2 * minuteMs,
    },
  };
  const { start, ...day } = Object.fromEntries(
    requestsPerDay(readShipOptions(options), { keepsMetadata: true }),
  );
  const db = openWal(folder.file());
  const shipper = ship(db, storage, options);
  const failures: unknown[] = [];
  shipper.on("failed", ({ error }) => failures.push(error));
  await shipper.flush();
  const { puts = 0, gets = 0, lists = 0, deletes = 0 } = start ?? {};
  expect(faults.requests.put).toBeLessThanOrEqual(puts + 1);
  expect(faults.requests.get).toBeLessThanOrEqual(gets);
  expect(faults.requests.list).toBeLessThanOrEqual(lists);
  expect(faults.requests.delete).toBeLessThanOrEqual(deletes);

  const insert = db.prepare("INSERT INTO note (body) VALUES (randomblob(50))");
  const write = async (forMs: number) => {
    for (const endMs = clock.now() + forMs; clock.now() < endMs; ) {
      insert.run();
      await clock.sleep(1000);
    }
  };
  await write(3 * minuteMs);
  const { files, compactions } = shipper.metrics();
  Object.assign(faults.requests, { put: 0, get: 0, list: 0, delete: 0 });
  const beginMs = clock.now();
  await write(4 * minuteMs);
  const part = (clock.now() - beginMs) / (24 * 60 * minuteMs);
  const told = sumOf(Object.values(day));
  const { requests } = faults;
  // What is due at the end of the time before, and at the end of this one.
  const slack = (count: number) => count * part * 1.05 + 20;
  expect(requests.put).toBeLessThanOrEqual(slack(told.puts));
  expect(requests.get).toBeLessThanOrEqual(slack(told.gets));
  expect(requests.delete).toBeLessThanOrEqual(slack(told.deletes));
  expect(requests.list).toBe(0);
  // It was written, and joined, and what is old was deleted.
  expect(shipper.metrics().files - files).toBeGreaterThan(20);
  expect(shipper.metrics().compactions - compactions).toBeGreaterThan(4);
  expect(requests.delete).toBeGreaterThan(10);

  // What is left to do takes some minutes. After that: nothing.
  await expect
    .poll(
      async () => {
        const before = { ...requests };
        await clock.sleep(5 * minuteMs);
        return JSON.stringify(before) === JSON.stringify(requests);
      },
      { timeout: 60_000, interval: 1 },
    )
    .toBe(true);
  expect(failures).toEqual([]);
  await shipper.close();
  db.close();
}, 120_000);
