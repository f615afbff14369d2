/** Databases that are shipped, and what their backups give. */
import { readFileSync } from "node:fs";
import Database from "better-sqlite3";
import { expect } from "vitest";
import { restore } from "../../src/backup/index.ts";
import type { ShipperEvents } from "../../src/ship/index.ts";
import { type ShipOptions, type Shipper, ship } from "../../src/ship/index.ts";
import type { Storage } from "../../src/storage/storage.ts";

/** Small enough that every bound is met by a test. Nothing but shipping happens. */
export const eager: ShipOptions = {
  intervalMs: 5,
  checkpointBytes: 65_536,
  retryMs: 5,
  keep: false,
};

export function openWal(file: string, { pageSize = 4096 } = {}): Database.Database {
  const db = new Database(file);
  db.pragma(`page_size = ${pageSize}`);
  db.pragma("auto_vacuum = INCREMENTAL");
  db.pragma("journal_mode = WAL");
  db.exec("CREATE TABLE IF NOT EXISTS note (id INTEGER PRIMARY KEY, body BLOB)");
  return db;
}

/** What happened to a shipper, for messages of tests that fail. */
export function watchShipper(shipper: Shipper): {
  rebases: ShipperEvents["rebase"][];
  failures: unknown[];
} {
  const seen = { rebases: [] as ShipperEvents["rebase"][], failures: [] as unknown[] };
  shipper.on("rebase", (event) => seen.rebases.push(event));
  shipper.on("failed", ({ error }) => seen.failures.push(error));
  return seen;
}

/** The bytes a restore gives. */
export async function restored(storage: Storage, file: string, at?: number): Promise<Buffer> {
  await restore(storage, file, { force: true, ...(at === undefined ? {} : { at: { txid: at } }) });
  return readFileSync(file);
}

/** Tells the numbers of pages that differ. */
export function expectPages(copy: Buffer, truth: Buffer, pageSize: number): void {
  const different: number[] = [];
  for (let at = 0; at < Math.max(truth.length, copy.length); at += pageSize) {
    const end = at + pageSize;
    if (!truth.subarray(at, end).equals(copy.subarray(at, end))) different.push(at / pageSize + 1);
  }
  expect(different).toEqual([]);
}

/** Whether a backup holds the database as it is, byte by byte. */
export async function expectSame(storage: Storage, db: Database.Database, file: string) {
  const truth = db.serialize();
  const copy = await restored(storage, file);
  expectPages(copy, truth, Number(db.pragma("page_size", { simple: true })));
}

export { ship };
