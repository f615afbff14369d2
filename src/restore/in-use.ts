/** Whether a file that is to be replaced is in use. */
import { ReplicaError } from "../errors.ts";

/**
 * As far as SQLite's locks tell: a connection that has read a database in WAL mode keeps one until
 * it is closed, any other one for as long as its transaction lasts. It is better-sqlite3's SQLite
 * that looks: no other one may have the file open in this process.
 * @throws `FILE_IN_USE`
 */
export async function checkUnused(file: string): Promise<void> {
  const { default: Database } = await import("better-sqlite3");
  try {
    const db = new Database(file, { fileMustExist: true, timeout: 0 });
    try {
      // In this mode the lock that excludes all others is had at once, or not at all.
      db.exec("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; ROLLBACK");
    } finally {
      db.close();
    }
  } catch (cause) {
    // What SQLite cannot open or read is used by nobody.
    if (!isBusy(cause)) return;
    throw new ReplicaError("FILE_IN_USE", `${file} is in use`, {
      cause,
      hint: "Stop what uses it, or restore to another file: what is written to a file that has been replaced is lost.",
    });
  }
}

function isBusy(error: unknown): boolean {
  const { code } = error as { code?: unknown };
  return typeof code === "string" && /^SQLITE_(BUSY|LOCKED)/.test(code);
}
