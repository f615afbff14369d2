/**
 * A database over the page that SQLite locks and never writes, the one with byte 2^30: shipped,
 * followed, joined, restored. It takes 5 GB of disk and a minute, so it wants to be asked for.
 */
import { spawnSync } from "node:child_process";
import { rmSync } from "node:fs";
import Database from "better-sqlite3";
import { expect, test } from "vitest";
import { BackupKeeper } from "../../src/backup/keeper.ts";
import { verifyBackup } from "../../src/backup/verify.ts";
import { follow } from "../../src/restore/follow.ts";
import { restore } from "../../src/restore/restore.ts";
import { ship } from "../../src/ship/index.ts";
import { fileStorage } from "../../src/storage/index.ts";
import { temporaryFolder } from "../support/folder.ts";

const folder = temporaryFolder();
const [pageSize, lockPage] = [65_536, 16_385];

function madeDatabase(file: string): Database.Database {
  const db = new Database(file);
  db.pragma(`page_size = ${pageSize}`);
  db.pragma("journal_mode = OFF");
  db.pragma("synchronous = OFF");
  db.exec("CREATE TABLE note (id INTEGER PRIMARY KEY, body BLOB); CREATE TABLE filler (body BLOB)");
  const filler = db.prepare("INSERT INTO filler VALUES (zeroblob(?))");
  // SQLite's rows have at most a thousand million bytes.
  for (let row = 0; row < 4; row++) filler.run(Math.floor((lockPage - 9) / 4) * (pageSize - 4));
  db.pragma("journal_mode = WAL");
  return db;
}

const pagesOf = (db: Database.Database) => Number(db.pragma("page_count", { simple: true }));

function expectEqualFiles(one: string, other: string): void {
  expect(spawnSync("cmp", [one, other], { encoding: "utf8" }).stdout).toBe("");
}

test.skipIf(process.env.LOCK_PAGE === undefined)(
  "the lock page is nowhere",
  async () => {
    const file = folder.file();
    const db = madeDatabase(file);
    expect(pagesOf(db)).toBeLessThan(lockPage);
    const storage = fileStorage(`${file}-backup`);
    const shipper = ship(db, storage, { intervalMs: 5 });
    await shipper.flush();
    const copy = folder.file();
    const follower = await follow(storage, copy, { intervalMs: 20 });
    const insert = db.prepare("INSERT INTO note (body) VALUES (zeroblob(?))");
    const change = db.prepare("UPDATE note SET body = randomblob(9000) WHERE id % 3 = ?");
    let position = await shipper.flush();
    for (let i = 0; i < 8; i++) {
      // Several pages each, so that the lock page is met in the middle of a chain of them.
      insert.run(300_000);
      change.run(i % 3);
      position = await shipper.flush();
      await follower.wait(position);
    }
    expect(pagesOf(db)).toBeGreaterThan(lockPage);
    const keeper = await BackupKeeper.open(storage, { intervalsMs: [1], level0Ms: 0 });
    await keeper.tend({ nowMs: Date.now() + 60_000 });
    expect(await verifyBackup(storage)).toMatchObject({ txid: position.txid, checksum: "right" });
    const restored = folder.file();
    await restore(storage, restored);
    await follower.close();
    await shipper.close();
    db.pragma("wal_checkpoint(TRUNCATE)");
    db.close();
    expectEqualFiles(file, copy);
    rmSync(copy);
    expectEqualFiles(file, restored);
    const back = new Database(restored);
    expect(pagesOf(back)).toBeGreaterThan(lockPage);
    expect(back.pragma("integrity_check", { simple: true })).toBe("ok");
    back.close();
  },
  600_000,
);
