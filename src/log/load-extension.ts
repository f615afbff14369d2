/** The extension, loaded into a connection of the application's. */
import { messageOf, ReplicaError } from "../errors.ts";
import { extensionPath } from "../native.ts";
import type { SqliteDatabase } from "./store.ts";

/** @throws EXTENSION_REFUSED */
export function loadInto(db: SqliteDatabase): void {
  try {
    db.loadExtension(extensionPath);
  } catch (cause) {
    const message = messageOf(cause);
    const hint = /not open/.test(message)
      ? "Attach a connection that is open."
      : "Open the database with a driver whose SQLite is 3.51.3 or newer; for node:sqlite: new DatabaseSync(file, { allowExtension: true }).";
    throw new ReplicaError("EXTENSION_REFUSED", `the extension was not loaded: ${message}`, {
      cause,
      hint,
    });
  }
}
