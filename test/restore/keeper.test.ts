/** Compaction, retention and proofs on real objects. */
import { readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { backups } from "../../src/backup/backups.ts";
import { BackupKeeper } from "../../src/backup/keeper.ts";
import { verifyBackup } from "../../src/backup/verify.ts";
import { pageChecksums } from "../../src/ltx/pages.ts";
import { listBackup } from "../../src/restore/inventory.ts";
import { restore } from "../../src/restore/restore.ts";
import { encodeManifest, manifestKey } from "../../src/ship/manifest.ts";
import { fileStorage } from "../../src/storage/file.ts";
import { churn, HandMadeBackup } from "../support/backup.ts";
import { temporaryFolder } from "../support/folder.ts";

const folder = temporaryFolder();
const levels = { intervalsMs: [5000, 20_000], snapshotMs: 60_000 };
const keeping = { retentionMs: 90_000, snapshotsMin: 1, level0Ms: 10_000, levelsMs: 40_000 };

const newBackup = () => new HandMadeBackup(fileStorage(`${folder.file()}-backup`));

async function restoredImage(backup: HandMadeBackup, txid: number): Promise<Buffer> {
  const file = folder.file();
  await restore(backup.storage, file, { at: { txid } });
  return readFileSync(file);
}

test("four minutes of commits: every position that is left restores to the byte", async () => {
  const backup = newBackup();
  const keeper = await BackupKeeper.open(backup.storage, { ...levels, ...keeping });
  let proofs = 0;
  for (let i = 0; i < 240; i++) {
    const nowMs = i * 1000;
    const txid = await backup.write(churn(i), nowMs);
    const key = backup.key(txid, txid);
    keeper.add({
      level: 0,
      minTxid: txid,
      maxTxid: txid,
      key,
      bytes: 1,
      modifiedMs: 0,
      timestampMs: nowMs,
    });
    const { verified } = await keeper.tend({ nowMs });
    if (verified !== undefined) proofs++;
    if (i % 60 !== 59) continue;
    expect((await restoredImage(backup, txid)).equals(backup.image)).toBe(true);
  }
  expect(proofs).toBeGreaterThan(0);
  const files = await listBackup(backup.storage);
  expect(new Set(files.map(({ key }) => key))).toEqual(new Set(keeper.files.map(({ key }) => key)));
  expect(files.length).toBeLessThan(60);
  for (const { maxTxid } of files.filter(({ level }) => level > 0)) {
    const image = await restoredImage(backup, maxTxid);
    expect(image.equals(backup.images.get(maxTxid) ?? Buffer.alloc(0))).toBe(true);
  }
  const list = await backups(backup.storage);
  expect(list.newest).toEqual({ txid: 240, timestampMs: 239_000 });
  expect(list.oldest?.timestampMs).toBeLessThanOrEqual(239_000 - keeping.retentionMs);
  expect(list.maxTxid).toBe(240);
  expect(list.levels.map(({ level }) => level)).toEqual([0, 1, 2, 9]);
  expect((await verifyBackup(backup.storage)).txid).toBe(240);
});

test("nothing is deleted when what is left cannot be proved", async () => {
  const backup = newBackup();
  for (let i = 0; i < 6; i++) await backup.write(churn(i), i * 1000);
  await backup.join(1, 4, 9);
  await backup.storage.put(backup.key(6, 6), Buffer.from("not an LTX file"));
  const keeper = await BackupKeeper.open(backup.storage, { retentionMs: 0, snapshotsMin: 1 });
  const nowMs = Date.now() + 1e9;
  const before = await listBackup(backup.storage);
  await expect(keeper.tend({ nowMs })).rejects.toMatchObject({ code: "LTX_CORRUPT" });
  expect(await listBackup(backup.storage)).toEqual(before);
});

test("a proof compares checksums, and has SQLite look", async () => {
  const backup = newBackup();
  for (let i = 0; i < 5; i++) await backup.write(churn(i));
  const told: number[] = [];
  const options = {
    folder: folder.path,
    onProgress: ({ percent }: { percent: number }) => told.push(percent),
  };
  expect(await verifyBackup(backup.storage, options)).toMatchObject({
    txid: 5,
    checksum: "unknown",
  });
  expect(told.at(-1)).toBe(100);
  await putManifest(backup, await checksumOf(backup.image));
  expect(await verifyBackup(backup.storage, options)).toMatchObject({ txid: 5, checksum: "right" });
  await putManifest(backup, (1n << 63n) | 5n);
  await expect(verifyBackup(backup.storage, options)).rejects.toMatchObject({
    code: "BACKUP_DAMAGED",
    message: expect.stringContaining("checksum"),
  });
  expect(readdirSync(folder.path).filter((name) => name.startsWith("mergelite-verify"))).toEqual(
    [],
  );
});

test.each([2, 0])("a database damaged before it was shipped is found: page %i", async (page) => {
  const backup = newBackup();
  for (let i = 0; i < 5; i++) await backup.write(churn(i));
  const image = Buffer.from(backup.image);
  // The head of the b-tree on it; the first page has the database's own before.
  const head = page === 0 ? 100 : page * 512;
  image.fill(0xee, head, head + 12);
  await backup.ship(image, 9000);
  await expect(verifyBackup(backup.storage)).rejects.toMatchObject({ code: "BACKUP_DAMAGED" });
  expect((await verifyBackup(backup.storage, { at: { txid: 5 } })).txid).toBe(5);
});

async function checksumOf(image: Buffer): Promise<bigint> {
  const numbers = Uint32Array.from({ length: image.length / 512 }, (_, i) => i + 1);
  const sums = await pageChecksums({ numbers, data: image }, 512);
  return sums.reduce((sum, one) => sum ^ one, 0n) | (1n << 63n);
}

async function putManifest(backup: HandMadeBackup, checksum: bigint): Promise<void> {
  const { position: txid, image } = backup;
  const head = { txid, timestampMs: 0, pages: image.length / 512, checksum };
  await backup.storage.put(manifestKey, encodeManifest({ pageSize: 512, head, fence: 0 }));
}
