/** Hears of new objects in a folder, sooner than the next look would find them. */
import { type FSWatcher, watch } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ltxLevelPrefix } from "../ltx/keys.ts";
import type { Storage } from "../storage/storage.ts";

/**
 * Calls `onChange` when level 0 of a backup in a folder changes; never for other storages, and where
 * the system cannot watch. Returns what ends it.
 */
export function watchBackup(storage: Storage, onChange: () => void): () => void {
  if (storage.kind !== "file") return () => {};
  let watcher: FSWatcher | undefined;
  try {
    const folder = join(fileURLToPath(storage.name), ltxLevelPrefix(0, "plain"));
    watcher = watch(folder, { persistent: false }, onChange);
    // Without it the next look finds what there is.
    watcher.on("error", () => watcher?.close());
  } catch {
    return () => {};
  }
  return () => watcher?.close();
}
