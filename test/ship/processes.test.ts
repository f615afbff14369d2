/** Shipping beside processes that do as they like. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { temporaryFolder } from "../support/folder.ts";
import { memoryStorage } from "../support/memory-storage.ts";
import { eager, expectSame, openWal, ship, watchShipper } from "../support/ship.ts";

const folder = temporaryFolder();
const worker = fileURLToPath(new URL("worker.mjs", import.meta.url));
const rounds = Number(process.env.SHIP_ROUNDS ?? 1);

function start(role: string, file: string): ChildProcess {
  return spawn(process.execPath, [worker, role, file], { stdio: ["ignore", "pipe", "inherit"] });
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
      db.exec("CREATE TABLE counter (n INTEGER); INSERT INTO counter VALUES (0)");
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
