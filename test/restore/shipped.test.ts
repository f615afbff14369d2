/** What the shipper ships: restored, proved and followed, also encrypted. */
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import Database from "better-sqlite3";
import { expect, test } from "vitest";
import { BackupKeeper } from "../../src/backup/keeper.ts";
import { verifyBackup } from "../../src/backup/verify.ts";
import { follow } from "../../src/restore/follow.ts";
import { restore } from "../../src/restore/restore.ts";
import { ship } from "../../src/ship/ship.ts";
import { encryptedStorage } from "../../src/storage/encrypted.ts";
import { fileStorage } from "../../src/storage/file.ts";
import { churn, HandMadeBackup } from "../support/backup.ts";
import { temporaryFolder } from "../support/folder.ts";

const folder = temporaryFolder();
const newKey = () => new Uint8Array(randomBytes(32));

test.each(["plain", "encrypted"])(
  "%s: what was flushed is restored, proved and followed",
  async (how) => {
    const place = fileStorage(`${folder.file()}-backup`);
    const storage = how === "plain" ? place : encryptedStorage(place, [newKey()]);
    const source = folder.file();
    const db = new Database(source);
    db.pragma("journal_mode = WAL");
    db.exec("CREATE TABLE note (id INTEGER PRIMARY KEY, body BLOB)");
    const shipper = ship(db, storage, { intervalMs: 5 });
    db.exec(churn(0));
    await shipper.flush();
    const copy = folder.file();
    const follower = await follow(storage, copy, { intervalMs: 20 });
    let position = await shipper.flush();
    for (let i = 1; i < 20; i++) {
      db.exec(churn(i));
      position = await shipper.flush();
      await follower.wait(position);
    }
    const image = db.serialize();
    const file = folder.file();
    expect(await restore(storage, file, { at: position })).toMatchObject({ txid: position.txid });
    expect(readFileSync(file).equals(image)).toBe(true);
    expect(await verifyBackup(storage)).toMatchObject({ txid: position.txid, checksum: "right" });
    const keeper = await BackupKeeper.open(storage, { intervalsMs: [1], level0Ms: 0 });
    await keeper.tend({ nowMs: Date.now() + 60_000 });
    expect(await verifyBackup(storage)).toMatchObject({ txid: position.txid, checksum: "right" });
    await follower.close();
    expect(readFileSync(copy).equals(image)).toBe(true);
    await shipper.close();
    db.close();
  },
);

test("an encrypted object that was altered is avoided, or named", async () => {
  const place = fileStorage(`${folder.file()}-backup`);
  const backup = new HandMadeBackup(encryptedStorage(place, [newKey()]));
  for (let i = 0; i < 6; i++) await backup.write(churn(i));
  const joined = await backup.join(2, 5, 1);
  await alter(place, joined);
  expect(await restore(backup.storage, folder.file())).toMatchObject({
    txid: 6,
    avoided: [{ key: joined }],
  });
  await alter(place, backup.key(4, 4));
  await expect(restore(backup.storage, folder.file())).rejects.toMatchObject({
    code: "BACKUP_DAMAGED",
    message: expect.stringContaining(backup.key(4, 4)),
  });
});

async function alter(place: ReturnType<typeof fileStorage>, key: string): Promise<void> {
  const pieces: Uint8Array[] = [];
  for await (const piece of (await place.get(key)).body) pieces.push(piece);
  const bytes = Buffer.concat(pieces);
  bytes[bytes.length - 20] = (bytes[bytes.length - 20] ?? 0) ^ 1;
  await place.put(key, bytes);
}
