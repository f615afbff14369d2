/** Files that are on disk when a promise says so. */
import * as fs from "node:fs/promises";
import { join } from "node:path";
import { messageOf, ReplicaError } from "./errors.ts";

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

export interface WriteOptions {
  /** Of `open(2)` as Node names them: "w" replaces a file, "wx" refuses to. */
  readonly flags: "w" | "wx";
  /** Without, a crash of the process is survived, and one of the machine not. @default true */
  readonly syncs?: boolean;
}

/**
 * Writes a file of `pieces`, and syncs it; its name is durable once its folder has been synced.
 *
 * @returns its size in bytes
 */
export async function writeSynced(
  path: string,
  pieces: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  { flags, syncs = true }: WriteOptions,
): Promise<number> {
  let bytes = 0;
  const file = await fs.open(path, flags, 0o644);
  try {
    for await (const piece of pieces) {
      await file.writeFile(piece);
      bytes += piece.length;
    }
    if (syncs) await file.sync();
  } finally {
    await file.close();
  }
  return bytes;
}

/** `DISK_FULL` where that is what went wrong; any other error as it is. */
export function explained(error: unknown, path: string): unknown {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  if (code !== "ENOSPC" && code !== "EDQUOT") return error;
  return new ReplicaError("DISK_FULL", `${path}: ${messageOf(error)}`, {
    cause: error,
    hint: "Make room on that disk. What waited for it goes on by itself.",
  });
}

/** A crash leaves the file as it was, or as it is to be. @throws `DISK_FULL` */
export async function replaceFile(
  folder: string,
  name: string,
  bytes: Uint8Array,
  { syncs = true }: Pick<WriteOptions, "syncs"> = {},
): Promise<void> {
  const temporary = join(folder, `${name}.tmp`);
  try {
    await writeSynced(temporary, [bytes], { flags: "w", syncs });
    await fs.rename(temporary, join(folder, name));
    if (syncs) await syncFolder(folder);
  } catch (error) {
    throw explained(error, folder);
  }
}
