/** Floors where several processes write one file: what one of them promises binds all. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { afterEach, beforeEach, expect, test } from "vitest";
import { PeerProcess } from "../support/peer-process.ts";

let folder: string;
const processes: PeerProcess[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "mergelite-floors-"));
});
afterEach(async () => {
  await Promise.all(processes.splice(0).map((one) => one.kill()));
  rmSync(folder, { recursive: true, force: true });
});

async function start(name: string, urls: readonly string[] = []) {
  const options = { tombstones: "drop", retentionMs: 1_000 };
  const one = new PeerProcess(folder, [join(folder, `${name}.db`), "0", ...urls], options);
  processes.push(one);
  const { port = 0, peerId = 0 } = await one.message((message) => message.port !== undefined);
  return { process: one, url: `ws://127.0.0.1:${port}`, peerId };
}

function read(name: string, sql: string): unknown {
  const db = new Database(join(folder, `${name}.db`), { readonly: true });
  try {
    return db.prepare(sql).raw().all();
  } finally {
    db.close();
  }
}

const rows = (name: string) => read(name, "SELECT id, owner, n FROM item ORDER BY id");
/** Row clocks of rows that are not there, and below which timestamp such have been dropped. */
const dead = (name: string) =>
  read(
    name,
    `SELECT (SELECT count(*) FROM _mergelite_clock_item WHERE id NOT IN (SELECT id FROM item)),
       (SELECT value FROM _mergelite_meta WHERE key = 'swept') > 0`,
  );
const patient = { timeout: 30_000, interval: 100 };

async function burst(one: PeerProcess, name: string): Promise<void> {
  one.send({ burst: { name, first: 0, count: 60 } });
  await one.message((message) => message.done === name);
}

async function settled(): Promise<void> {
  const isSame = () => JSON.stringify(rows("right")) === JSON.stringify(rows("left"));
  await expect.poll(isSame, patient).toBe(true);
  for (const name of ["left", "right"]) {
    await expect.poll(() => dead(name), patient).toEqual([[0, 1]]);
  }
  expect(rows("right")).toEqual(rows("left"));
}

test("tombstones go on both sides, whoever of a file's processes is killed", async () => {
  const [linked, other] = [await start("left"), await start("left")];
  expect(other.peerId).toBe(linked.peerId);
  const far = await start("right", [linked.url]);
  await Promise.all([
    burst(linked.process, "linked"),
    burst(other.process, "other"),
    burst(far.process, "far"),
  ]);
  await settled();
  // The one that has talked is gone in the middle of it; the other goes on, and a new one talks.
  linked.process.send({ burst: { name: "cut", first: 0, count: 5_000 } });
  await linked.process.message((message) => (message.committed ?? 0) >= 100);
  await linked.process.kill();
  await burst(other.process, "alone");
  await start("left", [far.url]);
  await burst(far.process, "later");
  await settled();
  expect(rows("left")).not.toEqual([]);
}, 120_000);
