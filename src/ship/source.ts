/** A database whose commits are read: its file, its WAL, and the folder of whoever reads them. */
import { realpathSync } from "node:fs";
import { ReplicaError } from "../errors.ts";
import { extensionPath } from "../native.ts";
import type { CaptureSource } from "./capture-loop.ts";
import { StateFolder } from "./state-folder.ts";
import { Wal } from "./wal.ts";

/** A better-sqlite3 database, or anything that looks like one. */
export interface ShipDatabase {
  readonly name: string;
  loadExtension(path: string): unknown;
  prepare(sql: string): { pluck(): { get(): unknown } };
}

export interface OpenedSource extends CaptureSource {
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
  const handle = Number(db.prepare("SELECT mergelite_handle()").pluck().get());
  const wal = new Wal(handle);
  const file = realpathSync(db.name);
  const folder = new StateFolder(stateDir ?? `${file}${suffix}`, { syncs });
  if (folders.has(folder.path)) {
    throw new ReplicaError("SHIP_ACTIVE", `${folder.path} belongs to another shipper`, {
      hint: "Use the shipper that `ship` returned first; it takes several storages.",
    });
  }
  folders.add(folder.path);
  return { file, folder, wal, onClosed: () => folders.delete(folder.path) };
}
