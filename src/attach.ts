/** `attach`: where an application begins. */
import { kindOf } from "./arguments.ts";
import { ReplicaError } from "./errors.ts";
import type { SqliteDatabase } from "./log/store.ts";
import { type AttachOptions, readOptions } from "./options.ts";
import { Replica } from "./replica.ts";

const attached = new WeakMap<object, Replica>();

/**
 * Makes a database converge with its peers from here on. Synchronous: no write can slip past.
 * @throws ALREADY_ATTACHED, INVALID_OPTION, IN_TRANSACTION, TABLE_MISSING, TABLE_NO_KEY and the
 * other TABLE_… codes, EXTENSION_REFUSED, FILE_DAMAGED, TypeError when `db` is no database
 */
export function attach(db: SqliteDatabase, options: AttachOptions = {}): Replica {
  if (!isDatabase(db)) {
    const kinds = "a Database of better-sqlite3 or a DatabaseSync of node:sqlite";
    throw new TypeError(`attach takes an open database, ${kinds}, not ${kindOf(db)}`);
  }
  if (attached.has(db)) {
    throw new ReplicaError("ALREADY_ATTACHED", "this database connection has a replica already", {
      hint: "Use the one `attach` returned first, or close it.",
    });
  }
  const replica = new Replica(db, readOptions(options), () => attached.delete(db));
  attached.set(db, replica);
  return replica;
}

function isDatabase(db: unknown): boolean {
  return typeof db === "object" && db !== null && "loadExtension" in db;
}
