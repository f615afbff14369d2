/** SFTP servers, through the package `ssh2`. */

import { randomUUID } from "node:crypto";
import { checkNames } from "../arguments.ts";
import type { StorageDriver } from "./driver.ts";
import { type DriverGet, type DriverList, type DriverPut, missing, piecesOf } from "./driver.ts";
import { type ManagedOptions, ManagedStorage, managedNames } from "./managed.ts";
import {
  codeOf,
  SftpConnection,
  type SftpFile,
  type SftpLogin,
  sftpCodes,
} from "./sftp-connection.ts";
import type { Body, ObjectContent, Storage, StoredObject } from "./storage.ts";
import { listTree, type TreeEntry } from "./tree.ts";

export interface SftpOptions extends ManagedOptions, SftpLogin {
  /** The folder that holds the objects; made when it is missing. @default the login's own */
  readonly path?: string;
}

const names = [
  "host",
  "port",
  "username",
  "password",
  "privateKey",
  "passphrase",
  "hostKey",
  "timeoutMs",
  "path",
];

export function sftpStorage(options: SftpOptions): Storage {
  checkNames(options, [...managedNames, ...names]);
  return new ManagedStorage(new SftpDriver(options), options);
}

/** What every server takes in one request, and how many are under way at a time. */
const pieceBytes = 32 * 1024;
const piecesAtATime = 16;

class SftpDriver implements StorageDriver {
  readonly kind = "sftp";
  readonly keepsMetadata = false;
  readonly name: string;
  readonly #connection: SftpConnection;
  readonly #root: string;

  constructor({ path = ".", ...options }: SftpOptions) {
    const { host, port = 22, username, password, privateKey, passphrase, hostKey } = options;
    const optional = { password, privateKey, passphrase, hostKey, timeoutMs: options.timeoutMs };
    const given = Object.entries(optional).filter(([, value]) => value !== undefined);
    this.#connection = new SftpConnection({ host, port, username, ...Object.fromEntries(given) });
    this.#root = path.replace(/\/$/, "");
    // A path may be the login's own, or below where the server keeps that user.
    const server = `${encodeURIComponent(username)}@${host}${port === 22 ? "" : `:${port}`}`;
    this.name = `sftp://${server}/${this.#root.replace(/^\//, "")}`;
  }

  async put(key: string, body: Body, { ifAbsent, signal }: DriverPut): Promise<boolean> {
    const path = this.#path(key);
    const temporary = `${path.slice(0, path.lastIndexOf("/"))}/.${randomUUID()}.tmp`;
    try {
      await this.#write(temporary, body, signal);
      if (!ifAbsent) {
        await this.#connection.run<void>(`put ${key}`, (sftp, done) =>
          sftp.ext_openssh_rename(temporary, path, done),
        );
        return true;
      }
      // The protocol's own rename never overwrites.
      await this.#connection.run<void>(`put ${key}`, (sftp, done) =>
        sftp.rename(temporary, path, done),
      );
      return true;
    } catch (error) {
      await this.#unlink(temporary).catch(() => {});
      if (ifAbsent && codeOf(error) === sftpCodes.failure && (await this.#exists(path))) {
        return false;
      }
      throw error;
    }
  }

  async get(key: string, { range, signal }: DriverGet): Promise<ObjectContent> {
    const file = await this.#openThere(key);
    try {
      const stat = await this.#stat(file);
      const bytes = stat.size;
      const end = Math.min(range === undefined ? bytes : range.offset + range.length, bytes);
      const start = Math.min(range?.offset ?? 0, end);
      const version = `${stat.mtime}-${bytes}`;
      return { bytes, metadata: {}, version, body: this.#read(key, { start, end, signal }) };
    } finally {
      await this.#close(file);
    }
  }

  list(prefix: string, list: DriverList): AsyncIterable<readonly StoredObject[]> {
    return listTree((folder) => this.#readFolder(folder), prefix, list);
  }

  async delete(key: string): Promise<void> {
    await this.#unlink(this.#path(key));
  }

  async close(): Promise<void> {
    this.#connection.close();
  }

  async #write(path: string, body: Body, signal: AbortSignal | undefined): Promise<void> {
    const file = await this.#openFile(path, "w").catch(async (error: unknown) => {
      if (codeOf(error) !== sftpCodes.noSuchFile) throw error;
      await this.#makeFolders(path.slice(0, path.lastIndexOf("/")));
      return await this.#openFile(path, "w");
    });
    try {
      const running = new Set<Promise<void>>();
      const failed: unknown[] = [];
      let at = 0;
      for await (const piece of piecesOf(body)) {
        signal?.throwIfAborted();
        for (let from = 0; from < piece.length && failed.length === 0; from += pieceBytes) {
          const part = piece.subarray(from, from + pieceBytes);
          const writing = this.#writeAt(file, part, at)
            .catch((error: unknown) => void failed.push(error))
            .finally(() => running.delete(writing));
          running.add(writing);
          at += part.length;
          if (running.size >= piecesAtATime) await Promise.race(running);
        }
        // The caller may use its piece again.
        await Promise.all(running);
        if (failed.length > 0) throw failed[0];
      }
      await this.#connection.runOn<void>(file, "sync", (sftp, handle, done) =>
        sftp.ext_openssh_fsync(handle, done),
      );
    } finally {
      await this.#close(file);
    }
  }

  async *#read(
    key: string,
    { start, end, signal }: { start: number; end: number; signal: AbortSignal | undefined },
  ): AsyncGenerator<Uint8Array, void, undefined> {
    if (start === end) return;
    const file = await this.#openThere(key);
    const ahead: Promise<Uint8Array>[] = [];
    try {
      let next = start;
      for (;;) {
        signal?.throwIfAborted();
        for (; ahead.length < piecesAtATime && next < end; next += pieceBytes) {
          const reading = this.#readAt(file, next, Math.min(pieceBytes, end - next));
          // It is looked at in its turn; until then it is no unhandled rejection.
          reading.catch(() => {});
          ahead.push(reading);
        }
        const first = ahead.shift();
        if (first === undefined) return;
        yield await first;
      }
    } finally {
      await Promise.allSettled(ahead);
      await this.#close(file);
    }
  }

  async #readFolder(folder: string): Promise<TreeEntry[]> {
    const path = folder === "" ? this.#root : this.#path(folder);
    try {
      const entries = await this.#connection.run<
        { filename: string; attrs: { size: number; mtime: number; isDirectory(): boolean } }[]
      >("list", (sftp, done) => sftp.readdir(path === "" ? "/" : path, done));
      return entries.map(({ filename, attrs }) => ({
        name: filename,
        isFolder: attrs.isDirectory(),
        bytes: attrs.size,
        modifiedMs: attrs.mtime * 1000,
      }));
    } catch (error) {
      if (codeOf(error) === sftpCodes.noSuchFile) return [];
      throw error;
    }
  }

  async #makeFolders(folder: string): Promise<void> {
    const parts = folder.split("/");
    for (let count = 1; count <= parts.length; count++) {
      const path = parts.slice(0, count).join("/");
      if (path === "" || path === ".") continue;
      // What is there already cannot be made; whether all is well the next write tells.
      await this.#connection
        .run<void>("mkdir", (sftp, done) => sftp.mkdir(path, done))
        .catch((error: unknown) => {
          if (codeOf(error) === undefined) throw error;
        });
    }
  }

  async #writeAt(file: SftpFile, part: Uint8Array, at: number): Promise<void> {
    await this.#connection.runOn<void>(file, "write", (sftp, handle, done) =>
      sftp.write(handle, part, 0, part.length, at, done),
    );
  }

  async #readAt(file: SftpFile, from: number, length: number): Promise<Uint8Array> {
    const buffer = Buffer.allocUnsafe(length);
    for (let done = 0; done < length; ) {
      const got = await this.#connection.runOn<number>(file, "read", (sftp, handle, answer) =>
        sftp.read(handle, buffer, done, length - done, from + done, answer),
      );
      if (got === 0) return buffer.subarray(0, done);
      done += got;
    }
    return buffer;
  }

  async #exists(path: string): Promise<boolean> {
    try {
      await this.#close(await this.#openFile(path, "r"));
      return true;
    } catch (error) {
      if (codeOf(error) === sftpCodes.noSuchFile) return false;
      throw error;
    }
  }

  /** To be read: it may be deleted between two looks at it, too. */
  async #openThere(key: string): Promise<SftpFile> {
    return await this.#openFile(this.#path(key), "r").catch((error: unknown) => {
      throw codeOf(error) === sftpCodes.noSuchFile ? missing(this.name, key) : error;
    });
  }

  #openFile(path: string, flags: "r" | "w"): Promise<SftpFile> {
    return this.#connection.openFile(path, flags);
  }

  #stat(file: SftpFile): Promise<{ size: number; mtime: number }> {
    return this.#connection.runOn(file, "stat", (sftp, handle, done) => sftp.fstat(handle, done));
  }

  /** A handle dies with its connection: then there is nothing to close. */
  async #close(file: SftpFile): Promise<void> {
    await this.#connection
      .runOn<void>(file, "close", (sftp, handle, done) => sftp.close(handle, done))
      .catch(() => {});
  }

  async #unlink(path: string): Promise<void> {
    try {
      await this.#connection.run<void>("delete", (sftp, done) => sftp.unlink(path, done));
    } catch (error) {
      if (codeOf(error) !== sftpCodes.noSuchFile) throw error;
    }
  }

  #path(key: string): string {
    return `${this.#root}/${key}`;
  }
}
