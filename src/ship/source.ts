/** A database whose commits are read: its file, its WAL, and the folder of whoever reads them. */
import { realpathSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { ReplicaError } from "../errors.ts";
import { extensionPath, type NativeLock, native } from "../native.ts";
import type { CaptureSource } from "./capture-loop.ts";
import { lockName, StateFolder } from "./state-folder.ts";
import { Wal } from "./wal.ts";

/** A better-sqlite3 database, or anything that looks like one. */
export interface ShipDatabase {
  readonly name: string;
  loadExtension(path: string): unknown;
  prepare(sql: string): { pluck(): { get(): unknown } };
}

export interface OpenedSource extends CaptureSource {
  /**
   * To be called before the folder is used: from then on it is this process's, until `onClosed` or
   * the process's end. Idempotent. @throws SHIP_ACTIVE
   */
  claim(): Promise<void>;
  /** The folder may be another one's from here on. */
  onClosed(): void;
}

const folders = new Set<string>();

/**
 * `stateDir`: the folder's path; else it is the file's with `suffix` behind it.
 * @throws SHIP_ACTIVE, SHIP_UNSUPPORTED
 */
export function openSource(
  db: ShipDatabase,
  { stateDir, suffix, syncs }: { stateDir: string | undefined; suffix: string; syncs: boolean },
): OpenedSource {
  db.loadExtension(extensionPath);
  const wal = new Wal(Number(db.prepare("SELECT mergelite_handle()").pluck().get()));
  const file = realpathSync(db.name);
  return { file, wal, ...openFolder(wal, stateDir ?? `${file}${suffix}`, { syncs }) };
}

/** @throws SHIP_ACTIVE */
export function openFolder(
  { handle }: Wal,
  path: string,
  { syncs }: { syncs: boolean },
): Pick<OpenedSource, "folder" | "claim" | "onClosed"> {
  const folder = new StateFolder(path, { syncs });
  if (folders.has(folder.path)) {
    throw new ReplicaError("SHIP_ACTIVE", `${folder.path} belongs to another shipper`, {
      hint: "Use the shipper that `ship` returned first; it takes several storages.",
    });
  }
  folders.add(folder.path);
  let lock: NativeLock | undefined;
  const claim = async () => {
    lock ??= await lockFolder(handle, folder.path);
  };
  const onClosed = () => {
    folders.delete(folder.path);
    if (lock !== undefined) native.unlockFile(lock);
  };
  return { folder, claim, onClosed };
}

async function lockFolder(handle: number, path: string): Promise<NativeLock> {
  await mkdir(path, { recursive: true });
  const lock = native.lockFile(handle, join(path, lockName));
  if (lock !== null) return lock;
  throw new ReplicaError("SHIP_ACTIVE", `${path} belongs to another process`, {
    hint: "One process ships or serves a database. Stop the other one, or give this one a stateDir.",
  });
}
