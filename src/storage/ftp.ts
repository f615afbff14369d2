/** FTP servers, with or without TLS, through the package `basic-ftp`. */
import { randomUUID } from "node:crypto";
import { PassThrough, Readable } from "node:stream";
import { checkNames } from "../arguments.ts";
import { type Clock, systemClock } from "../clock.ts";
import { ReplicaError } from "../errors.ts";
import { onAbort } from "../on-abort.ts";
import type { StorageDriver } from "./driver.ts";
import {
  type DriverGet,
  type DriverList,
  type DriverPut,
  missing,
  piecesOf,
  unavailable,
} from "./driver.ts";
import {
  type FtpClient,
  type FtpEntry,
  type FtpLogin,
  FtpPool,
  ftpCodeOf,
  ftpFailure,
} from "./ftp-connection.ts";
import { type ManagedOptions, ManagedStorage, managedNames } from "./managed.ts";
import type { Body, ObjectContent, Storage, StoredObject } from "./storage.ts";
import { listTree, type TreeEntry } from "./tree.ts";

export interface FtpOptions extends ManagedOptions, FtpLogin {
  /** The folder that holds the objects, from the root on; made when missing. @default "/" */
  readonly path?: string;
}

const names = [
  "host",
  "port",
  "username",
  "password",
  "secure",
  "ca",
  "timeoutMs",
  "connectionsMax",
  "path",
];

export function ftpStorage(options: FtpOptions): Storage {
  checkNames(options, [...managedNames, ...names]);
  return new ManagedStorage(new FtpDriver(options), options);
}

/**
 * FTP renames over what is there. Only a folder that is not empty is safe from that: so what is put
 * on condition is the one file, of this name, in a folder that has the object's key. No key has it.
 */
const claimed = "object~";

/** Less than this is read to its end rather than broken off: a new login takes longer. */
const drainBytes = 256 * 1024;

class FtpDriver implements StorageDriver {
  readonly kind = "ftp";
  readonly keepsMetadata = false;
  readonly name: string;
  readonly #pool: FtpPool;
  /** Bodies are read slowly, and while others are put. */
  readonly #readers: FtpPool;
  readonly #root: string;
  readonly #clock: Clock;

  constructor({ path = "", clock = systemClock, ...login }: FtpOptions) {
    this.#clock = clock;
    const { host, port, username = "anonymous", secure = false } = login;
    this.#pool = new FtpPool(login);
    this.#readers = new FtpPool(login);
    this.#root = `/${path.replace(/^\/+|\/+$/g, "")}`.replace(/\/$/, "");
    const scheme = secure === false ? "ftp" : "ftps";
    // Users of one server may see other folders under the same path.
    const user = username === "anonymous" ? "" : `${encodeURIComponent(username)}@`;
    const isUsual = port === undefined || port === (secure === "implicit" ? 990 : 21);
    this.name = `${scheme}://${user}${host}${isUsual ? "" : `:${port}`}${this.#root}/`;
  }

  async put(key: string, body: Body, { ifAbsent, signal }: DriverPut): Promise<boolean> {
    const path = this.#path(key);
    const temporary = `${path.slice(0, path.lastIndexOf("/") + 1)}.${randomUUID()}.tmp`;
    const source = new Source(body);
    try {
      return await this.#pool.run(`put ${key}`, signal, async (client) => {
        if (!ifAbsent) {
          await upload(client, source, temporary);
          await this.#replace(client, temporary, path);
          return true;
        }
        await upload(client, source, `${temporary}/${claimed}`);
        return await this.#claim(client, temporary, path);
      });
    } catch (error) {
      const tidy = (client: FtpClient) => removeAll(client, temporary);
      await this.#pool.run("delete", undefined, tidy).catch(() => {});
      throw source.failure?.error ?? error;
    }
  }

  async get(key: string, { range, signal }: DriverGet): Promise<ObjectContent> {
    const [path, bytes, version] = await this.#pool.run(`get ${key}`, signal, (client) =>
      this.#find(client, key),
    );
    const end = Math.min(range === undefined ? bytes : range.offset + range.length, bytes);
    const start = Math.min(range?.offset ?? 0, end);
    const part = { path, start, end, bytes, signal };
    return { bytes, metadata: {}, version, body: this.#read(key, part) };
  }

  list(prefix: string, list: DriverList): AsyncIterable<readonly StoredObject[]> {
    return listTree((folder) => this.#readFolder(folder, list.signal), prefix, list);
  }

  async delete(key: string, signal: AbortSignal | undefined): Promise<void> {
    const path = this.#path(key);
    await this.#pool.run(`delete ${key}`, signal, async (client) => {
      if (await refused(client.remove(path))) await removeAll(client, path);
      if (await this.#isThere(client, path)) {
        throw new ReplicaError("STORAGE_DENIED", `${this.name}: ${key} cannot be deleted`);
      }
    });
  }

  async close(): Promise<void> {
    this.#pool.close();
    this.#readers.close();
  }

  async #replace(client: FtpClient, temporary: string, path: string): Promise<void> {
    if (!(await refused(client.rename(temporary, path)))) return;
    // What is there may be a folder, put on condition: then its file is replaced.
    await client.rename(temporary, `${path}/${claimed}`);
  }

  async #claim(client: FtpClient, temporary: string, path: string): Promise<boolean> {
    try {
      await client.rename(temporary, path);
      return true;
    } catch (error) {
      if (ftpCodeOf(error) === undefined) throw error;
      await removeAll(client, temporary);
      if (await this.#isThere(client, path)) return false;
      throw error;
    }
  }

  /** Where an object's bytes are, how many, and when they were put. */
  async #find(client: FtpClient, key: string): Promise<[string, number, string]> {
    const path = this.#path(key);
    for (const each of [path, `${path}/${claimed}`]) {
      const bytes = await orRefused(client.size(each));
      if (bytes === undefined) continue;
      const modified = await orRefused(client.lastMod(each));
      return [each, bytes, `${modified?.getTime() ?? ""}-${bytes}`];
    }
    if (!(await this.#isThere(client, path))) throw missing(this.name, key);
    throw new ReplicaError("STORAGE_DENIED", `${this.name}: ${key} is there, and not to be read`);
  }

  /** One code says "missing" and "not for you": what is listed is there. */
  async #isThere(client: FtpClient, path: string): Promise<boolean> {
    const at = path.lastIndexOf("/");
    const entries = await listFolder(client, path.slice(0, at));
    const name = path.slice(at + 1);
    const entry = entries.find((each) => each.name === name);
    if (entry?.isDirectory !== true) return entry !== undefined;
    return (await listFolder(client, path)).some((each) => each.name === claimed);
  }

  /** @throws STORAGE_MISSING for what was deleted since it was found */
  async #checkThere(key: string, signal: AbortSignal | undefined): Promise<void> {
    const isThere = await this.#pool.run(`get ${key}`, signal, (client) =>
      this.#isThere(client, this.#path(key)),
    );
    if (!isThere) throw missing(this.name, key);
  }

  async *#read(
    key: string,
    part: {
      path: string;
      start: number;
      end: number;
      bytes: number;
      signal: AbortSignal | undefined;
    },
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const { path, start, end, bytes, signal } = part;
    if (start === end) return;
    const held = await this.#readers.acquire(signal);
    const stream = new PassThrough({ highWaterMark: drainBytes });
    const drop = (why: string) => {
      stream.destroy(new Error(why));
      held.release(false);
    };
    const abort = () => drop("aborted");
    const off = onAbort(signal, abort);
    const download = held.client.downloadTo(stream, path, start);
    download.catch((error: unknown) => stream.destroy(error as Error));
    let awake = () => {};
    try {
      let left = end - start;
      for await (const piece of stream as AsyncIterable<Uint8Array>) {
        const wanted = piece.subarray(0, left);
        left -= wanted.length;
        awake = this.#readers.rest(() => drop("others want the connection"));
        if (wanted.length > 0) yield wanted;
        awake();
        if (left === 0 && bytes - end > drainBytes) return;
      }
      await download;
      held.release(true);
    } catch (error) {
      signal?.throwIfAborted();
      if (ftpCodeOf(error) === 550) await this.#checkThere(key, signal);
      throw ftpFailure(error, path);
    } finally {
      awake();
      off();
      drop("read");
    }
  }

  async #readFolder(folder: string, signal: AbortSignal | undefined): Promise<TreeEntry[]> {
    const path = folder === "" ? this.#root : this.#path(folder);
    return await this.#pool.run("list", signal, async (client) => {
      const found: TreeEntry[] = [];
      for (const entry of await listFolder(client, path)) {
        const isFolder = entry.isDirectory;
        const modifiedMs = modifiedMsOf(entry, this.#clock.now());
        const plain = { name: entry.name, isFolder, bytes: entry.size, modifiedMs };
        const inside = isFolder ? await listFolder(client, `${path}/${entry.name}`) : [];
        const object = inside.find(({ name }) => name === claimed);
        if (object === undefined) found.push(plain);
        else found.push({ ...plain, isFolder: false, bytes: object.size });
      }
      return found;
    });
  }

  #path(key: string): string {
    return `${this.#root}/${key}`;
  }
}

/** What is uploaded, and whether it was that which failed. */
class Source {
  readonly #body: Body;
  failure: { readonly error: unknown } | undefined;
  /** Given out since the last beginning. */
  bytes = 0;

  constructor(body: Body) {
    this.#body = body;
  }

  async *pieces(): AsyncGenerator<Uint8Array, void, undefined> {
    this.bytes = 0;
    try {
      for await (const piece of piecesOf(this.#body)) {
        // A copy: streams read ahead, and the caller may use its piece again.
        this.bytes += piece.length;
        if (piece.length > 0) yield Buffer.from(piece);
      }
    } catch (error) {
      this.failure = { error };
      throw error;
    }
  }
}

/**
 * The end of a connection is the end of a file: what something on the way has cut off looks whole
 * to the server, so it is asked what it has got.
 */
async function upload(client: FtpClient, source: Source, path: string): Promise<void> {
  await send(client, source, path);
  const bytes = await client.size(path);
  if (bytes === source.bytes) return;
  throw unavailable(`${path} has arrived with ${bytes} of ${source.bytes} bytes`);
}

/** Makes the folders above it when they are missing. */
async function send(client: FtpClient, source: Source, path: string): Promise<void> {
  const attempt = () => client.uploadFrom(Readable.from(source.pieces()), path);
  if (!(await refused(attempt()))) return;
  const parts = path.split("/").slice(1, -1);
  // What is there already cannot be made; whether all is well the next try tells.
  for (const [i] of parts.entries()) {
    await refused(client.send(`MKD /${parts.slice(0, i + 1).join("/")}`));
  }
  await attempt();
}

/** The entries of a folder; none of what is no folder. */
async function listFolder(client: FtpClient, path: string): Promise<readonly FtpEntry[]> {
  if (await refused(client.cd(path || "/"))) return [];
  const entries = await client.list();
  return entries.filter(({ name }) => name !== "." && name !== "..");
}

/** A file, or the folder of something put on condition, if it is there. */
async function removeAll(client: FtpClient, path: string): Promise<void> {
  if (!(await refused(client.remove(path)))) return;
  await refused(client.remove(`${path}/${claimed}`));
  await refused(client.send(`RMD ${path}`));
}

async function refused(request: Promise<unknown>): Promise<boolean> {
  return (await orRefused(request.then(() => true))) === undefined;
}

/** `undefined` when the server says that it will not: nothing else is known of why. */
async function orRefused<T>(request: Promise<T>): Promise<T | undefined> {
  try {
    return await request;
  } catch (error) {
    const code = ftpCodeOf(error);
    if (code === 550 || code === 553 || code === 501 || code === 502) return undefined;
    throw error;
  }
}

/** Servers that know no better write "Nov 21 10:20" for the last months, "Nov 21 2025" before. */
function modifiedMsOf({ modifiedAt, rawModifiedAt }: FtpEntry, nowMs: number): number {
  if (modifiedAt !== undefined) return modifiedAt.getTime();
  const match = /^(\w{3}) +(\d{1,2}) +(?:(\d{1,2}:\d{2})|(\d{4}))$/.exec(rawModifiedAt);
  if (match === null) return 0;
  const [, month = "", day = "", time = "00:00", year] = match;
  const thisYear = new Date(nowMs).getUTCFullYear();
  const inYear = (each: number) => Date.parse(`${day} ${month} ${each} ${time} GMT`) || 0;
  if (year !== undefined) return inYear(Number(year));
  const dayMs = 24 * 3600 * 1000;
  return inYear(thisYear) > nowMs + dayMs ? inYear(thisYear - 1) : inYear(thisYear);
}
