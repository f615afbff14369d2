/** A WAL that is given up while all pages of the database are read. */
import { readdirSync } from "node:fs";
import Database from "better-sqlite3";
import { expect, test } from "vitest";
import { listBackup } from "../../src/restore/inventory.ts";
import { restore } from "../../src/restore/restore.ts";
import { temporaryFolder } from "../support/folder.ts";
import { memoryStorage } from "../support/memory-storage.ts";
import { expectSame, openWal, ship } from "../support/ship.ts";

const folder = temporaryFolder();
const hourMs = 3_600_000;

test("what is shipped is what one commit has left, and leaves no file behind", async () => {
  const file = folder.file();
  const db = openWal(file);
  db.exec("CREATE TABLE row (id INTEGER PRIMARY KEY, round INTEGER, filler BLOB)");
  const insert = db.prepare("INSERT INTO row VALUES (?, 0, randomblob(3500))");
  db.transaction(() => {
    for (let id = 0; id < 2000; id++) insert.run(id);
  })();
  db.pragma("wal_checkpoint(TRUNCATE)");
  const storage = memoryStorage();
  const limits = { checkpointBytes: 65_536, walBytesMax: 262_144 };
  const never = { intervalMs: hourMs, pollMs: hourMs, keep: false } as const;
  const shipper = ship(db, storage, { ...never, ...limits });
  await shipper.flush();
  // Each is longer than the WAL may be, so it gives up the readers, and is written back at once.
  const update = db.prepare("UPDATE row SET round = round + 1 WHERE id % 10 = 0");
  for (let i = 0; i < 6; i++) {
    let left = 8;
    const writing = setInterval(() => left-- > 0 && update.run(), 3);
    for (let isMade = false; !isMade; ) {
      isMade = await shipper.snapshot().then(
        () => true,
        () => false,
      );
    }
    clearInterval(writing);
    await shipper.flush();
  }
  expect(shipper.metrics().rebases).toBeGreaterThan(1);
  await expectSame(storage, db, `${file}.copy`);
  expect(readdirSync(`${file}-ship/queue`)).toEqual([]);
  await shipper.close();
  const positions = new Set((await listBackup(storage, {})).map(({ maxTxid }) => maxTxid));
  for (const txid of positions) {
    const target = `${file}.${txid}`;
    await restore(storage, target, { at: { txid } });
    const restored = new Database(target, { readonly: true });
    const rounds = "SELECT count(DISTINCT round) FROM row WHERE id % 10 = 0";
    expect([txid, restored.prepare(rounds).pluck().get()]).toEqual([txid, 1]);
    expect(restored.pragma("quick_check", { simple: true })).toBe("ok");
    restored.close();
  }
  db.close();
});
