/** A database that is shipped and streamed by one process, which reads it once at a time for both. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, mkdirSync, openSync, readSync, rmSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterEach, expect, test } from "vitest";
import { serveWal } from "../../src/live/index.ts";
import { acquireLease } from "../../src/ship/lease.ts";
import { churn } from "../support/backup.ts";
import { temporaryFolder } from "../support/folder.ts";
import { expectSamePages, Served } from "../support/live.ts";
import { memoryStorage } from "../support/memory-storage.ts";
import { eager, expectSame, openWal, ship, watchShipper } from "../support/ship.ts";

const folder = temporaryFolder();
const hourMs = 3_600_000;
const patience = () => ({ signal: AbortSignal.timeout(20_000) });
const hostile = fileURLToPath(new URL("../ship/worker.mjs", import.meta.url));
const writers: ChildProcess[] = [];
afterEach(() => {
  for (const writer of writers.splice(0)) writer.kill("SIGKILL");
});

/** Another process that commits as fast as it can. */
const load = `
  const Database = require("better-sqlite3");
  const db = new Database(process.argv[1], { timeout: 5000 });
  db.pragma("synchronous = NORMAL");
  const insert = db.prepare("INSERT INTO note (body) VALUES (randomblob(300))");
  for (;;) insert.run();
`;

test("storage and followers get every commit, each at its pace", async () => {
  const file = folder.file();
  const db = openWal(file);
  const storage = memoryStorage();
  const shipper = ship(db, storage, { ...eager, intervalMs: hourMs, checkpointBytes: 2 ** 24 });
  const primary = await Served.start(shipper);
  const copy = folder.file();
  const follower = await primary.follow(copy);
  for (let i = 0; i < 60; i++) {
    db.exec(churn(i));
    if (i % 3 === 0) await sleep(i % 7);
    if (i % 10 === 9) {
      const { txid } = await primary.server.flush(patience());
      expect(follower.position.txid).toBe(txid);
      expectSamePages(copy, db);
    }
  }
  await shipper.flush();
  await expectSame(storage, db, `${file}.copy`);
  const { files, rebases } = shipper.metrics();
  // Followers were sent more of them: one for each flush at least.
  expect(files).toBeLessThan(6);
  expect(follower.metrics().commits).toBeGreaterThan(5);
  expect([rebases, primary.server.metrics().rebases]).toEqual([1, 1]);
  await follower.close();
  await primary.close();
  await shipper.close();
  db.close();
});

test("a load without pauses lets the WAL begin anew, again and again", async () => {
  const file = folder.file();
  const db = openWal(file);
  const storage = memoryStorage();
  const shipper = ship(db, storage, { ...eager, intervalMs: 50 });
  const primary = await Served.start(shipper);
  const copy = folder.file();
  const follower = await primary.follow(copy);
  await shipper.flush();
  const writer = spawn(process.execPath, ["-e", load, file], { stdio: "inherit" });
  writers.push(writer);
  const beginnings = new Set<number>();
  const wal = openSync(`${file}-wal`, "r");
  const head = Buffer.alloc(16);
  for (let looks = 0; looks < 1000 && beginnings.size < 8; looks++) {
    await sleep(5);
    readSync(wal, head, 0, 16, 0);
    // How often it has begun.
    beginnings.add(head.readUInt32BE(12));
  }
  closeSync(wal);
  writer.kill("SIGKILL");
  await once(writer, "exit");
  expect(beginnings.size).toBe(8);
  await primary.server.flush(patience());
  expectSamePages(copy, db);
  await shipper.flush();
  await expectSame(storage, db, `${file}.copy`);
  await follower.close();
  await primary.close();
  await shipper.close();
  db.close();
}, 60_000);

test("nobody misses anything of writers that checkpoint in every mode", async () => {
  const file = folder.file();
  const db = openWal(file);
  db.exec("CREATE TABLE counter (n INTEGER); INSERT INTO counter VALUES (0)");
  const storage = memoryStorage();
  const shipper = ship(db, storage, { ...eager, intervalMs: 30 });
  const primary = await Served.start(shipper, { intervalMs: 3 });
  const copy = folder.file();
  const follower = await primary.follow(copy);
  for (let i = 0; i < 2; i++) {
    const writer = spawn(process.execPath, [hostile, "foreign", file], { stdio: "inherit" });
    writers.push(writer);
    await sleep(1500);
    writer.kill(i === 0 ? "SIGTERM" : "SIGKILL");
    await once(writer, "exit");
    await primary.server.flush(patience());
    expectSamePages(copy, db);
    await shipper.flush();
    await expectSame(storage, db, `${file}.copy`);
  }
  // The WAL alone told them everything.
  expect([shipper.metrics().rebases, primary.server.metrics().rebases]).toEqual([1, 1]);
  await follower.close();
  await primary.close();
  await shipper.close();
  db.close();
}, 60_000);

test("what fails for followers is made good, and holds shipping up for nothing", async () => {
  const file = folder.file();
  const db = openWal(file);
  const storage = memoryStorage();
  const shipper = ship(db, storage, eager);
  const { failures } = watchShipper(shipper);
  const primary = await Served.start(shipper);
  const copy = folder.file();
  const follower = await primary.follow(copy);
  rmSync(`${file}-live/queue`, { recursive: true });
  const failed = new Promise((resolve) => primary.server.on("failed", resolve));
  for (let i = 0; i < 10; i++) {
    db.exec(churn(i));
    await shipper.flush();
  }
  await failed;
  await expectSame(storage, db, `${file}.copy`);
  mkdirSync(`${file}-live/queue`);
  // Its file could not be sent: it comes again.
  await expect.poll(() => primary.server.followers.length, { timeout: 20_000 }).toBe(1);
  const { txid } = await primary.server.flush(patience());
  await follower.wait({ txid }, patience());
  expectSamePages(copy, db);
  expect(primary.server.metrics().rebases).toBeGreaterThan(1);
  expect(shipper.metrics().rebases).toBe(1);
  expect(failures).toEqual([]);
  await follower.close();
  await primary.close();
  await shipper.close();
  db.close();
});

test("a WAL that was given up is made good for both", async () => {
  const file = folder.file();
  const db = openWal(file);
  const storage = memoryStorage();
  const limits = { checkpointBytes: 65_536, walBytesMax: 262_144 };
  const shipper = ship(db, storage, { ...eager, ...limits, intervalMs: hourMs, pollMs: hourMs });
  const primary = await Served.start(shipper, { intervalMs: 20, pollMs: hourMs });
  const copy = folder.file();
  const follower = await primary.follow(copy);
  for (let i = 0; i < 3; i++) {
    // JavaScript gets no turn.
    for (let k = 0; k < 200; k++) db.exec("INSERT INTO note (body) VALUES (randomblob(3000))");
    if (i % 2 === 0) await shipper.flush();
    await primary.server.flush(patience());
    expectSamePages(copy, db);
    await shipper.flush();
    await expectSame(storage, db, `${file}.copy`);
  }
  expect(shipper.metrics().rebases).toBeGreaterThan(1);
  await follower.close();
  await primary.close();
  await shipper.close();
  db.close();
});

test("serving begins and ends as often as is wanted, and with the shipper at last", async () => {
  const file = folder.file();
  const db = openWal(file);
  const shipper = ship(db, memoryStorage(), eager);
  const refused = { checkpointBytes: 65_536 };
  expect(() => serveWal(shipper, refused)).toThrow(/of the shipper/);
  const copy = folder.file();
  let port = 0;
  let renewed = 0;
  for (let i = 0; i < 4; i++) {
    const primary = await Served.start(shipper, { port });
    ({ port } = primary.listener);
    expect(() => serveWal(shipper)).toThrow(/another shipper/);
    db.exec(churn(i));
    const follower = await primary.follow(copy);
    follower.on("renewed", () => renewed++);
    db.exec(churn(i + 10));
    await primary.server.flush(patience());
    expectSamePages(copy, db);
    await follower.close();
    if (i === 3) await shipper.close();
    else await primary.close();
    await expect(primary.server.flush()).rejects.toMatchObject({ code: "CLOSED" });
    await primary.close();
    db.exec(churn(i + 20));
    if (i < 3) await shipper.flush();
  }
  expect(renewed).toBe(0);
  expect(() => serveWal(shipper)).toThrow(/closed/);
  db.close();
});

test("serving ends before the shipper has its place, and leaves nothing behind", async () => {
  const db = openWal(folder.file());
  const storage = memoryStorage();
  const held = await acquireLease(storage, { ttlMs: 1000 });
  const shipper = ship(db, storage, { ...eager, leaseTtlMs: 1000 });
  const primary = await Served.start(shipper);
  const flushed = primary.server.flush();
  const refused = expect(flushed).rejects.toMatchObject({ code: "CLOSED" });
  const following = primary.follow(folder.file()).catch((error: unknown) => error);
  const signal = AbortSignal.timeout(100);
  await expect(primary.server.flush({ signal })).rejects.toThrow("timeout");
  await primary.close();
  await refused;
  expect(await following).toBeInstanceOf(Error);
  await held.release();
  await shipper.flush(patience());
  const again = serveWal(shipper);
  await again.flush(patience());
  await again.close();
  await shipper.close();
  db.close();
});
