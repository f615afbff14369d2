/**
 * SIGKILL at random moments of writing, merging, folding and trimming: what was acknowledged is there,
 * and the log, with the state that stands for what was trimmed, says what the tables say.
 * `CRASH_ROUNDS=500 npx vitest run test/crash` kills five hundred times; CRASH_SEED makes them others.
 */
import { spawn } from "node:child_process";
import { join } from "node:path";
import Database from "better-sqlite3";
import { expect, it } from "vitest";
import { extensionPath, native } from "../../src/native.ts";
import { temporaryFolder } from "../support/folder.ts";
import {
  attachRaw,
  dump,
  heldOf,
  maintainAll,
  openRaw,
  progressOf,
  pull,
} from "../support/replica.ts";
import { horizonOf, transferState } from "../support/state.ts";

const rounds = Number(process.env.CRASH_ROUNDS ?? 30);
const seed = Number(process.env.CRASH_SEED ?? 1);
const folder = temporaryFolder();
const schema =
  "CREATE TABLE note (id INTEGER PRIMARY KEY, a, b); CREATE TABLE spare (id INTEGER PRIMARY KEY)";
const tables = ["note", "spare"];
const worker = join(import.meta.dirname, "worker.mjs");

/** Runs the worker, kills it after `ms` of work, and returns the lines it had written. */
function runAndKill(args: readonly string[], ms: number): Promise<string[]> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [worker, ...args], { stdio: ["ignore", "pipe", "pipe"] });
    let out = "";
    let errors = "";
    child.stdout.on("data", (bytes: Buffer) => {
      // From the first commit on, so that starting Node does not count.
      if (out === "") setTimeout(() => child.kill("SIGKILL"), ms);
      out += bytes.toString();
    });
    child.stderr.on("data", (bytes: Buffer) => {
      errors += bytes.toString();
    });
    child.on("error", reject);
    child.on("close", (_, signal) => {
      if (signal !== "SIGKILL") reject(new Error(`the worker ended by itself: ${errors}`));
      // A line that was cut belongs to a commit that was not acknowledged as a whole.
      else resolve(out.split("\n").slice(0, -1));
    });
  });
}

function makeRemote(): { file: string; peerId: number } {
  const file = folder.file();
  const { db, peerId } = openRaw(file, schema, tables);
  const insert = db.prepare("INSERT OR REPLACE INTO note VALUES (?, ?, ?)");
  for (let i = 0; i < 3000; i++) insert.run(1000 + (i % 500), `remote ${i}`, "z".repeat(i % 2000));
  db.close();
  return { file, peerId };
}

it(`loses nothing in ${rounds} kills`, { timeout: rounds * 60_000 }, async () => {
  const remote = makeRemote();
  const file = folder.file();
  const made = new Database(file);
  made.pragma("journal_mode = WAL");
  made.exec(schema);
  made.close();
  const acknowledged = new Map<number, string>();
  let merged = 0;
  let commits = 0;
  for (let round = 0; round < rounds; round++) {
    const args = [file, extensionPath, remote.file, String(seed + round)];
    for (const line of await runAndKill(args, (round * 37) % 200)) {
      const [what = "", value = ""] = line.split(" ");
      commits++;
      if (what === "merged") merged = Number(value);
      else acknowledged.set(Number(what), value);
    }
    const replica = attachRaw(new Database(file));
    expect(replica.db.pragma("integrity_check", { simple: true })).toBe("ok");
    expect(heldOf(replica, remote.peerId)).toBeGreaterThanOrEqual(merged);
    const select = replica.db.prepare("SELECT a FROM note WHERE id = ?").pluck();
    const find = (id: number) => select.get(id) as number | undefined;
    // The newest commit may not have been told of any more: it is newer than what was.
    for (const [id, value] of acknowledged) {
      const found = find(id);
      if (found === undefined || value === "gone") continue;
      expect([id, Number(found)]).toEqual([id, Math.max(Number(found), Number(value))]);
    }
    const unseen = [...acknowledged].filter(([id, value]) => String(find(id) ?? "gone") !== value);
    // One transaction may be unannounced; it touches at most all rows of one kind.
    expect(new Set(unseen.map(([id]) => String(find(id)))).size).toBeLessThanOrEqual(2);
    maintainAll(replica);
    const fresh = openRaw(":memory:", schema, tables);
    if (horizonOf(replica).size > 0) transferState(replica, fresh);
    pull(replica, fresh);
    for (const { peerId, held, merged: shown } of progressOf(fresh)) {
      expect([shown, heldOf(replica, peerId)]).toEqual([held, held]);
    }
    for (const table of tables) expect(dump(fresh.db, table)).toEqual(dump(replica.db, table));
    for (const [id] of acknowledged) {
      const found = find(id);
      acknowledged.set(id, found === undefined ? "gone" : String(found));
    }
    fresh.db.close();
    native.close(replica.handle);
    replica.db.close();
  }
  expect(commits).toBeGreaterThan(rounds);
});
