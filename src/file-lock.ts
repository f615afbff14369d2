/**
 * A lock among processes that ends with the process that has it, however that ends: SQLite's own,
 * on an empty file. The file stays, for whoever deleted it would let in one who waits for the old
 * one beside one who makes a new one.
 */
import type Database from "better-sqlite3";
import { messageOf, ReplicaError } from "./errors.ts";

export class FileLock {
  readonly #db: Database.Database;

  /** `undefined` when somebody has it: another process, or this one. @throws `SQLITE` */
  static async take(path: string): Promise<FileLock | undefined> {
    const { default: Sqlite } = await import("better-sqlite3");
    let db: Database.Database | undefined;
    try {
      db = new Sqlite(path, { timeout: 0 });
      // Nothing is written, so nothing has to be undone, and there is nothing to keep in memory.
      const little = "PRAGMA journal_mode = MEMORY; PRAGMA cache_size = 1; PRAGMA shrink_memory";
      db.exec(`${little}; BEGIN EXCLUSIVE`);
      return new FileLock(db);
    } catch (error) {
      db?.close();
      if (isBusy(error)) return undefined;
      throw new ReplicaError("SQLITE", `${path}: ${messageOf(error)}`, { cause: error });
    }
  }

  /** For `take`. */
  private constructor(db: Database.Database) {
    this.#db = db;
  }

  /** Idempotent. */
  release(): void {
    this.#db.close();
  }
}

function isBusy(error: unknown): boolean {
  return error instanceof Error && "code" in error && String(error.code).startsWith("SQLITE_BUSY");
}
