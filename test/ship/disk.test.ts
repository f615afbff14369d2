/** The disk of a shipper's folder is full or broken: the application notices nothing of that. */
import { spawnSync } from "node:child_process";
import { mkdirSync, statSync } from "node:fs";
import type Database from "better-sqlite3";
import { afterAll, afterEach, expect, test } from "vitest";
import { verifyBackup } from "../../src/backup/verify.ts";
import { ReplicaError } from "../../src/errors.ts";
import type { Shipper } from "../../src/ship/index.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { churn } from "../support/backup.ts";
import { DiskFaults } from "../support/disk-faults.ts";
import { Faults, faultStorage } from "../support/fault-storage.ts";
import { temporaryFolder } from "../support/folder.ts";
import { memoryStorage } from "../support/memory-storage.ts";
import { eager, expectSame, openWal, ship, watchShipper } from "../support/ship.ts";

const folder = temporaryFolder({ inMemory: true });
/** So many calls apart are those that fail; `DISK_FAULTS=1` makes all of them fail, one at a time. */
const step = Number(process.env.DISK_FAULTS ?? 23);
const noSpace = { code: "DISK_FULL", hint: expect.stringContaining("Make room") };
let disk: DiskFaults | undefined;
afterEach(() => disk?.remove());

/** Flushes until it succeeds; what it fails with until then is the disk. */
async function flushed(shipper: Shipper): Promise<void> {
  for (let tries = 0; ; tries++) {
    try {
      await shipper.flush();
      return;
    } catch (error) {
      if (tries === 50) throw error;
      expect(error).toMatchObject(noSpace);
    }
  }
}

/** Pages that are freed in the transaction that has added them are in no WAL. */
function write(db: Database.Database, i: number): void {
  db.exec(churn(i));
  db.exec(`BEGIN; INSERT INTO note (id, body) VALUES (999, zeroblob(30000));
    DELETE FROM note WHERE id = 999; COMMIT`);
}

async function work(failAt: number, fails: number): Promise<number> {
  const file = folder.file();
  const db = openWal(file, { pageSize: 512 });
  const storage = memoryStorage();
  const faults = DiskFaults.install(`${file}-ship`);
  disk = faults;
  Object.assign(faults, { failAt, fails });
  for (let life = 0; life < 2; life++) {
    const shipper = ship(db, storage, eager);
    for (let i = 0; i < 4; i++) {
      write(db, life * 4 + i);
      await flushed(shipper);
      write(db, life * 4 + i + 20);
      await shipper.snapshot().catch((error: unknown) => expect(error).toMatchObject(noSpace));
    }
    await shipper.close().catch((error: unknown) => expect(error).toMatchObject(noSpace));
  }
  faults.remove();
  const last = ship(db, storage, eager);
  await last.flush();
  await expectSame(storage, db, `${file}.copy`);
  expect(await verifyBackup(storage)).toMatchObject({ checksum: "right" });
  await last.close();
  db.close();
  return faults.calls;
}

test.each([1, 5])(
  "whichever call fails, and %i in all, nothing is lost",
  async (fails) => {
    const calls = await work(Number.POSITIVE_INFINITY, 0);
    expect(calls).toBeGreaterThan(100);
    const first = 1 + Math.floor(Math.random() * step);
    for (let failAt = first; failAt <= calls; failAt += step) await work(failAt, fails);
  },
  600_000,
);

test("a disk that is full for long costs the WAL no more than its bound", async () => {
  const file = folder.file();
  const db = openWal(file);
  const storage = memoryStorage();
  disk = DiskFaults.install(`${file}-ship`);
  const walBytesMax = 2 ** 20;
  const shipper = ship(db, storage, { ...eager, walBytesMax });
  const seen = watchShipper(shipper);
  await shipper.flush();
  disk.failAt = disk.calls + 1;
  disk.fails = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 1000; i++) {
    db.exec("INSERT INTO note (body) VALUES (randomblob(6000))");
    if (i % 5 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  expect(statSync(`${file}-wal`).size).toBeLessThan(4 * walBytesMax);
  expect(seen.failures.length).toBeGreaterThan(0);
  await expect(shipper.flush()).rejects.toMatchObject(noSpace);
  disk.remove();
  disk.fails = 0;
  await flushed(shipper);
  await expectSame(storage, db, `${file}.copy`);
  await shipper.close();
  db.close();
});

/** A file system of a mebibyte; `undefined` where nobody may make one. */
function smallDisk(): string | undefined {
  const path = `${folder.file()}-disk`;
  mkdirSync(path);
  const { status } = spawnSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", path]);
  return status === 0 ? path : undefined;
}

const small = smallDisk();
afterAll(() => {
  if (small !== undefined) spawnSync("umount", ["-l", small]);
});

test.skipIf(small === undefined)("a queue that fills a real disk", async () => {
  const file = folder.file();
  const db = openWal(file);
  const inner = memoryStorage();
  const faults = new Faults({ random: Math.random });
  const storage: Storage = faultStorage(inner, faults, { attemptsMax: 1, pauseMs: 1 });
  const shipper = ship(db, storage, { ...eager, stateDir: `${small}/state` });
  await shipper.flush();
  faults.down = true;
  let isFull = false;
  for (let i = 0; i < 400 && !isFull; i++) {
    db.exec("INSERT INTO note (body) VALUES (randomblob(20000))");
    const error: unknown = await shipper.flush().catch((failure: unknown) => failure);
    isFull = error instanceof ReplicaError && error.code === "DISK_FULL";
  }
  expect(isFull).toBe(true);
  faults.heal();
  // What waits is shipped and makes room.
  for (let tries = 0; tries < 200; tries++) {
    if (await shipper.flush().then(Boolean, () => false)) break;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  await shipper.flush();
  await expectSame(inner, db, `${file}.copy`);
  await shipper.close();
  db.close();
});
