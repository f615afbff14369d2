/** `ship`: where shipping begins. */
import { checkStorage, type Storage } from "../storage/storage.ts";
import { connect } from "./connect.ts";
import { readShipOptions, type ShipOptions } from "./options.ts";
import { Shipper } from "./shipper.ts";
import { openSource, type ShipDatabase } from "./source.ts";

export type { ShipDatabase } from "./source.ts";

/**
 * Copies every commit of the database's file into storages, whoever commits: this connection,
 * others, other processes. Synchronous: commits from here on are seen to. The file is never opened
 * but through SQLite, and the application must not open it otherwise either: closing a descriptor
 * of it would drop SQLite's locks.
 *
 * @param db - a connection, or the path of a file: then the shipper opens a connection of its own,
 *   puts the file into WAL mode, and closes it when it is closed
 * @throws TypeError, INVALID_OPTION, SHIP_ACTIVE, SHIP_UNSUPPORTED, SQLITE
 */
export function ship(
  db: ShipDatabase | string,
  storage: Storage | readonly Storage[],
  options: ShipOptions = {},
): Shipper {
  const settings = readShipOptions(options);
  const storages = isStorage(storage) ? [storage] : storage;
  for (const each of storages) checkStorage(each);
  if (storages.length === 0) throw new TypeError("ship needs a storage");
  const place = { stateDir: settings.stateDir, suffix: "-ship", syncs: true };
  if (typeof db !== "string") return new Shipper({ ...openSource(db, place), settings }, storages);
  const own = connect(db);
  try {
    const source = openSource(own, place);
    const onClosed = () => {
      source.onClosed();
      own.close();
    };
    return new Shipper({ ...source, settings, onClosed }, storages);
  } catch (error) {
    own.close();
    throw error;
  }
}

function isStorage(storage: Storage | readonly Storage[]): storage is Storage {
  return !Array.isArray(storage);
}
