/** Hears of commits of other processes: they write the WAL, and the file system says so. */
import { watch } from "node:fs";

/**
 * Calls `onWrite` when the database's WAL is written, never where the system cannot watch. A commit
 * counts only a moment after its frames were written: whoever looks at once may not see it yet.
 * Returns what ends it. The WAL must be there and stay, as it does while a connection holds it.
 */
export function watchWal(file: string, onWrite: () => void): () => void {
  try {
    const watcher = watch(`${file}-wal`, { persistent: false }, onWrite);
    watcher.on("error", () => watcher.close());
    return () => watcher.close();
  } catch {
    // Looks at the shared memory find it.
    return () => {};
  }
}
