/** The file that is restored: written beside its place, and put there when it is whole. */
import { randomUUID } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import * as fs from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { syncFolder } from "../durable.ts";
import { ReplicaError } from "../errors.ts";
import { checkUnused } from "./in-use.ts";

/** What SQLite keeps beside a database and would take for a part of it. */
const companions = ["-wal", "-shm", "-journal"];

export async function exists(path: string): Promise<boolean> {
  try {
    await fs.lstat(path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw error;
  }
}

/**
 * Opens the file at the target through SQLite only: closing it otherwise would drop the locks that
 * SQLite has on it here.
 */
export class Target {
  readonly path: string;
  readonly file: FileHandle;
  readonly #temporary: string;
  #isOpen = true;

  /**
   * Removes what a process that was killed has left. `mustBeNew`: no file may be there.
   * @throws `FILE_EXISTS`, `FILE_IN_USE`, and errors of the file system
   */
  static async open(file: string, { mustBeNew }: { mustBeNew: boolean }): Promise<Target> {
    const path = resolve(file);
    await checkFree(path, mustBeNew);
    await removeLeftovers(path);
    const temporary = `${path}-restoring-${process.pid}-${randomUUID()}`;
    return new Target(path, temporary, await fs.open(temporary, "wx+", 0o644));
  }

  /** For `open`. */
  private constructor(path: string, temporary: string, file: FileHandle) {
    this.path = path;
    this.file = file;
    this.#temporary = temporary;
  }

  /** Puts the file in its place; it is durable there, or the old one is as it was. */
  async install({ mustBeNew }: { mustBeNew: boolean }): Promise<void> {
    await this.file.sync();
    await this.#close();
    await checkFree(this.path, mustBeNew);
    const aside = await this.#setAside();
    await fs.rename(this.#temporary, this.path);
    await syncFolder(dirname(this.path));
    for (const path of aside) await fs.rm(path, { force: true });
  }

  /** Leaves nothing behind. Does nothing after `install`. */
  async abandon(): Promise<void> {
    await this.#close();
    await fs.rm(this.#temporary, { force: true });
  }

  /**
   * A write-ahead log or journal of the old file would be played back into the new one. A database
   * that has one is moved away with it, the database first: at any moment there is an old one, or a
   * new one, or none at the target, and never one with a log that is not its own.
   */
  async #setAside(): Promise<string[]> {
    const beside: string[] = [];
    for (const suffix of companions) {
      if (await exists(this.path + suffix)) beside.push(suffix);
    }
    if (beside.length === 0) return [];
    const aside = `${this.path}-replaced-${process.pid}-${randomUUID()}`;
    const moved: string[] = [];
    for (const suffix of ["", ...beside]) {
      if (!(await exists(this.path + suffix))) continue;
      await fs.rename(this.path + suffix, aside + suffix);
      moved.push(aside + suffix);
    }
    await syncFolder(dirname(this.path));
    return moved;
  }

  async #close(): Promise<void> {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    await this.file.close();
  }
}

async function checkFree(path: string, mustBeNew: boolean): Promise<void> {
  if (!(await exists(path))) return;
  if (!mustBeNew) return await checkUnused(path);
  throw new ReplicaError("FILE_EXISTS", `${path} exists`, {
    hint: "Stop what uses it and restore with `force` (`--force`), or restore to another file.",
  });
}

/** Of processes that are gone. What was set aside is kept: it may be all there is. */
async function removeLeftovers(path: string): Promise<void> {
  const prefix = `${basename(path)}-restoring-`;
  for (const name of await fs.readdir(dirname(path))) {
    if (!name.startsWith(prefix)) continue;
    const [, pid] = /^(\d+)-[0-9a-f-]{36}$/.exec(name.slice(prefix.length)) ?? [];
    if (pid === undefined || isRunning(Number(pid))) continue;
    await fs.rm(join(dirname(path), name), { force: true });
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "ESRCH";
  }
}
