/** Backups of every make, whole and damaged, back into a file. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import Database from "better-sqlite3";
import { describe, expect, test } from "vitest";
import { parseTxid } from "../../src/ltx/keys.ts";
import { listBackup } from "../../src/restore/inventory.ts";
import { type RestoreProgress, restore } from "../../src/restore/restore.ts";
import { fileStorage } from "../../src/storage/file.ts";
import { churn, HandMadeBackup } from "../support/backup.ts";
import { temporaryFolder } from "../support/folder.ts";
import { digestOf, litestreamSha256 } from "../support/ltx.ts";
import { accountsSql, ReaderProcess } from "../support/reader-process.ts";
import { root } from "../support/ring1.ts";

const folder = temporaryFolder();
const litestream = fileStorage(join(root, "test/fixtures/litestream"));
const digestOfFile = (file: string) => digestOf(readFileSync(file));

async function madeBackup(commits: number): Promise<HandMadeBackup> {
  const backup = new HandMadeBackup(fileStorage(`${folder.file()}-backup`));
  for (let i = 0; i < commits; i++) await backup.write(churn(i));
  return backup;
}

const beside = (file: string) =>
  readdirSync(dirname(file)).filter(
    (name) => name.startsWith(basename(file)) && !name.endsWith("-backup"),
  );

describe("what is restored", () => {
  test("Litestream's own backup, to the byte", async () => {
    const file = folder.file();
    const restored = await restore(litestream, file);
    expect(restored?.txid).toBe(0x5c);
    expect(digestOfFile(file)).toBe(litestreamSha256);
    expect(restored?.avoided).toEqual([]);
    expect(beside(file)).toEqual([basename(file)]);
  });

  test("every position that is there, whatever the levels", async () => {
    const backup = await madeBackup(24);
    await backup.join(1, 6, 9);
    await backup.join(3, 9, 1);
    await backup.join(8, 15, 1);
    await backup.join(5, 20, 2);
    for (const [position, image] of backup.images) {
      const file = folder.file();
      const restored = await restore(backup.storage, file, { at: { txid: position } });
      expect(restored?.txid).toBe(position);
      expect(readFileSync(file).equals(image)).toBe(true);
      const db = new Database(file, { readonly: true });
      expect(db.pragma("integrity_check", { simple: true })).toBe("ok");
      db.close();
    }
  });

  test("a moment is the last commit that is not younger", async () => {
    const backup = await madeBackup(9);
    const at = async (ms: number) =>
      (await restore(backup.storage, folder.file(), { at: new Date(ms) }))?.txid;
    // Commit n happened at (n - 1) seconds.
    expect(await at(0)).toBe(1);
    expect(await at(3999)).toBe(4);
    expect(await at(4000)).toBe(5);
    expect(await at(1e9)).toBe(9);
    await expect(at(-1)).rejects.toMatchObject({
      code: "BACKUP_GAP",
      hint: expect.stringContaining("0000000000000001 of 1970-01-01T00:00:00.000Z"),
    });
  });

  test("progress ends at all bytes", async () => {
    const backup = await madeBackup(5);
    const told: RestoreProgress[] = [];
    await restore(backup.storage, folder.file(), { onProgress: (one) => told.push(one) });
    const files = await listBackup(backup.storage);
    const bytesTotal = files.reduce((sum, { bytes }) => sum + bytes, 0);
    expect(told.at(-1)).toEqual({ bytes: bytesTotal, bytesTotal, percent: 100 });
  });
});

describe("what is damaged or missing", () => {
  test("is avoided when other objects hold the same", async () => {
    const backup = await madeBackup(12);
    const joined = await backup.join(4, 9, 1);
    const bytes = await readObject(backup, joined);
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
    await backup.storage.put(joined, bytes);
    const file = folder.file();
    const restored = await restore(backup.storage, file);
    expect(restored?.avoided).toEqual([{ key: joined, problem: expect.stringContaining(joined) }]);
    expect(readFileSync(file).equals(backup.image)).toBe(true);
  });

  test.each(["cut", "flipped", "swapped", "emptied"])("%s: named, with a way out", async (how) => {
    const backup = await madeBackup(8);
    const key = backup.key(6, 6);
    const bytes = await readObject(backup, key);
    const damaged = {
      cut: bytes.subarray(0, bytes.length - 3),
      flipped: Buffer.from(bytes).fill(0xaa, 110, 111),
      swapped: await readObject(backup, backup.key(7, 7)),
      emptied: Buffer.alloc(0),
    }[how];
    await backup.storage.put(key, damaged ?? Buffer.alloc(0));
    const file = folder.file();
    const failure = restore(backup.storage, file);
    await expect(failure).rejects.toMatchObject({
      code: "BACKUP_DAMAGED",
      message: expect.stringContaining(key),
      hint: expect.stringContaining("0000000000000005"),
    });
    expect(beside(file)).toEqual([]);
    await restore(backup.storage, file, { at: { txid: await offered(failure) } });
    expect(readFileSync(file).equals(backup.images.get(5) ?? Buffer.alloc(0))).toBe(true);
  });

  test("a gap is told, with the position before it", async () => {
    const backup = await madeBackup(8);
    await backup.storage.delete(backup.key(4, 4));
    await backup.storage.delete(backup.key(5, 5));
    const failure = restore(backup.storage, folder.file());
    await expect(failure).rejects.toMatchObject({
      code: "BACKUP_GAP",
      message: expect.stringContaining("0000000000000004 to 0000000000000005"),
    });
    expect(await offered(failure)).toBe(3);
  });

  test("a position that was compacted away is told, with the one before it", async () => {
    const backup = await madeBackup(8);
    await backup.join(3, 6, 1);
    for (const txid of [3, 4, 5, 6]) await backup.storage.delete(backup.key(txid, txid));
    const failure = restore(backup.storage, folder.file(), { at: { txid: 5 } });
    await expect(failure).rejects.toMatchObject({ code: "BACKUP_GAP" });
    expect(await offered(failure)).toBe(2);
    expect((await restore(backup.storage, folder.file(), { at: { txid: 6 } }))?.txid).toBe(6);
  });

  test("nothing there, or no snapshot", async () => {
    const nothing = fileStorage(`${folder.file()}-backup`);
    await expect(restore(nothing, folder.file())).rejects.toMatchObject({ code: "BACKUP_EMPTY" });
    const backup = await madeBackup(3);
    await backup.storage.delete(backup.key(1, 1));
    const code = "BACKUP_EMPTY";
    await expect(restore(backup.storage, folder.file())).rejects.toMatchObject({ code });
  });
});

describe("the target", () => {
  test("an existing file stays unless it is forced", async () => {
    const backup = await madeBackup(3);
    const file = folder.file();
    writeFileSync(file, "mine");
    await expect(restore(backup.storage, file)).rejects.toMatchObject({ code: "FILE_EXISTS" });
    expect(await restore(backup.storage, file, { ifMissing: true })).toBeUndefined();
    expect(readFileSync(file, "utf8")).toBe("mine");
    await restore(backup.storage, file, { force: true });
    expect(readFileSync(file).equals(backup.image)).toBe(true);
  });

  test("the log of the old file is not played back into the new one", async () => {
    const backup = await madeBackup(3);
    const file = folder.file();
    const old = new Database(file);
    old.pragma("journal_mode = WAL");
    old.exec("CREATE TABLE mine (a); INSERT INTO mine VALUES (1)");
    for (const suffix of ["-wal", "-shm"])
      writeFileSync(`${file}x${suffix}`, readFileSync(file + suffix));
    old.close();
    // As a process that was killed leaves it: in one place with its file, in the other alone.
    for (const hasFile of [true, false]) {
      const target = hasFile ? file : folder.file();
      for (const suffix of ["-wal", "-shm"])
        writeFileSync(target + suffix, readFileSync(`${file}x${suffix}`));
      await restore(backup.storage, target, { force: true });
      expect(existsSync(`${target}-wal`)).toBe(false);
      expect(readFileSync(target).equals(backup.image)).toBe(true);
    }
  });

  test.each(["WAL", "DELETE"])("a file in use is not replaced, in mode %s", async (mode) => {
    const backup = await madeBackup(3);
    const file = folder.file();
    const user = new Database(file);
    user.pragma(`journal_mode = ${mode}`);
    user.exec("CREATE TABLE mine (a); BEGIN; INSERT INTO mine VALUES (1)");
    const inUse = { code: "FILE_IN_USE" };
    await expect(restore(backup.storage, file, { force: true })).rejects.toMatchObject(inUse);
    user.exec("COMMIT");
    if (mode === "WAL") {
      await expect(restore(backup.storage, file, { force: true })).rejects.toMatchObject(inUse);
    }
    expect(user.prepare("SELECT a FROM mine").pluck().all()).toEqual([1]);
    user.close();
    await restore(backup.storage, file, { force: true });
    expect(readFileSync(file).equals(backup.image)).toBe(true);
    expect(beside(file)).toEqual([basename(file)]);
  });

  test("nor one that is opened meanwhile, nor one of another process", async () => {
    const backup = await madeBackup(3);
    const file = folder.file();
    const other = new Database(file);
    other.pragma("journal_mode = WAL");
    other.exec(accountsSql);
    other.close();
    const inUse = { code: "FILE_IN_USE" };
    const users: Database.Database[] = [];
    const onProgress = () => {
      const user = new Database(file);
      users.push(user);
      user.exec("UPDATE version SET n = n + 1");
    };
    const late = restore(backup.storage, file, { force: true, onProgress });
    await expect(late).rejects.toMatchObject(inUse);
    for (const user of users) user.close();
    const reader = await ReaderProcess.start(folder.path, file, 5000);
    await expect(restore(backup.storage, file, { force: true })).rejects.toMatchObject(inUse);
    expect((await reader.stop()).wrong).toEqual([]);
    await restore(backup.storage, file, { force: true });
    expect(readFileSync(file).equals(backup.image)).toBe(true);
  });

  test("an abort leaves what was there, and nothing else", async () => {
    const backup = await madeBackup(6);
    const file = folder.file();
    writeFileSync(file, "mine");
    const controller = new AbortController();
    const reason = new Error("enough");
    const onProgress = () => controller.abort(reason);
    const options = { force: true, signal: controller.signal, onProgress };
    await expect(restore(backup.storage, file, options)).rejects.toBe(reason);
    expect(beside(file)).toEqual([basename(file)]);
    expect(readFileSync(file, "utf8")).toBe("mine");
  });

  test("mistakes are told at once", async () => {
    await expect(restore(litestream, folder.file(), { at: { txid: 0 } })).rejects.toThrow(
      TypeError,
    );
    await expect(restore(litestream, folder.file(), { at: new Date("?") })).rejects.toThrow(
      TypeError,
    );
    await expect(restore(litestream, join(folder.path, "no/such/x.db"))).rejects.toThrow("ENOENT");
  });
});

async function readObject(backup: HandMadeBackup, key: string): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of (await backup.storage.get(key)).body) pieces.push(piece);
  return Buffer.concat(pieces);
}

/** The position that an error's hint names. */
async function offered(failure: Promise<unknown>): Promise<number> {
  const { hint } = await failure.then(
    () => ({ hint: "" }),
    (error: unknown) => error as { hint: string },
  );
  const [text = ""] = /[0-9a-f]{16}/.exec(hint) ?? [];
  return parseTxid(text) ?? 0;
}
