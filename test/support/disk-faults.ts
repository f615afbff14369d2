/**
 * File calls of this process that fail as on a disk that is full or broken, below one folder:
 *
 *     const disk = DiskFaults.install(folder);
 *     disk.failAt = 17; disk.fails = 3;   // from the 17th call that writes, three of them
 *     disk.remove();
 *
 * A write that fails has written half of it.
 */
import * as fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";

type Open = typeof fs.promises.open;
type Handle = fs.promises.FileHandle;
type Write = (
  data: Uint8Array,
  offset: number,
  length: number,
  position: number,
) => Promise<{ bytesWritten: number; buffer: Uint8Array }>;

const original = { open: fs.promises.open, rename: fs.promises.rename, mkdir: fs.promises.mkdir };

export class DiskFaults {
  /** Calls that write, create, sync or rename, so far. */
  calls = 0;
  /** The first call that fails, counted from 1. @default none */
  failAt = Number.POSITIVE_INFINITY;
  /** How many fail, one after the other. @default 1 */
  fails = 1;
  /** How many have failed. */
  failed = 0;
  readonly #folder: string;

  static install(folder: string): DiskFaults {
    const faults = new DiskFaults(folder);
    const open: Open = async (path, flags = "r", mode) => {
      const isWriting = typeof flags === "string" && /[wa+]/.test(flags);
      if (!faults.#isMine(path)) return await original.open(path, flags, mode);
      if (isWriting) faults.#call();
      return faults.#watched(await original.open(path, flags, mode));
    };
    fs.promises.open = open;
    fs.promises.rename = async (from, to) => {
      if (faults.#isMine(to)) faults.#call();
      await original.rename(from, to);
    };
    syncBuiltinESMExports();
    return faults;
  }

  /** For `install`. */
  private constructor(folder: string) {
    this.#folder = folder;
  }

  remove(): void {
    Object.assign(fs.promises, original);
    syncBuiltinESMExports();
  }

  #isMine(path: unknown): boolean {
    return typeof path === "string" && path.startsWith(this.#folder);
  }

  #isNext(): boolean {
    this.calls++;
    const fails = this.calls >= this.failAt && this.calls < this.failAt + this.fails;
    if (fails) this.failed++;
    return fails;
  }

  #call(): void {
    if (this.#isNext()) throw noSpace();
  }

  #watched(handle: Handle): Handle {
    const writeFile = handle.writeFile.bind(handle);
    const write = handle.write.bind(handle) as Write;
    const [sync, datasync] = [handle.sync.bind(handle), handle.datasync.bind(handle)];
    handle.writeFile = async (data, options) => {
      if (!this.#isNext()) return await writeFile(data, options);
      if (data instanceof Uint8Array) {
        await writeFile(data.subarray(0, data.length >> 1), options);
      }
      throw noSpace();
    };
    const writePart: Write = async (data, offset, length, position) => {
      if (!this.#isNext()) return await write(data, offset, length, position);
      await write(data, offset, length >> 1, position);
      throw noSpace();
    };
    handle.write = writePart as Handle["write"];
    handle.sync = async () => {
      this.#call();
      await sync();
    };
    handle.datasync = async () => {
      this.#call();
      await datasync();
    };
    return handle;
  }
}

function noSpace(): NodeJS.ErrnoException {
  const error: NodeJS.ErrnoException = new Error("ENOSPC: no space left on device");
  error.code = "ENOSPC";
  return error;
}
