/** Files that are on disk when a promise says so. */
import * as fs from "node:fs/promises";
import { join } from "node:path";

/** After it, files made, renamed or removed in the folder stay so through a loss of power. */
export async function syncFolder(folder: string): Promise<void> {
  // Windows has no way to sync a folder, and refuses to open one.
  if (process.platform === "win32") return;
  const handle = await fs.open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/**
 * Writes a file of `pieces`, and syncs it; its name is durable once its folder has been synced.
 *
 * @param flags - of `open(2)` as Node names them: "w" replaces a file, "wx" refuses to
 * @returns its size in bytes
 */
export async function writeSynced(
  path: string,
  pieces: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  { flags }: { flags: "w" | "wx" },
): Promise<number> {
  let bytes = 0;
  const file = await fs.open(path, flags, 0o644);
  try {
    for await (const piece of pieces) {
      await file.writeFile(piece);
      bytes += piece.length;
    }
    await file.sync();
  } finally {
    await file.close();
  }
  return bytes;
}

/** A crash leaves the file as it was, or as it is to be. */
export async function replaceFile(folder: string, name: string, bytes: Uint8Array): Promise<void> {
  const temporary = join(folder, `${name}.tmp`);
  await writeSynced(temporary, [bytes], { flags: "w" });
  await fs.rename(temporary, join(folder, name));
  await syncFolder(folder);
}
