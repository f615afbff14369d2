/** `ship`: where shipping begins. */
import type { Storage } from "../storage/storage.ts";
import { readShipOptions, type ShipOptions } from "./options.ts";
import { Shipper } from "./shipper.ts";
import { openSource, type ShipDatabase } from "./source.ts";

export type { ShipDatabase } from "./source.ts";

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
  const source = openSource(db, { stateDir: settings.stateDir, suffix: "-ship", syncs: true });
  return new Shipper({ ...source, settings }, storages);
}

function isStorage(storage: Storage | readonly Storage[]): storage is Storage {
  return !Array.isArray(storage);
}
