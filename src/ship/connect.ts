/** A connection of the shipper's own, to a file that the application has not opened. */
import { createRequire } from "node:module";
import type Database from "better-sqlite3";
import { messageOf, ReplicaError } from "../errors.ts";

type Sqlite = new (file: string, options: Database.Options) => Database.Database;

/**
 * The file must exist, and is in WAL mode from then on. With better-sqlite3's SQLite: no other
 * SQLite may have the file open in this process.
 * @throws SQLITE
 */
export function connect(file: string): Database.Database {
  const Sqlite = createRequire(import.meta.url)("better-sqlite3") as Sqlite;
  let db: Database.Database | undefined;
  try {
    db = new Sqlite(file, { fileMustExist: true });
    db.pragma("journal_mode = WAL");
    return db;
  } catch (cause) {
    db?.close();
    const message = messageOf(cause);
    throw new ReplicaError("SQLITE", `${file}: ${message}`, { cause });
  }
}
