/** Processes that restore and follow, killed at any moment, and readers beside them. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath, pathToFileURL } from "node:url";
import Database from "better-sqlite3";
import { expect, test } from "vitest";
import { follow } from "../../src/restore/follow.ts";
import { restore } from "../../src/restore/restore.ts";
import { fileStorage } from "../../src/storage/file.ts";
import { churn, HandMadeBackup } from "../support/backup.ts";
import { start } from "../support/cli.ts";
import { temporaryFolder } from "../support/folder.ts";
import { accountsSql, ReaderProcess, transferSql } from "../support/reader-process.ts";

const folder = temporaryFolder();
const rounds = Number(process.env.KILLS ?? 4);

const newBackup = () => new HandMadeBackup(fileStorage(`${folder.file()}-backup`));

function imageOf(file: string): Buffer {
  const db = new Database(file, { readonly: true });
  const image = db.serialize();
  db.close();
  image[18] = image[19] = 2;
  return image;
}

test("a restore killed at any moment leaves the old file or the whole new one", async () => {
  const backup = newBackup();
  for (let i = 0; i < 40; i++) await backup.write(churn(i));
  const old = folder.file();
  await restore(backup.storage, old, { at: { txid: 10 } });
  const before = readFileSync(old);
  const url = backup.storage.name;
  let finished = 0;
  for (let round = 0; round < rounds; round++) {
    const isForced = round % 2 === 0;
    const file = isForced ? old : folder.file();
    const running = start("restore", url, file, "--force", "--at", isForced ? "1e" : "28");
    // From before its first step until after its last.
    await sleep(150 + (round * 250) / rounds);
    running.kill("SIGKILL");
    const { code } = await running.finished;
    if (code === 0) finished++;
    if (existsSync(file)) {
      const whole = backup.images.get(isForced ? 0x1e : 0x28) ?? Buffer.alloc(0);
      const image = readFileSync(file);
      expect(image.equals(whole) || (isForced && image.equals(before))).toBe(true);
    } else {
      expect(isForced).toBe(false);
    }
    // The next one cleans up.
    await restore(backup.storage, file, { force: true, at: { txid: isForced ? 10 : 1 } });
    const left = readdirSync(dirname(file)).filter((name) => name.startsWith(`${basename(file)}-`));
    expect(left.filter((name) => name.includes("-restoring-"))).toEqual([]);
  }
  expect(finished).toBeLessThanOrEqual(rounds);
});

test("readers in other processes see whole transactions only, and never an error", async () => {
  const backup = newBackup();
  await backup.write(accountsSql);
  const file = folder.file();
  const follower = await follow(backup.storage, file, { intervalMs: 20 });
  // The second one gives up at once where it would have to wait for a lock.
  const readers = [
    await ReaderProcess.start(folder.path, file, 5000),
    await ReaderProcess.start(folder.path, file, 0),
  ];
  for (let i = 0; i < 80; i++) await backup.write(transferSql(i));
  await follower.wait({ txid: backup.position });
  for (const reader of readers) {
    const found = await reader.stop();
    expect(found.wrong).toEqual([]);
    expect(found.versions).toBeGreaterThan(10);
  }
  expect(imageOf(file).equals(backup.image)).toBe(true);
  await follower.close();
}, 60_000);

test("a follower killed at any moment goes on, and readers beside it see nothing of that", async () => {
  const backup = newBackup();
  await backup.write(accountsSql);
  const url = pathToFileURL(fileURLToPath(backup.storage.name)).href;
  const file = folder.file();
  const first = start("follow", url, file);
  await first.printed(/position/);
  const reader = await ReaderProcess.start(folder.path, file, 5000);
  let running = first;
  let i = 0;
  for (let round = 0; round < rounds; round++) {
    const until = Date.now() + 100 + 37 * (round % 5);
    while (Date.now() < until) await backup.write(transferSql(i++));
    running.kill("SIGKILL");
    await running.finished;
    for (let more = 0; more < round % 3; more++) await backup.write(transferSql(i++));
    running = start("follow", url, file);
    await running.printed(/position/);
    expect(running.stderr).toBe("");
  }
  const last = backup.position.toString(16).padStart(16, "0");
  await running.printed(new RegExp(`position ${last}`));
  const found = await reader.stop();
  expect(found.wrong).toEqual([]);
  expect(found.reads).toBeGreaterThan(0);
  expect(imageOf(file).equals(backup.image)).toBe(true);
  running.kill("SIGTERM");
  expect((await running.finished).code).toBe(0);
  expect(readFileSync(file).equals(backup.image)).toBe(true);
}, 120_000);
