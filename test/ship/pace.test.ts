/** When commits are read: after the interval, or as soon as they are many. */
import { expect, test } from "vitest";
import { temporaryFolder } from "../support/folder.ts";
import { memoryStorage } from "../support/memory-storage.ts";
import { expectSame, openWal, ship } from "../support/ship.ts";

const folder = temporaryFolder();
const hourMs = 3_600_000;

test("every commit is noticed, whenever it comes", async () => {
  const file = folder.file();
  const db = openWal(file);
  const storage = memoryStorage();
  // Nothing but the commits' own bell can notice them.
  const shipper = ship(db, storage, { intervalMs: 1, pollMs: hourMs });
  await shipper.flush();
  const insert = db.prepare("INSERT INTO note (body) VALUES (zeroblob(100))");
  for (let i = 0; i < 200; i++) {
    const { txid } = shipper.metrics();
    insert.run();
    if (i % 3 === 0) await new Promise((resolve) => setTimeout(resolve, i % 5));
    if (i % 20 === 0) {
      await expect.poll(() => shipper.metrics().txid, { timeout: 10_000 }).toBeGreaterThan(txid);
    }
  }
  await expect.poll(() => shipper.metrics().commits, { timeout: 10_000 }).toBe(200);
  await shipper.close();
  await expectSame(storage, db, `${file}.copy`);
  db.close();
});

test("many commits do not wait for the interval, and the WAL stays small", async () => {
  const file = folder.file();
  const db = openWal(file);
  const storage = memoryStorage();
  const checkpointBytes = 256 * 1024;
  const shipper = ship(db, storage, { intervalMs: hourMs, checkpointBytes });
  await shipper.flush();
  const insert = db.prepare("INSERT INTO note (body) VALUES (randomblob(20000))");
  const rounds = 20;
  for (let round = 0; round < rounds; round++) {
    const { files } = shipper.metrics();
    for (let written = 0; written < 1.5 * checkpointBytes; written += 20_000) insert.run();
    await expect.poll(() => shipper.metrics().files, { timeout: 10_000 }).toBeGreaterThan(files);
  }
  const { walBytesPeak, checkpoints } = shipper.metrics();
  expect(checkpoints).toBeGreaterThan(2);
  expect(walBytesPeak).toBeLessThan((rounds / 2) * checkpointBytes);
  await shipper.close();
  await expectSame(storage, db, `${file}.copy`);
  db.close();
});
