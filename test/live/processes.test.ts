/** The whole of it as it is used: processes that write, serve, follow, read, and are killed. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import Database from "better-sqlite3";
import { afterEach, expect, test } from "vitest";
import { Running } from "../support/cli.ts";
import { temporaryFolder } from "../support/folder.ts";
import { imageOf } from "../support/live.ts";
import { accountsSql, ReaderProcess, transferSql } from "../support/reader-process.ts";
import { openWal } from "../support/ship.ts";

const folder = temporaryFolder();
const worker = fileURLToPath(new URL("../ship/worker.mjs", import.meta.url));
const rounds = Number(process.env.LIVE_ROUNDS ?? 2);
const token = { MERGELITE_TOKEN: "let-me-in" };

const reading: ReaderProcess[] = [];
const started: { kill: (signal: NodeJS.Signals) => unknown }[] = [];
// What a test that fails has left would take the time of the next one.
afterEach(async () => {
  for (const each of started.splice(0)) each.kill("SIGKILL");
  for (const reader of reading.splice(0)) await reader.stop();
});

function start(env: Record<string, string>, ...args: string[]): Running {
  const running = new Running(args, env);
  started.push(running);
  return running;
}

const serve = (file: string, port: number) =>
  start(token, "serve-wal", file, "--listen", `127.0.0.1:${port}`);
const follow = (url: string, copy: string) => start(token, "follow", url, copy);
const following = (running: Running) => running.printed(/position [0-9a-f]{16}/);

async function killed(running: Running): Promise<void> {
  running.kill("SIGKILL");
  await running.finished;
}

/** Transfers between accounts, until it is told to stop. */
async function transfers(file: string, signal: AbortSignal): Promise<void> {
  const db = new Database(file, { timeout: 5000 });
  for (let i = 0; !signal.aborted; i++) {
    try {
      db.exec(transferSql(i));
    } catch (error) {
      if (!String((error as { code?: string }).code).startsWith("SQLITE_BUSY")) throw error;
      if (db.inTransaction) db.exec("ROLLBACK");
    }
    await sleep(1 + (i % 5));
  }
  db.close();
}

test("copies are whole at every moment, whoever is killed, and the same at the end", {
  timeout: 90_000 * rounds,
}, async () => {
  const file = folder.file();
  const db = openWal(file);
  db.exec(`${accountsSql} CREATE TABLE counter (n INTEGER); INSERT INTO counter VALUES (0)`);
  let primary = serve(file, 0);
  const [, url = "", port = ""] = await primary.printed(/listening on (ws:\/\/[^:]+:(\d+))/);
  const copies = [folder.file(), folder.file()];
  let followers = copies.map((copy) => follow(url, copy));
  await Promise.all(followers.map(following));
  const readers = await Promise.all(
    copies.map((copy, i) => ReaderProcess.start(folder.path, copy, i === 0 ? 0 : 5000)),
  );
  reading.push(...readers);
  const stop = new AbortController();
  const writing = [transfers(file, stop.signal), transfers(file, stop.signal)];
  const foreign = spawn(process.execPath, [worker, "foreign", file], { stdio: "inherit" });
  started.push(foreign);
  const foreignEnded = once(foreign, "exit");
  for (let round = 0; round < rounds; round++) {
    await sleep(700);
    const [victim = "", other = ""] = round % 2 === 0 ? copies : [...copies].reverse();
    const kept = followers[copies.indexOf(other)];
    const gone = followers[copies.indexOf(victim)];
    if (kept === undefined || gone === undefined) throw new Error("there are two");
    await killed(gone);
    await sleep(200);
    const again = follow(url, victim);
    followers = copies.map((copy) => (copy === victim ? again : kept));
    await following(again);
    await sleep(300);
    await killed(primary);
    await sleep(200);
    primary = serve(file, Number(port));
    await primary.printed(/listening/);
  }
  await sleep(500);
  stop.abort();
  foreign.kill("SIGTERM");
  await Promise.all([...writing, foreignEnded]);
  for (const copy of copies) {
    const giveUpMs = Date.now() + 60_000;
    while (!imageOf(copy).equals(db.serialize()) && Date.now() < giveUpMs) await sleep(20);
    expect(imageOf(copy).equals(db.serialize())).toBe(true);
  }
  for (const reader of reading.splice(0)) {
    const { wrong, versions } = await reader.stop();
    expect(wrong).toEqual([]);
    expect(versions).toBeGreaterThan(3);
  }
  for (const running of [...followers, primary]) running.kill("SIGTERM");
  for (const running of [...followers, primary]) {
    expect((await running.finished).code).toBe(0);
  }
  db.close();
});

test("screens and mistakes", { timeout: 120_000 }, async () => {
  const file = folder.file();
  const db = openWal(file);
  const copy = folder.file();
  const fail = async (env: Record<string, string>, ...args: string[]) => {
    const { stderr, code } = await start(env, ...args).finished;
    expect(stderr).toMatch(/^mergelite: .+\n(hint: .+\n)?$/);
    return `${code} ${stderr}`;
  };
  const listen = (address: string) => ["serve-wal", file, "--listen", address];
  const primary = serve(file, 0);
  const [, url = ""] = await primary.printed(/listening on (ws:\/\/\S+)/);
  const follower = follow(url, copy);
  await following(follower);
  const mistakes: [RegExp, ReturnType<typeof fail>][] = [
    [/^2 .*--listen is needed/, fail(token, "serve-wal", file)],
    [/^2 .*a token is needed to listen on 0\.0\.0\.0/, fail({}, ...listen("0.0.0.0:0"))],
    [/^2 .*the token is empty/, fail({ MERGELITE_TOKEN: "" }, ...listen("0.0.0.0:0"))],
    [/^2 .*over WebSockets/, fail({}, ...listen("tcp://127.0.0.1:0"))],
    [/^1 .*another process/, fail(token, ...listen("127.0.0.1:0"))],
    [/^1 .*does not let this peer in/, fail({}, "follow", url, `${copy}-2`)],
    [/^1 .*ECONNREFUSED/, fail(token, "follow", "ws://127.0.0.1:1", `${copy}-3`)],
    [/^1 .*is followed already/, fail(token, "follow", url, copy)],
  ];
  for (const [screen, failing] of mistakes) expect(await failing).toMatch(screen);
  db.exec("INSERT INTO note (body) VALUES ('a')");
  await primary.printed(/gets all pages/);
  follower.kill("SIGTERM");
  expect(await follower.finished).toMatchObject({ code: 0, stderr: "" });
  primary.kill("SIGINT");
  const { code, stdout, stderr } = await primary.finished;
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  expect(stdout).toMatch(/follower ws:\S+ left at 0{15}[12]\n/);
  expect(stdout + stderr).not.toContain(token.MERGELITE_TOKEN);
  db.close();
});
