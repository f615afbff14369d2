/** Hears of new objects in a folder, sooner than the next look would find them. */
import { type FSWatcher, watch } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { ltxLevelPrefix } from "../ltx/keys.ts";
import type { Storage } from "../storage/storage.ts";

/**
 * Calls `onChange` when level 0 of a backup in a folder changes; never for other storages, and where
 * the system cannot watch. Returns what ends it.
 */
export function watchBackup(storage: Storage, onChange: () => void): () => void {
  if (storage.kind !== "file") return () => {};
  const level0 = join(fileURLToPath(storage.name), ltxLevelPrefix(0, "plain"));
  // The folder of the level is made with its first file.
  const folders = [level0, dirname(level0)];
  let watcher: FSWatcher | undefined;
  let watched = folders.length;
  const arm = () => {
    for (const [i, folder] of folders.slice(0, watched).entries()) {
      try {
        const next = watch(folder, { persistent: false }, () => {
          if (watched > 0) arm();
          onChange();
        });
        // Without it the next look finds what there is.
        next.on("error", () => next.close());
        watcher?.close();
        watcher = next;
        watched = i;
        return;
      } catch {
        // It is not there yet.
      }
    }
  };
  arm();
  return () => watcher?.close();
}
