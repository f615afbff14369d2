/** Locks among processes, through SQLite's VFS. */
import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { join } from "node:path";
import Database from "better-sqlite3";
import { expect, test } from "vitest";
import { extensionPath, native } from "../../src/native.ts";
import { temporaryFolder } from "../support/folder.ts";

const folder = temporaryFolder();
const sqlitePath = createRequire(import.meta.url).resolve("better-sqlite3");

function connected(file: string): { db: Database.Database; handle: number } {
  const db = new Database(file);
  db.loadExtension(extensionPath);
  return { db, handle: Number(db.prepare("SELECT mergelite_handle()").pluck().get()) };
}

test("one at a time has a lock, until it is given back", () => {
  const { db, handle } = connected(folder.file());
  const other = connected(folder.file());
  const path = join(folder.path, "lock");
  const lock = native.lockFile(handle, path);
  if (lock === null) throw new Error("nobody else has it");
  expect(native.lockFile(handle, path)).toBeNull();
  expect(native.lockFile(other.handle, path)).toBeNull();
  expect(native.lockFile(other.handle, `${path}-2`)).not.toBeNull();
  // It is not the connection's.
  db.close();
  expect(native.lockFile(other.handle, path)).toBeNull();
  native.unlockFile(lock);
  native.unlockFile(lock);
  expect(native.lockFile(other.handle, path)).not.toBeNull();
  const sqlite = { code: "SQLITE" };
  const missing = () => native.lockFile(other.handle, join(folder.path, "none", "lock"));
  expect(missing).toThrow(expect.objectContaining(sqlite));
  expect(() => native.lockFile(handle, path)).toThrow(expect.objectContaining({ code: "CLOSED" }));
  other.db.close();
});

test("SQLite of other programs sees it", () => {
  const { db, handle } = connected(folder.file());
  const path = join(folder.path, "seen");
  const lock = native.lockFile(handle, path);
  if (lock === null) throw new Error("nobody else has it");
  const program = `
    const Database = require(${JSON.stringify(sqlitePath)});
    const db = new Database(process.argv[1], { timeout: 0 });
    db.exec("BEGIN IMMEDIATE; ROLLBACK");`;
  const locked = () => spawnSync(process.execPath, ["-e", program, path], { encoding: "utf8" });
  expect(locked().stderr).toContain("SQLITE_BUSY");
  native.unlockFile(lock);
  expect(locked()).toMatchObject({ status: 0, stderr: "" });
  db.close();
});
