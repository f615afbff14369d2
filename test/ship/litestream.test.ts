/** Litestream's own code on what is shipped here, and the other way round. */
import { statSync, writeFileSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import type Database from "better-sqlite3";
import { describe, expect, test } from "vitest";
import { BackupKeeper } from "../../src/backup/keeper.ts";
import { restore } from "../../src/restore/restore.ts";
import { fileStorage } from "../../src/storage/file.ts";
import { churn } from "../support/backup.ts";
import { temporaryFolder } from "../support/folder.ts";
import { expectLitestreamRestores, hasLitestream, litestream } from "../support/litestream.ts";
import { eager, openWal, ship } from "../support/ship.ts";

const folder = temporaryFolder();

const rowsOf = (db: Database.Database) =>
  db.prepare("SELECT id, hex(body) AS body FROM note ORDER BY id").all();

/** A file system's clock goes by steps of some milliseconds. */
async function untilFilesAreYounger(thanMs: number): Promise<void> {
  const probe = `${folder.path}/probe`;
  do {
    await new Promise(setImmediate);
    writeFileSync(probe, "");
  } while (statSync(probe).mtimeMs <= thanMs);
}

const why = hasLitestream ? "" : " (MERGELITE_TOOLS names no folder with its npm package)";
describe.skipIf(!hasLitestream)(`Litestream${why}`, { timeout: 120_000 }, () => {
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
      await untilFilesAreYounger(at);
    }
    await expectLitestreamRestores(storage.name, db);
    const past = moments[5];
    expect(past?.rows).not.toEqual([]);
    const seen: unknown = JSON.parse(await litestream(storage.name, ["rows", past?.at ?? ""]));
    expect(isDeepStrictEqual(seen, past?.rows)).toBe(true);
    await shipper.close();

    const keeper = await BackupKeeper.open(storage, { intervalsMs: [1], level0Ms: 0 });
    await keeper.tend({ nowMs: Date.now() + 60_000 });
    const again = ship(db, storage, eager);
    db.exec("DELETE FROM note WHERE id % 3 = 0; PRAGMA incremental_vacuum");
    await again.flush();
    await expectLitestreamRestores(storage.name, db);
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
    await litestream(storage.name, ["write", sql]);
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
