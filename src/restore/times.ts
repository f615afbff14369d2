/** From a moment to a position: the newest transaction that is not younger. */
import type { Storage, StorageCallOptions } from "../storage/storage.ts";
import type { BackupFile } from "./chain.ts";
import { readHeader } from "./inventory.ts";
import { usingObject } from "./unusable.ts";

/**
 * The end of the last file whose last transaction happened at `timeMs` or before; 0 if all are
 * younger. Reads about twenty headers of a million files. Where the writer's clock went back, it is
 * one of the possible answers.
 */
export async function positionAt(
  storage: Storage,
  files: readonly BackupFile[],
  timeMs: number,
  options: StorageCallOptions = {},
): Promise<number> {
  const byEnd = new Map<number, BackupFile>();
  for (const file of files) {
    const other = byEnd.get(file.maxTxid);
    // Files that end alike have the same time; the lowest level is not compacted and surely ours.
    if (other === undefined || file.level < other.level) byEnd.set(file.maxTxid, file);
  }
  const ends = [...byEnd.values()].sort((a, b) => a.maxTxid - b.maxTxid);
  return await lastNotAfter(ends, async (file) => {
    const header = await usingObject(file.key, () => readHeader(storage, file, options));
    return header.timestampMs <= timeMs;
  });
}

/** Binary search for the last that `isEarly`; 0 when not even the first one is. */
async function lastNotAfter(
  files: readonly BackupFile[],
  isEarly: (file: BackupFile) => Promise<boolean>,
): Promise<number> {
  let position = 0;
  let low = 0;
  let high = files.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const file = files[middle];
    if (file !== undefined && (await isEarly(file))) {
      position = file.maxTxid;
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return position;
}
