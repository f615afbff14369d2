/** Checkpoints run beside the commits, keep the WAL bounded, and never outlive the connection. */
import { pbkdf2 } from "node:crypto";
import { copyFileSync, existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { promisify } from "node:util";
import { Worker } from "node:worker_threads";
import Database from "better-sqlite3";
import { expect, it } from "vitest";
import { extensionPath, native } from "../../src/native.ts";
import { closedAfterEach } from "../support/databases.ts";
import { temporaryFolder } from "../support/folder.ts";
import { openRaw, patiently, type RawReplica } from "../support/replica.ts";

const folder = temporaryFolder();
const open = closedAfterEach();

const schema = "CREATE TABLE IF NOT EXISTS note (k INTEGER PRIMARY KEY, body)";
const pageBytes = 4096;
/** SQLite's own default: a WAL of this many pages is checkpointed. */
const framesUsual = 1000;

function replica(file: string): RawReplica {
  const made = openRaw(file, schema, ["note"]);
  open.push(made.db);
  return made;
}

/** Commits `count` rows of a page each, one by one, without a turn of the event loop. */
function write({ db }: RawReplica, count: number): void {
  const insert = db.prepare("INSERT INTO note (body) VALUES (randomblob(3000))");
  for (let i = 0; i < count; i++) insert.run();
}

/** Merges what another replica holds as state, a few ms at a time; `onBusy` when it has to wait. */
async function receiveState(
  from: RawReplica,
  to: RawReplica,
  onBusy: () => Promise<void>,
): Promise<number> {
  let { cursor } = native.startState(to.handle, 0);
  for (let rows = 0; ; ) {
    const { chunk, next } = native.readState(from.handle, cursor, 1 << 18, patiently);
    let offset = 0;
    for (let again: 0 | 1 = 0; ; ) {
      const merged = native.mergeState(to.handle, chunk, next, offset, again, 4);
      if (merged.busy) {
        await onBusy();
        continue;
      }
      rows += merged.rows;
      offset = merged.consumed;
      again = 1;
      if (merged.complete) return rows;
      if (!merged.more) break;
    }
    cursor = next;
  }
}

/** The rows that are in the database file itself, whatever its WAL holds. */
function rowsInFile(file: string): number {
  const copy = folder.file();
  copyFileSync(file, copy);
  const db = new Database(copy);
  try {
    return Number(db.prepare("SELECT count(*) FROM note").pluck().get());
  } catch {
    return 0; // nothing yet, or a checkpoint half done
  } finally {
    db.close();
  }
}

const walBytes = (file: string): number => statSync(`${file}-wal`).size;

it("runs on a thread of the pool, not in the commit that fills the WAL", async () => {
  const file = folder.file();
  const here = replica(file);
  // Twice what the pool has threads: whatever is queued after them has to wait.
  const busy = Array.from({ length: 8 }, () => promisify(pbkdf2)("", "", 100_000, 64, "sha512"));
  write(here, 600);
  expect(walBytes(file)).toBeGreaterThan(framesUsual * pageBytes);
  expect(rowsInFile(file)).toBe(0);
  await Promise.all(busy);
  while (rowsInFile(file) < 300) await setTimeout(5);
  expect(here.db.pragma("integrity_check", { simple: true })).toBe("ok");
});

it("keeps the WAL bounded while the event loop does not turn", async () => {
  const file = folder.file();
  const here = replica(file);
  const sizes: number[] = [];
  for (let i = 0; i < 4; i++) {
    write(here, 3000);
    sizes.push(walBytes(file));
    await setTimeout(1);
  }
  for (const bytes of sizes) expect(bytes).toBeLessThan(4.2 * framesUsual * pageBytes);
});

it("keeps it shorter beside what can wait, whoever commits meanwhile", async () => {
  const from = replica(":memory:");
  write(from, 12_000);
  const file = folder.file();
  const here = replica(file);
  const count = here.db.prepare("SELECT count(*) FROM note").pluck();
  let longest = 0;
  let rows = 0;
  const transferred = await receiveState(from, here, async () => {
    longest = Math.max(longest, walBytes(file));
    // While it waits nobody commits: how long that takes is the machine's affair.
    if (count.get() !== rows) write(here, 1);
    rows = Number(count.get());
    await setTimeout(1);
  });
  expect(transferred).toBe(12_000);
  expect(longest).toBeLessThan(3 * framesUsual * pageBytes);
});

it("leaves a WAL alone whose checkpoints the application has turned off", async () => {
  const file = folder.file();
  const db = new Database(file);
  open.push(db);
  db.pragma("journal_mode = WAL");
  db.pragma("wal_autocheckpoint = 0");
  db.exec(schema);
  db.loadExtension(extensionPath);
  const handle = Number(db.prepare("SELECT mergelite_handle()").pluck().get());
  const { peerId } = native.open(handle, "", "", () => {});
  native.replicate(handle, "note");
  write({ db, handle, peerId }, 5000);
  await setTimeout(50);
  expect(walBytes(file)).toBeGreaterThan(5000 * pageBytes);
  expect(rowsInFile(file)).toBe(0);
});

it("is over when the database closes", () => {
  for (let round = 0; round < 10; round++) {
    const file = folder.file();
    const { db } = replica(file);
    write({ db, handle: 0, peerId: 0 }, 520 + round);
    db.close();
    expect(existsSync(`${file}-wal`)).toBe(false);
    expect(rowsInFile(file)).toBe(520 + round);
  }
});

it("serves connections of one file that write in turn", async () => {
  const file = folder.file();
  const first = replica(file);
  const second = replica(file);
  for (let i = 0; i < 20; i++) {
    write(first, 100);
    write(second, 100);
    await setTimeout(1);
  }
  while (rowsInFile(file) < 1000) await setTimeout(5);
  expect(walBytes(file)).toBeLessThan(5 * framesUsual * pageBytes);
});

it("makes way for a change of the journal mode", () => {
  for (let round = 0; round < 10; round++) {
    const file = folder.file();
    const here = replica(file);
    write(here, 520 + round);
    expect(here.db.pragma("journal_mode = DELETE", { simple: true })).toBe("delete");
    write(here, 2);
    expect(rowsInFile(file)).toBe(522 + round);
  }
});

it("has nothing to do in memory", () => {
  const here = replica(":memory:");
  write(here, 2000);
  expect(here.db.prepare("SELECT count(*) FROM note").pluck().get()).toBe(2000);
});

it("survives a worker that is terminated in the middle", async () => {
  const file = folder.file();
  const { db } = replica(file);
  db.close();
  const source = `
    const { parentPort } = require("node:worker_threads");
    const Database = require(${JSON.stringify(join(process.cwd(), "node_modules/better-sqlite3"))});
    const native = require(${JSON.stringify(extensionPath)});
    const db = new Database(${JSON.stringify(file)});
    db.loadExtension(${JSON.stringify(extensionPath)});
    native.open(db.prepare("SELECT mergelite_handle()").pluck().get(), "", "", () => {});
    const insert = db.prepare("INSERT INTO note (body) VALUES (randomblob(3000))");
    for (let i = 0; ; i++) {
      insert.run();
      if (i === 600) parentPort.postMessage("full");
    }`;
  for (let round = 0; round < 3; round++) {
    const worker = new Worker(source, { eval: true });
    await new Promise((resolve) => worker.once("message", resolve));
    await setTimeout(round * 10);
    await worker.terminate();
  }
  const after = new Database(file);
  open.push(after);
  expect(after.pragma("integrity_check", { simple: true })).toBe("ok");
  expect(Number(after.prepare("SELECT count(*) FROM note").pluck().get())).toBeGreaterThan(1800);
});
