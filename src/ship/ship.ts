/** `ship`: where shipping begins. */
import { realpathSync } from "node:fs";
import { ReplicaError } from "../errors.ts";
import { extensionPath } from "../native.ts";
import type { Storage } from "../storage/storage.ts";
import { readShipOptions, type ShipOptions } from "./options.ts";
import { Shipper } from "./shipper.ts";
import { StateFolder } from "./state-folder.ts";
import { Wal } from "./wal.ts";

/** A better-sqlite3 database, or anything that looks like one. */
export interface ShipDatabase {
  readonly name: string;
  loadExtension(path: string): unknown;
  prepare(sql: string): { pluck(): { get(): unknown } };
}

const folders = new Set<string>();

/**
 * Copies every commit of the database's file into storages, whoever commits: this connection,
 * others, other processes. Synchronous: commits from here on are seen to. The file is never opened
 * but through SQLite, and the application must not open it otherwise either: closing a descriptor
 * of it would drop SQLite's locks.
 * @throws INVALID_OPTION, SHIP_ACTIVE, SHIP_UNSUPPORTED
 */
export function ship(
  db: ShipDatabase,
  storage: Storage | readonly Storage[],
  options: ShipOptions = {},
): Shipper {
  const settings = readShipOptions(options);
  const storages = isStorage(storage) ? [storage] : storage;
  if (storages.length === 0) throw new TypeError("ship needs a storage");
  db.loadExtension(extensionPath);
  const handle = Number(db.prepare("SELECT mergelite_handle()").pluck().get());
  const wal = new Wal(handle);
  const file = realpathSync(db.name);
  const folder = new StateFolder(settings.stateDir ?? `${file}-ship`);
  if (folders.has(folder.path)) {
    throw new ReplicaError("SHIP_ACTIVE", `${folder.path} belongs to another shipper`, {
      hint: "Use the shipper that `ship` returned first; it takes several storages.",
    });
  }
  folders.add(folder.path);
  const onClosed = () => folders.delete(folder.path);
  return new Shipper({ file, folder, wal, settings, onClosed }, storages);
}

function isStorage(storage: Storage | readonly Storage[]): storage is Storage {
  return !Array.isArray(storage);
}
