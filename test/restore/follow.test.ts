/** Copies that follow a backup, while others read them. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { describe, expect, test } from "vitest";
import { BackupKeeper } from "../../src/backup/keeper.ts";
import { type Follower, follow } from "../../src/restore/follow.ts";
import { fileStorage } from "../../src/storage/file.ts";
import { churn, HandMadeBackup } from "../support/backup.ts";
import { temporaryFolder } from "../support/folder.ts";

const folder = temporaryFolder();
const distOf = (path: string) => new URL(`../../dist/${path}`, import.meta.url).href;

async function madeBackup(commits: number): Promise<HandMadeBackup> {
  const backup = new HandMadeBackup(fileStorage(`${folder.file()}-backup`));
  for (let i = 0; i < commits; i++) await backup.write(churn(i));
  return backup;
}

function imageOf(file: string): Buffer {
  const db = new Database(file, { readonly: true });
  try {
    const image = db.serialize();
    image[18] = image[19] = 2;
    return image;
  } finally {
    db.close();
  }
}

/** The follower shows what the backup has. */
async function expectCaughtUp(follower: Follower, backup: HandMadeBackup, file: string) {
  await follower.wait({ txid: backup.position }, { signal: AbortSignal.timeout(20_000) });
  expect(follower.position.txid).toBe(backup.position);
  expect(imageOf(file).equals(backup.image)).toBe(true);
}

describe("a copy", () => {
  test("is made, follows, and is gone on with", async () => {
    const backup = await madeBackup(5);
    const file = folder.file();
    const options = { intervalMs: 20 };
    let follower = await follow(backup.storage, file, options);
    expect(follower.position).toEqual({ txid: 5, timestampMs: 4000 });
    for (let i = 5; i < 30; i++) {
      await backup.write(churn(i));
      await expectCaughtUp(follower, backup, file);
    }
    await follower.close();
    await follower.close();
    expect(readFileSync(file).equals(backup.image)).toBe(true);
    for (let i = 30; i < 40; i++) await backup.write(churn(i));
    follower = await follow(backup.storage, file, options);
    expect(follower.position.txid).toBe(40);
    expect(follower.metrics()).toMatchObject({ files: 10, failures: 0 });
    expect(imageOf(file).equals(backup.image)).toBe(true);
    await follower.close();
    await expect(follower.wait({ txid: 99 })).rejects.toMatchObject({ code: "CLOSED" });
  });

  test.each(["there", "yet to be made"])("hears of news in a folder that is %s", async (how) => {
    const backup = await madeBackup(2);
    const file = folder.file();
    if (how !== "there") {
      await backup.join(1, 2, 9);
      const { pathname } = new URL(backup.storage.name);
      rmSync(`${pathname}/ltx/0`, { recursive: true });
    }
    const follower = await follow(backup.storage, file, { intervalMs: 3_600_000 });
    for (let i = 2; i < 12; i++) {
      await backup.write(churn(i));
      await expectCaughtUp(follower, backup, file);
    }
    await follower.close();
  });

  test("follows through compaction and deletion", async () => {
    const backup = await madeBackup(1);
    const file = folder.file();
    const levels = { intervalsMs: [2000, 8000], snapshotMs: 20_000, retentionMs: 10_000 };
    const keeping = { level0Ms: 0, levelsMs: 0, snapshotsMin: 1 };
    const keeper = await BackupKeeper.open(fileStorage(`${folder.file()}-backup`), {});
    expect(keeper.files).toEqual([]);
    const own = await BackupKeeper.open(backup.storage, { ...levels, ...keeping });
    let follower = await follow(backup.storage, file, { intervalMs: 10 });
    for (let i = 1; i < 60; i++) {
      const txid = await backup.write(churn(i), i * 1000);
      const key = backup.key(txid, txid);
      const of = { level: 0, minTxid: txid, maxTxid: txid, key, bytes: 1, modifiedMs: 0 };
      own.add({ ...of, timestampMs: i * 1000 });
      await own.tend({ nowMs: i * 1000 });
      if (i % 10 === 0) await expectCaughtUp(follower, backup, file);
      if (i % 20 !== 5) continue;
      // Away for a while: what it missed is only there in other files.
      await follower.close();
      for (let more = 0; more < 6; more++) {
        const next = await backup.write(churn(i + more), i * 1000);
        const file = { level: 0, minTxid: next, maxTxid: next, key: backup.key(next, next) };
        own.add({ ...file, bytes: 1, modifiedMs: 0, timestampMs: i * 1000 });
      }
      await own.tend({ nowMs: (i + 3) * 1000 });
      follower = await follow(backup.storage, file, { intervalMs: 10 });
      await expectCaughtUp(follower, backup, file);
    }
    await follower.close();
  });

  test("gets all its pages anew when somebody has written it, or its mark is lost", async () => {
    const backup = await madeBackup(5);
    const file = folder.file();
    let follower = await follow(backup.storage, file, { intervalMs: 10 });
    let altered = 0;
    follower.on("altered", () => altered++);
    const other = new Database(file);
    other.exec("DELETE FROM note; CREATE TABLE mine (a)");
    other.close();
    await backup.write(churn(5));
    await expectCaughtUp(follower, backup, file);
    expect(altered).toBe(1);
    await follower.close();
    writeFileSync(`${file}-follow`, "torn");
    follower = await follow(backup.storage, file, { intervalMs: 10 });
    expect(imageOf(file).equals(backup.image)).toBe(true);
    await follower.close();
  });

  test("stays as it is while an object is damaged, and goes on when it is mended", async () => {
    const backup = await madeBackup(3);
    const file = folder.file();
    const follower = await follow(backup.storage, file, { intervalMs: 10 });
    const before = backup.image;
    const failed = new Promise((resolve) => follower.on("failed", resolve));
    await backup.write(churn(3));
    const key = backup.key(4, 4);
    const pieces: Uint8Array[] = [];
    for await (const piece of (await backup.storage.get(key)).body) pieces.push(piece);
    // Followed before it can be damaged? Then the next one is.
    await follower.wait({ txid: 4 });
    expect(imageOf(file).equals(backup.image)).toBe(true);
    await backup.storage.put(backup.key(5, 5), Buffer.concat(pieces).subarray(0, 300));
    expect(await failed).toMatchObject({ error: { code: "BACKUP_DAMAGED" } });
    expect(imageOf(file).equals(backup.image)).toBe(true);
    expect(imageOf(file).equals(before)).toBe(false);
    const recovered = new Promise((resolve) => follower.on("recovered", resolve));
    await backup.write(churn(4));
    await expectCaughtUp(follower, backup, file);
    await recovered;
    await follower.close();
  });

  test("an ordinary file is not overwritten; mistakes are told", async () => {
    const backup = await madeBackup(1);
    const file = folder.file();
    writeFileSync(file, "mine");
    await expect(follow(backup.storage, file)).rejects.toMatchObject({ code: "FILE_EXISTS" });
    expect(readFileSync(file, "utf8")).toBe("mine");
    await expect(follow(backup.storage, file, { intervalMs: 0 })).rejects.toThrow(TypeError);
    const nothing = fileStorage(`${folder.file()}-none`);
    const other = folder.file();
    await expect(follow(nothing, other)).rejects.toMatchObject({ code: "BACKUP_EMPTY" });
    // What is put there afterwards is no copy.
    writeFileSync(other, "mine");
    await expect(follow(backup.storage, other)).rejects.toMatchObject({ code: "FILE_EXISTS" });
  });

  test("is followed once at a time, and a killed follower is none", async () => {
    const backup = await madeBackup(2);
    const file = folder.file();
    const program = `
      import { follow } from ${JSON.stringify(distOf("backup/index.js"))};
      import { openStorage } from ${JSON.stringify(distOf("storage/index.js"))};
      const storage = await openStorage(process.argv[2]);
      await follow(storage, process.argv[3]);
      process.stdout.write("following");`;
    const script = `${file}.mjs`;
    writeFileSync(script, program);
    const other = spawn(process.execPath, [script, backup.storage.name, file], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const exited = once(other, "exit");
    await once(other.stdout, "data");
    await expect(follow(backup.storage, file)).rejects.toMatchObject({ code: "FOLLOW_ACTIVE" });
    other.kill("SIGKILL");
    await exited;
    const follower = await follow(backup.storage, file, { intervalMs: 10 });
    await expect(follow(backup.storage, file)).rejects.toMatchObject({ code: "FOLLOW_ACTIVE" });
    await backup.write(churn(2));
    await expectCaughtUp(follower, backup, file);
    await follower.close();
    await (await follow(backup.storage, file)).close();
  });

  test("is not begun where it cannot be locked", async () => {
    const backup = await madeBackup(1);
    const file = folder.file();
    mkdirSync(`${file}-follow-lock`);
    for (const path of [file, join(file, "no/such/folder.db")]) {
      const failing = follow(backup.storage, path);
      await expect(failing).rejects.toMatchObject({ code: "SQLITE" });
      await expect(failing).rejects.toThrow(`${path}-follow-lock: `);
      expect(existsSync(path)).toBe(false);
    }
  });

  test("that is made to follow another place has nothing of the first one", async () => {
    const [first, second] = [await madeBackup(5), await madeBackup(3)];
    const file = folder.file();
    await (await follow(first.storage, file)).close();
    for (let i = 3; i < 7; i++) await second.write(churn(i));
    const follower = await follow(second.storage, file);
    await expectCaughtUp(follower, second, file);
    await follower.close();
  });

  test("pages of another size are an error", async () => {
    const backup = await madeBackup(2);
    const file = folder.file();
    const follower = await follow(backup.storage, file, { intervalMs: 10 });
    const failed = new Promise((resolve) => follower.on("failed", resolve));
    const db = new Database(":memory:");
    db.pragma("page_size = 1024");
    db.exec("CREATE TABLE other (a)");
    await backup.ship(db.serialize(), 9000);
    expect(await failed).toMatchObject({ error: { code: "PAGE_SIZE_CHANGED" } });
    await follower.close();
  });

  test("of a backup that was begun anew has nothing of the one before", async () => {
    const root = `${folder.file()}-backup`;
    const one = new HandMadeBackup(fileStorage(root));
    for (let i = 0; i < 6; i++) await one.write(churn(i));
    const file = folder.file();
    await (await follow(one.storage, file)).close();
    rmSync(root, { recursive: true });
    const other = new HandMadeBackup(fileStorage(root));
    for (let i = 50; i < 53; i++) await other.write(churn(i));
    const follower = await follow(other.storage, file, { intervalMs: 10 });
    await expectCaughtUp(follower, other, file);
    for (let i = 53; i < 60; i++) await other.write(churn(i));
    await expectCaughtUp(follower, other, file);
    await follower.close();
  });

  test.each(["while it follows", "while it is away", "and was compacted"])(
    "of another backup that has come further has nothing of the one before: %s",
    async (how) => {
      const one = await madeBackup(4);
      const file = folder.file();
      const options = { intervalMs: 10 };
      let follower = await follow(one.storage, file, options);
      const other = new HandMadeBackup(fileStorage(`${folder.file()}-other`));
      const sql = (i: number) =>
        i === 0 ? churn(0) + churn(1) : `UPDATE note SET body = ${i} WHERE id = 1`;
      for (let i = 0; i < 7; i++) await other.write(sql(i), 10_000 + i);
      if (how === "and was compacted") {
        await other.join(2, 7, 1);
        for (let i = 2; i <= 7; i++) await other.storage.delete(other.key(i, i));
      }
      if (how !== "while it follows") await follower.close();
      const [root, otherRoot] = [one, other].map(({ storage }) => new URL(storage.name).pathname);
      renameSync(`${root}`, `${root}-before`);
      renameSync(`${otherRoot}`, `${root}`);
      if (how !== "while it follows") follower = await follow(one.storage, file, options);
      await expectCaughtUp(follower, other, file);
      await follower.close();
    },
  );

  test("goes on where it was, also when the writer has no clock", async () => {
    const backup = new HandMadeBackup(fileStorage(`${folder.file()}-backup`));
    for (let i = 0; i < 3; i++) await backup.write(churn(i), -1);
    const file = folder.file();
    await (await follow(backup.storage, file)).close();
    const follower = await follow(backup.storage, file);
    expect(follower.metrics()).toMatchObject({ txid: 3, timestampMs: -1, commits: 0 });
    await follower.close();
    await expect(backup.write(churn(3), 8.65e15)).rejects.toMatchObject({ code: "LTX_CORRUPT" });
  });

  test("ends its beginning when it is told to, whatever the storage does", async () => {
    const { storage } = await madeBackup(2);
    const file = folder.file();
    await (await follow(storage, file)).close();
    let begin = () => {};
    const begun = new Promise<void>((resolve) => {
      begin = resolve;
    });
    const silent = new Proxy(storage, {
      get(target, name) {
        if (name !== "list") return Reflect.get(target, name, target) as unknown;
        return async function* (_: string, { signal }: { signal: AbortSignal }) {
          begin();
          await new Promise((_, reject) => {
            signal.addEventListener("abort", () => reject(signal.reason as Error));
          });
          yield* [];
        };
      },
    });
    const stop = new AbortController();
    const following = follow(silent, file, { signal: stop.signal });
    await begun;
    stop.abort(new Error("enough"));
    await expect(following).rejects.toThrow("enough");
    await (await follow(storage, file)).close();
  });
});
