/** Shipping beside processes that do as they like, and in one that is killed at any moment. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import Database from "better-sqlite3";
import { expect, test } from "vitest";
import { fileStorage } from "../../src/storage/index.ts";
import { temporaryFolder } from "../support/folder.ts";
import { memoryStorage } from "../support/memory-storage.ts";
import { eager, expectSame, openWal, restored, ship, watchShipper } from "../support/ship.ts";

const folder = temporaryFolder();
const worker = fileURLToPath(new URL("worker.mjs", import.meta.url));
const kills = Number(process.env.SHIP_KILLS ?? 6);
const rounds = Number(process.env.SHIP_ROUNDS ?? 1);

function start(role: string, file: string, backup = ""): ChildProcess {
  const stdio: ["ignore", "pipe", "inherit"] = ["ignore", "pipe", "inherit"];
  return spawn(process.execPath, [worker, role, file, backup], { stdio });
}

async function stop(child: ChildProcess): Promise<void> {
  const exited = once(child, "exit");
  child.kill("SIGTERM");
  await exited;
}

test(
  "writers that checkpoint in every mode lose it nothing",
  async () => {
    for (let round = 0; round < rounds; round++) {
      const file = folder.file();
      const db = openWal(file, { pageSize: round % 2 === 0 ? 1024 : 4096 });
      const storage = memoryStorage();
      const shipper = ship(db, storage, { ...eager, pollMs: 3 });
      const seen = watchShipper(shipper);
      await shipper.flush();
      const writers = [start("foreign", file), start("foreign", file)];
      while (shipper.metrics().commits < 100) {
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      await Promise.all(writers.map(stop));
      await shipper.flush();
      await expectSame(storage, db, `${file}.copy`);
      expect(seen.rebases.map(({ reason }) => reason)).toEqual(["start"]);
      await shipper.close();
      db.close();
    }
  },
  60_000 * rounds,
);

test(
  "what was flushed survives a SIGKILL at any moment",
  async () => {
    const file = folder.file();
    const backup = `${file}-backup`;
    const db = openWal(file, { pageSize: 1024 });
    db.exec("CREATE TABLE flushed (id INTEGER PRIMARY KEY)");
    db.close();
    const storage = fileStorage(backup);
    for (let kill = 0; kill < kills; kill++) {
      const { txid, count } = await killed(start("ship", file, backup));
      if (txid === 0) continue;
      await restored(storage, `${file}.copy`);
      const copy = new Database(`${file}.copy`);
      expect(copy.pragma("integrity_check", { simple: true })).toBe("ok");
      expect(rowsIn(copy)).toBeGreaterThanOrEqual(count);
      copy.close();
      await restored(storage, `${file}.copy`, txid);
      const then = new Database(`${file}.copy`);
      expect(rowsIn(then)).toBe(count);
      then.close();
    }
    const again = new Database(file);
    const shipper = ship(again, storage, eager);
    await shipper.flush();
    await expectSame(storage, again, `${file}.copy`);
    await shipper.close();
    again.close();
  },
  20_000 * kills,
);

function rowsIn(db: Database.Database): number {
  return Number(db.prepare("SELECT count(*) FROM flushed").pluck().get());
}

/** Lets it work for a while and kills it; what it said last. */
async function killed(child: ChildProcess): Promise<{ txid: number; count: number }> {
  let said = { txid: 0, count: 0 };
  if (child.stdout === null) throw new Error("no pipe");
  const lines = createInterface({ input: child.stdout });
  const flushesMax = Math.floor(Math.random() * 12);
  let flushes = 0;
  for await (const line of lines) {
    const [txid = 0, count = 0] = line.split(" ").map(Number);
    said = { txid, count };
    if (flushes++ === flushesMax) setTimeout(() => child.kill("SIGKILL"), Math.random() * 30);
  }
  return said;
}
