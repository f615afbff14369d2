/** A shipper that keeps its backups: joined, proved, pruned, and nothing that is needed is lost. */
import { spawn } from "node:child_process";
import { readdirSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { verifyBackup } from "../../src/backup/index.ts";
import { type Clock, systemClock } from "../../src/clock.ts";
import type { KeepOptions, ShipOptions } from "../../src/ship/index.ts";
import { readShipOptions } from "../../src/ship/options.ts";
import { fileStorage } from "../../src/storage/index.ts";
import { ManagedStorage } from "../../src/storage/managed.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { churn } from "../support/backup.ts";
import { Faults, faultStorage } from "../support/fault-storage.ts";
import { temporaryFolder } from "../support/folder.ts";
import { MemoryDriver } from "../support/memory-storage.ts";
import { eager, expectSame, openWal, restored, ship, watchShipper } from "../support/ship.ts";

const folder = temporaryFolder();
const kills = Number(process.env.SHIP_KILLS ?? 3);
const minute = 60_000;
const hour = 60 * minute;
const day = 24 * hour;

/** Wall time that jumps when told to; timers are the system's. */
class JumpingClock implements Clock {
  aheadMs = 0;
  now = () => Date.now() + this.aheadMs;
  steady = () => performance.now() + this.aheadMs;
  sleep: Clock["sleep"] = (ms, options) => systemClock.sleep(ms, options);
  setTimer: Clock["setTimer"] = (ms, fn) => systemClock.setTimer(ms, fn);
  nextTurn: Clock["nextTurn"] = (fn) => systemClock.nextTurn(fn);
}

function setUp(options: ShipOptions = {}) {
  const file = folder.file();
  const db = openWal(file, { pageSize: 1024 });
  const clock = new JumpingClock();
  const driver = new MemoryDriver(clock.now);
  const faults = new Faults({ random: Math.random });
  const storage = faultStorage(new ManagedStorage(driver), faults, { attemptsMax: 2, pauseMs: 1 });
  const start = (to: Storage | Storage[] = storage) =>
    ship(db, to, { ...eager, keep: {}, clock, ...options });
  return { file, db, clock, driver, faults, storage, start };
}

const keysOf = ({ objects }: MemoryDriver, level: number | "" = "") =>
  [...objects.keys()].filter((key) => key.startsWith(`ltx/${level}`)).sort();

describe("a backup that is kept", () => {
  test("is joined by level and by day, proved, and pruned; each position kept is right", async () => {
    // A lease that has run out is looked for in a list.
    const options = { unsafeNoLease: true };
    const { file, db, clock, driver, faults, storage, start } = setUp(options);
    const shipper = start();
    const seen = watchShipper(shipper);
    const levels: number[] = [];
    shipper.on("compacted", ({ level }) => levels.push(level));
    const proofs: string[] = [];
    shipper.on("verified", ({ checksum }) => proofs.push(checksum));
    const images = new Map<number, Buffer>();
    await shipper.flush();
    const lists = faults.requests.list;
    for (let i = 0; i < 40; i++) {
      db.exec(churn(i));
      const { txid } = await shipper.flush();
      images.set(txid, db.serialize());
      clock.aheadMs += i % 8 === 7 ? 2 * day : 11 * minute;
      await shipper.tend();
    }
    expect(faults.requests.list).toBe(lists);
    expect(new Set(levels)).toEqual(new Set([1, 2, 3, 9]));
    expect(new Set(proofs)).toEqual(new Set(["right"]));
    const { lastVerifiedMs, ...metrics } = shipper.metrics();
    expect(metrics).toMatchObject({ compactions: levels.length, verifications: proofs.length });
    expect(metrics).toMatchObject({ keepFailures: 0, files: 41 });
    expect(Math.abs(clock.now() - lastVerifiedMs)).toBeLessThan(3 * day);
    expect(metrics.prunedFiles).toBeGreaterThan(40);
    const ends = keysOf(driver).map((key) => Number.parseInt(key.slice(-20, -4), 16));
    expect(ends.length).toBeLessThan(40);
    let compared = 0;
    for (const end of new Set(ends)) {
      const image = images.get(end);
      if (image === undefined) continue;
      expect(image.equals(await restored(storage, `${file}.copy`, end))).toBe(true);
      compared++;
    }
    expect(compared).toBeGreaterThan(3);
    await expectSame(storage, db, `${file}.copy`);
    expect(seen.failures).toEqual([]);
    await shipper.close();
    db.close();
  });

  test("asks for nothing any more when nobody writes, nor after a restart", async () => {
    const { db, clock, driver, faults, start } = setUp();
    const shipper = start();
    for (let i = 0; i < 3; i++) {
      db.exec(churn(i));
      await shipper.flush();
      clock.aheadMs += minute;
    }
    await shipper.tend();
    clock.aheadMs += 10 * day;
    await shipper.tend();
    clock.aheadMs += 10 * day;
    await shipper.tend();
    expect(keysOf(driver, 0).length).toBeLessThanOrEqual(1);
    const requests = { ...faults.requests };
    clock.aheadMs += 100 * day;
    await shipper.tend();
    expect(faults.requests).toEqual(requests);
    const { lastVerifiedMs } = shipper.metrics();
    await shipper.close();
    const again = start();
    let proofs = 0;
    again.on("verified", () => proofs++);
    await again.tend();
    expect(proofs).toBe(0);
    expect(again.metrics().lastVerifiedMs).toBe(lastVerifiedMs);
    await again.close();
    db.close();
  });

  test("is kept without being asked, each in its own storage", async () => {
    const keep = { intervalsMs: [30, 90], snapshotMs: 400, level0Ms: 100, levelsMs: 200 };
    const options = { keep: { ...keep, retentionMs: 500, verifyMs: 1000, snapshotsMin: 1 } };
    const { file, db, storage, start } = setUp(options);
    const second = fileStorage(`${file}-backup`);
    const shipper = start([storage, second]);
    const names = new Set<string>();
    const waiting = new Set(["compacted", "verified", "pruned"]);
    shipper.on("compacted", (event) => {
      names.add(event.storage);
      waiting.delete("compacted");
    });
    shipper.on("verified", () => waiting.delete("verified"));
    shipper.on("pruned", () => waiting.delete("pruned"));
    for (let i = 0; waiting.size > 0 || names.size < 2; i++) {
      db.exec(churn(i));
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await shipper.flush();
    await shipper.close();
    await expectSame(storage, db, `${file}.copy`);
    await expectSame(second, db, `${file}.copy`);
    const left = readdirSync(`${file}-ship`).filter((name) => name.startsWith("mergelite-verify"));
    expect(left).toEqual([]);
    db.close();
  });

  test("is not when that is switched off", async () => {
    const { db, clock, driver, start } = setUp({ keep: false });
    const shipper = start();
    for (let i = 0; i < 4; i++) {
      db.exec(churn(i));
      await shipper.flush();
    }
    clock.aheadMs += 30 * day;
    await shipper.tend();
    expect(keysOf(driver).length).toBe(keysOf(driver, 0).length);
    expect(shipper.metrics()).toMatchObject({ compactions: 0, lastVerifiedMs: 0 });
    await shipper.close();
    db.close();
  });
});

test(
  "a process that is killed while it joins, proves and prunes loses nothing",
  async () => {
    const file = folder.file();
    const db = openWal(file, { pageSize: 1024 });
    db.exec("CREATE TABLE counter (n INTEGER); INSERT INTO counter VALUES (0)");
    db.close();
    const ages = { level0Ms: 200, levelsMs: 300, retentionMs: 400, snapshotsMin: 1 };
    const keep = { intervalsMs: [20, 60], snapshotMs: 200, verifyMs: 1000, ...ages };
    const backup = fileStorage(`${file}-backup`);
    for (let kill = 0; kill < kills; kill++) {
      const counter = await killed(file, fileURLToPath(backup.name), keep);
      await restored(backup, `${file}.copy`);
      const copy = openWal(`${file}.copy`);
      expect(copy.pragma("integrity_check", { simple: true })).toBe("ok");
      const restoredCounter = Number(copy.prepare("SELECT n FROM counter").pluck().get());
      expect(restoredCounter).toBeGreaterThanOrEqual(counter);
      copy.close();
    }
    const again = openWal(file);
    const shipper = ship(again, backup, { ...eager, keep });
    const done = new Set<string>();
    for (const event of ["compacted", "pruned"] as const) shipper.on(event, () => done.add(event));
    // How soon either is due depends on how fast the machine is.
    while (done.size < 2) {
      again.exec("UPDATE counter SET n = n + 1");
      await shipper.flush();
      await shipper.tend();
    }
    await expectSame(backup, again, `${file}.copy`);
    expect((await verifyBackup(backup)).checksum).toBe("right");
    await shipper.close();
    again.close();
  },
  30_000 * kills,
);

/** Lets it ship and keep for a while, and kills it; what it had said last was flushed. */
async function killed(file: string, place: string, keep: KeepOptions): Promise<number> {
  const worker = fileURLToPath(new URL("worker.mjs", import.meta.url));
  const env = { ...process.env, SHIP_KEEP: JSON.stringify(keep) };
  const stdio: ["ignore", "pipe", "inherit"] = ["ignore", "pipe", "inherit"];
  const child = spawn(process.execPath, [worker, "ship", file, place], { stdio, env });
  let counter = 0;
  const linesMax = 3 + Math.random() * 8;
  let lines = 0;
  for await (const line of createInterface({ input: child.stdout })) {
    counter = Number(line.split(" ")[1]);
    if (lines++ < linesMax) continue;
    setTimeout(() => child.kill("SIGKILL"), Math.random() * 30);
  }
  return counter;
}

describe("nothing is deleted", () => {
  test("while what is left cannot be proved, and a damaged file is mended", async () => {
    const { file, db, clock, driver, storage, start } = setUp();
    const shipper = start();
    for (let i = 0; i < 6; i++) {
      db.exec(churn(i));
      await shipper.flush();
      clock.aheadMs += minute;
    }
    const [, , third = ""] = keysOf(driver, 0);
    await storage.put(third, Buffer.from("not an LTX file"));
    clock.aheadMs += 9 * day;
    for (let tries = 0; tries < 2; tries++) {
      const keys = new Set(keysOf(driver, 0));
      await expect(shipper.tend()).rejects.toMatchObject({ code: "LTX_CORRUPT" });
      expect(new Set(keysOf(driver, 0))).toEqual(keys);
    }
    // Found twice, it is forgotten: the database has what it held, and a snapshot has that now.
    expect(keysOf(driver, 9).length).toBe(1);
    await shipper.tend();
    await storage.delete(third);
    await expectSame(storage, db, `${file}.copy`);
    db.exec(churn(9));
    await shipper.tend();
    await expectSame(storage, db, `${file}.copy`);
    await shipper.close();
    db.close();
  });

  test("by a shipper that lost its place", async () => {
    const { db, clock, driver, storage, start } = setUp({ leaseTtlMs: 1000 });
    const first = start();
    for (let i = 0; i < 4; i++) {
      db.exec(churn(i));
      await first.flush();
    }
    const other = openWal(folder.file());
    const second = ship(other, storage, { ...eager, leaseTtlMs: 1000 });
    await second.flush();
    const keys = keysOf(driver);
    clock.aheadMs += 30 * day;
    await expect(first.tend()).rejects.toMatchObject({ code: "LEASE_LOST" });
    expect(keysOf(driver)).toEqual(keys);
    await first.close().catch(() => {});
    await second.close();
    other.close();
    db.close();
  });
});

test.each([
  [{ snapshots: 3 }, 'keep has no option "snapshots"'],
  [{ intervalsMs: [] }, "one interval at least"],
  [{ intervalsMs: [1000, 500] }, "rising whole numbers"],
  [{ verifyMs: 0 }, "verifyMs"],
  [{ snapshotsMin: 0 }, "snapshotsMin"],
  [{ verifyDir: "" }, "verifyDir"],
  [true, "an object, or false"],
])("%j is refused", (keep, message) => {
  const options = { keep } as unknown as ShipOptions;
  expect(() => readShipOptions(options)).toThrow(
    expect.objectContaining({
      code: "INVALID_OPTION",
      message: expect.stringContaining(message),
    }),
  );
});
