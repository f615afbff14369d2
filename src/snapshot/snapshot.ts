/**
 * A consistent copy of the database, made while it is read and written: on another thread, into a
 * file of another name that gets its own when it is whole and on disk.
 */
import { randomBytes } from "node:crypto";
import { type FileHandle, open, realpath, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import type { Clock } from "../clock.ts";
import { ReplicaError } from "../errors.ts";
import type { FileCopy } from "../log/store.ts";

export interface SnapshotOptions {
  readonly signal?: AbortSignal | undefined;
  /** Called about ten times a second while it is made, and when it is done. */
  readonly onProgress?: ((progress: SnapshotProgress) => void) | undefined;
  /** Whether the copy is looked through (`PRAGMA quick_check`) before it gets its name. @default true */
  readonly check?: boolean | undefined;
}

export interface SnapshotProgress {
  readonly pages: number;
  readonly pagesDone: number;
  /** 0 to 100. */
  readonly percent: number;
}

export interface SnapshotResult {
  readonly path: string;
  readonly bytes: number;
  /** When it was begun, wall time in ms: what was committed later is not in it. */
  readonly atMs: number;
  readonly tookMs: number;
}

export interface SnapshotSource {
  /** The database's own file; empty when it has none. */
  readonly file: string;
  readonly clock: Clock;
  copyInto(target: string, options: { check: boolean }): FileCopy;
}

const progressMs = 100;

/**
 * An existing file at `path` is replaced.
 * @throws INVALID_OPTION, SQLITE, `signal.reason`, and the file system's errors
 */
export async function makeSnapshot(
  source: SnapshotSource,
  path: string,
  { signal, onProgress, check = true }: SnapshotOptions = {},
): Promise<SnapshotResult> {
  signal?.throwIfAborted();
  const target = resolve(path);
  await refuseItself(source.file, target);
  const atMs = source.clock.now();
  const part = join(dirname(target), `.${basename(target)}.${randomBytes(6).toString("hex")}.part`);
  try {
    await follow(source.copyInto(part, { check }), source.clock, { signal, onProgress });
    await syncToDisk(part);
    const { size } = await stat(part);
    signal?.throwIfAborted();
    await rename(part, target);
    await syncToDisk(dirname(target));
    return { path: target, bytes: size, atMs, tookMs: Math.max(source.clock.now() - atMs, 0) };
  } catch (error) {
    await rm(part, { force: true });
    throw error;
  }
}

/** Waits for the copy, tells of it and stops it when the signal aborts. */
async function follow(
  copy: FileCopy,
  clock: Clock,
  { signal, onProgress }: Pick<SnapshotOptions, "signal" | "onProgress">,
): Promise<void> {
  const tell = () => {
    const { done, pages } = copy.progress();
    const percent = pages === 0 ? 0 : Math.floor((100 * done) / pages);
    onProgress?.({ pages, pagesDone: done, percent });
  };
  let cancel = () => {};
  const tick = () => {
    tell();
    cancel = clock.setTimer(progressMs, tick);
  };
  const stop = () => copy.stop();
  signal?.addEventListener("abort", stop, { once: true });
  cancel = clock.setTimer(progressMs, tick);
  try {
    await copy.done;
    tell();
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  } finally {
    cancel();
    signal?.removeEventListener("abort", stop);
  }
}

/** Renamed over the database, a copy would take the file away under everyone who has it open. */
async function refuseItself(file: string, target: string): Promise<void> {
  const real = (name: string) => realpath(name).catch(() => name);
  // What is not there may be reached through a folder of another name all the same.
  const inFolder = join(await real(dirname(target)), basename(target));
  const targets = new Set([await real(target), inFolder]);
  const own = await real(file);
  for (const suffix of ["", "-wal", "-shm", "-journal"]) {
    if (file === "" || !targets.has(own + suffix)) continue;
    throw new ReplicaError("INVALID_OPTION", "a snapshot cannot take the place of its database", {
      hint: "Give it a name of its own.",
    });
  }
}

async function syncToDisk(name: string): Promise<void> {
  let handle: FileHandle | undefined;
  try {
    handle = await open(name, "r");
    await handle.sync();
  } catch (error) {
    // Not every system syncs folders.
    if (!isUnsupported(error)) throw error;
  } finally {
    await handle?.close();
  }
}

function isUnsupported(error: unknown): boolean {
  const code = error instanceof Error && "code" in error ? error.code : "";
  return code === "EINVAL" || code === "EPERM" || code === "EISDIR" || code === "ENOTSUP";
}
