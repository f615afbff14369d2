/** A folder as a storage. */
import { randomUUID } from "node:crypto";
import type { Stats } from "node:fs";
import * as fs from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { checkNames } from "../arguments.ts";
import { syncFolder, writeSynced } from "../durable.ts";
import { ReplicaError } from "../errors.ts";
import {
  changedMeanwhile,
  type DriverGet,
  type DriverList,
  type DriverPut,
  missing,
  piecesOf,
  type StorageDriver,
} from "./driver.ts";
import { type ManagedOptions, ManagedStorage, managedNames } from "./managed.ts";
import type { Body, ObjectContent, Storage, StoredObject } from "./storage.ts";
import { listTree, type TreeEntry } from "./tree.ts";

/** The folder is made when something is put there first. */
export function fileStorage(folder: string, options: ManagedOptions = {}): Storage {
  checkNames(options, managedNames);
  return new ManagedStorage(new FileDriver(resolve(folder)), options);
}

const pieceBytes = 1024 * 1024;

const codeOf = (error: unknown) => (error as NodeJS.ErrnoException).code;

class FileDriver implements StorageDriver {
  readonly kind = "file";
  readonly keepsMetadata = false;
  readonly name: string;
  readonly #root: string;

  constructor(root: string) {
    this.#root = root;
    this.name = pathToFileURL(root).href;
  }

  async put(key: string, body: Body, { ifAbsent, signal }: DriverPut): Promise<boolean> {
    const path = this.#path(key);
    const folder = dirname(path);
    const temporary = join(folder, `.${randomUUID()}.tmp`);
    try {
      await makeFolder(folder);
      await writeSynced(temporary, untilAborted(piecesOf(body), signal), { flags: "wx" });
      if (ifAbsent) await fs.link(temporary, path);
      else await fs.rename(temporary, path);
      await syncFolder(folder);
      return true;
    } catch (error) {
      if (ifAbsent && codeOf(error) === "EEXIST") return false;
      throw this.#failure(error, key, signal);
    } finally {
      await fs.rm(temporary, { force: true }).catch(() => {});
    }
  }

  async get(key: string, { range, signal }: DriverGet): Promise<ObjectContent> {
    try {
      const stat = await fs.stat(this.#path(key));
      if (stat.isDirectory()) throw missing(this.name, key);
      const bytes = stat.size;
      const end = Math.min(range === undefined ? bytes : range.offset + range.length, bytes);
      const start = Math.min(range?.offset ?? 0, end);
      const version = versionOf(stat);
      const body = this.#read(key, { start, end, version, signal });
      return { bytes, metadata: {}, version, body };
    } catch (error) {
      const code = codeOf(error);
      if (code === "ENOENT" || code === "ENOTDIR") throw missing(this.name, key);
      throw this.#failure(error, key, signal);
    }
  }

  list(prefix: string, list: DriverList): AsyncIterable<readonly StoredObject[]> {
    return listTree((folder) => this.#readFolder(folder), prefix, list);
  }

  async delete(key: string, signal: AbortSignal | undefined): Promise<void> {
    const path = this.#path(key);
    try {
      await fs.unlink(path);
      await syncFolder(dirname(path));
    } catch (error) {
      if (codeOf(error) !== "ENOENT") throw this.#failure(error, key, signal);
    }
  }

  async close(): Promise<void> {}

  /** Opens the file when it is read: nobody closes what is never read. */
  async *#read(
    key: string,
    part: { start: number; end: number; version: string; signal: AbortSignal | undefined },
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const { start, end, version, signal } = part;
    const file = await fs.open(this.#path(key), "r").catch((error: unknown) => {
      // Deleted since it was found, maybe for another one that has the same.
      throw codeOf(error) === "ENOENT"
        ? missing(this.name, key)
        : this.#failure(error, key, signal);
    });
    try {
      if (versionOf(await file.stat()) !== version) {
        throw changedMeanwhile(this.name, key);
      }
      for (let at = start; at < end; ) {
        signal?.throwIfAborted();
        const buffer = Buffer.allocUnsafe(Math.min(pieceBytes, end - at));
        const { bytesRead } = await file.read(buffer, 0, buffer.length, at);
        if (bytesRead === 0) return;
        at += bytesRead;
        yield buffer.subarray(0, bytesRead);
      }
    } catch (error) {
      throw this.#failure(error, key, signal);
    } finally {
      await file.close();
    }
  }

  async #readFolder(folder: string): Promise<TreeEntry[]> {
    const path = join(this.#root, folder);
    try {
      const entries = await fs.readdir(path, { withFileTypes: true });
      return await Promise.all(entries.map((entry) => entryOf(path, entry.name)));
    } catch (error) {
      if (codeOf(error) === "ENOENT" || codeOf(error) === "ENOTDIR") return [];
      throw this.#failure(error, folder, undefined);
    }
  }

  #path(key: string): string {
    return join(this.#root, key);
  }

  #failure(error: unknown, key: string, signal: AbortSignal | undefined): unknown {
    if (signal?.aborted || error instanceof ReplicaError) return error;
    const code = codeOf(error);
    if (code === undefined) return error;
    const denied = code === "EACCES" || code === "EPERM" || code === "EROFS";
    const what = `${this.name}: ${key}: ${(error as Error).message}`;
    return new ReplicaError(denied ? "STORAGE_DENIED" : "STORAGE_FAILED", what, { cause: error });
  }
}

function versionOf({ ino, mtimeMs, size }: Stats): string {
  return `${ino}-${mtimeMs}-${size}`;
}

/** A file may be gone between the listing and the look at it. */
async function entryOf(folder: string, name: string): Promise<TreeEntry> {
  try {
    const stat = await fs.stat(join(folder, name));
    const { size: bytes, mtimeMs } = stat;
    return { name, isFolder: stat.isDirectory(), bytes, modifiedMs: Math.floor(mtimeMs) };
  } catch (error) {
    if (codeOf(error) !== "ENOENT") throw error;
    return { name: ".", isFolder: false, bytes: 0, modifiedMs: 0 };
  }
}

async function* untilAborted<T>(
  pieces: AsyncIterable<T>,
  signal: AbortSignal | undefined,
): AsyncGenerator<T, void, undefined> {
  for await (const piece of pieces) {
    signal?.throwIfAborted();
    yield piece;
  }
}

/** With all above it; each new one is durable once the folder that names it has been synced. */
async function makeFolder(folder: string): Promise<void> {
  const first = await fs.mkdir(folder, { recursive: true });
  if (first === undefined) return;
  for (let at = folder; at.length >= first.length; at = dirname(at)) await syncFolder(dirname(at));
}
