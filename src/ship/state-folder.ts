/**
 * The shipper's own folder: how far it has read, what it knows of the pages, and what waits for
 * storages. Everything in it can be lost: then all pages are shipped anew. What is noted at each
 * reading is one record of a log, and that is all that is synced.
 */
import { constants, createReadStream } from "node:fs";
import * as fs from "node:fs/promises";
import { join } from "node:path";
import { verifyPrefix } from "../backup/verify.ts";
import { explained, replaceFile, writeSynced } from "../durable.ts";
import { LtxReader } from "../ltx/reader.ts";
import { parseChecksum } from "./manifest.ts";
import { PageMap } from "./page-map.ts";
import { encodeRecord, replayLog, type ShipState, type StateRecord } from "./state-log.ts";

export type { ShipState } from "./state-log.ts";

/** An LTX file that waits. Its name says all that has to be known of it. */
export interface QueuedFile {
  readonly name: string;
  readonly minTxid: number;
  readonly maxTxid: number;
  readonly timestampMs: number;
  readonly pages: number;
  readonly checksum: bigint;
  readonly bytes: number;
}

/** What says whose the folder is, as long as a process has it locked. */
export const lockName = "lock";
const stateName = "state.json";
const mapName = "pages";
const logName = "pages.log";
const queueName = "queue";
const logBytesMin = 1024 * 1024;
/** Pieces of a file that are written together, in bytes at most. */
const gatheredBytes = 256 * 1024;
const recordFlags = constants.O_RDWR | constants.O_CREAT;

export class StateFolder {
  readonly path: string;
  readonly #syncs: boolean;
  #logBytes = 0;
  /** Files that this process has written, or looked through. */
  readonly #whole = new Set<string>();

  /**
   * Without `syncs` a loss of power may take the folder back to any earlier state, or to one that
   * knows nothing; never to one that is wrong.
   */
  constructor(path: string, { syncs }: { syncs: boolean }) {
    this.path = path;
    this.#syncs = syncs;
  }

  /** What is there, with remains of a crash removed; `map` is empty when it is not known. */
  async open(): Promise<{ state: ShipState | undefined; map: PageMap; queue: QueuedFile[] }> {
    await fs.mkdir(join(this.path, queueName), { recursive: true });
    for (const name of await fs.readdir(this.path)) {
      if (!name.startsWith(verifyPrefix)) continue;
      await fs.rm(join(this.path, name), { recursive: true, force: true });
    }
    const { state, map } = await this.#read();
    const queue: QueuedFile[] = [];
    for (const name of await fs.readdir(join(this.path, queueName))) {
      const file = parseQueued(name, (await fs.stat(this.pathOf(name))).size);
      // Read from the WAL, but the state was not replaced any more: it is read again.
      if (file !== undefined && file.maxTxid <= (state?.txid ?? 0)) queue.push(file);
      else await fs.rm(this.pathOf(name), { force: true });
    }
    queue.sort((a, b) => a.minTxid - b.minTxid);
    return { state, map, queue };
  }

  pathOf(name: string): string {
    return join(this.path, queueName, name);
  }

  /**
   * Writes a file of `pieces` in the queue's folder; `name` is known only then. It is not synced:
   * what power takes of it is told by `isWhole`, and shipped again from the database.
   */
  async writeFile(
    pieces: AsyncIterable<Uint8Array>,
    name: () => string,
  ): Promise<{ name: string; bytes: number }> {
    const part = this.pathOf("part.tmp");
    try {
      const bytes = await writeSynced(part, gathered(pieces), { flags: "w", syncs: false });
      await fs.rename(part, this.pathOf(name()));
      this.#whole.add(name());
      return { name: name(), bytes };
    } catch (error) {
      await fs.rm(part, { force: true }).catch(() => {});
      throw explained(error, this.path);
    }
  }

  /** Whether a file of the queue is there and as it was written. */
  async isWhole({ name, minTxid, maxTxid }: QueuedFile): Promise<boolean> {
    if (this.#whole.has(name)) return true;
    try {
      const reader = await LtxReader.open(createReadStream(this.pathOf(name)), { name });
      // Its checksum is the last thing in it.
      for await (const _ of reader.batches());
      const { header } = reader;
      if (header.minTxid !== minTxid || header.maxTxid !== maxTxid) return false;
    } catch (error) {
      const { code } = error as { code?: string };
      if (code === "LTX_CORRUPT" || code === "ENOENT") return false;
      throw error;
    }
    this.#whole.add(name);
    return true;
  }

  async removeFile(name: string): Promise<void> {
    this.#whole.delete(name);
    await fs.rm(this.pathOf(name), { force: true });
  }

  /** Durable when it resolves; what only tells that the WAL has begun anew need not be. */
  async log(record: StateRecord): Promise<void> {
    const bytes = encodeRecord(record);
    try {
      const file = await fs.open(join(this.path, logName), recordFlags, 0o644);
      try {
        // One that failed before is written over.
        await writeAll(file, bytes, this.#logBytes);
        if (this.#syncs && record.changes !== undefined) await file.datasync();
      } finally {
        await file.close();
      }
    } catch (error) {
      throw explained(error, this.path);
    }
    this.#logBytes += bytes.length;
  }

  /** Whether the log has become longer than what it leads to. */
  isLogLong(map: PageMap): boolean {
    return this.#logBytes > Math.max(logBytesMin, map.size * 16);
  }

  /** What the log leads to, or what all pages have been compared with; the log ends. */
  async save({ txid, timestampMs, pageSize, place }: ShipState, map: PageMap): Promise<void> {
    const state = { format: 2, txid, timestampMs, pageSize, place: [...place] };
    // Durable in any case: a log must never come to stand behind another state than its own.
    await replaceFile(this.path, stateName, Buffer.from(`${JSON.stringify(state)}\n`));
    await replaceFile(this.path, mapName, map.encode());
    await this.#removeLog();
  }

  async #removeLog(): Promise<void> {
    await fs.rm(join(this.path, logName), { force: true });
    this.#logBytes = 0;
  }

  async #read(): Promise<{ state: ShipState | undefined; map: PageMap }> {
    const saved = await this.#readState();
    const bytes = await readIfThere(join(this.path, mapName));
    const map = (bytes === undefined ? undefined : PageMap.decode(bytes)) ?? new PageMap();
    const log = (await readIfThere(join(this.path, logName))) ?? new Uint8Array();
    const state = saved === undefined ? undefined : replayLog(log, saved, map);
    const known = map.txid === state?.txid ? map : new PageMap();
    // Numbers that the log has behind a record by half may be used again.
    if (state === undefined) await this.#removeLog();
    else await this.save(state, known);
    return { state, map: known };
  }

  async #readState(): Promise<ShipState | undefined> {
    const text = await readIfThere(join(this.path, stateName));
    try {
      const read: unknown = JSON.parse(text?.toString() ?? "");
      return isState(read) ? { ...read, place: Uint32Array.from(read.place) } : undefined;
    } catch {
      return undefined;
    }
  }
}

function isState(value: unknown): value is Omit<ShipState, "place"> & { place: number[] } {
  if (typeof value !== "object" || value === null) return false;
  const fields: Record<string, unknown> = { ...value };
  const numbers = [fields.txid, fields.timestampMs, fields.pageSize];
  const { place } = fields;
  if (fields.format !== 2 || !Array.isArray(place) || place.length !== 5) return false;
  return [...numbers, ...place].every((each) => Number.isSafeInteger(each) && each >= 0);
}

export function queuedName(file: Omit<QueuedFile, "name" | "bytes">): string {
  const { minTxid, maxTxid, timestampMs, pages, checksum } = file;
  return `${minTxid}-${maxTxid}-${timestampMs}-${pages}-${checksum.toString(16).padStart(16, "0")}`;
}

function parseQueued(name: string, bytes: number): QueuedFile | undefined {
  const match = /^(\d{1,16})-(\d{1,16})-(\d{1,16})-(\d{1,10})-([0-9a-f]{16})$/.exec(name);
  const [minTxid = 0, maxTxid = 0, timestampMs = 0, pages = 0] = (match ?? [])
    .slice(1, 5)
    .map(Number);
  const checksum = parseChecksum(match?.[5] ?? "");
  if (checksum === undefined || minTxid < 1 || maxTxid < minTxid) return undefined;
  return { name, minTxid, maxTxid, timestampMs, pages, checksum, bytes };
}

/** Small pieces together, for each write costs a turn. */
async function* gathered(
  pieces: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  let small: Uint8Array[] = [];
  let smallBytes = 0;
  for await (const piece of pieces) {
    const isLarge = piece.length > gatheredBytes;
    if (smallBytes > 0 && (isLarge || smallBytes + piece.length > gatheredBytes)) {
      yield Buffer.concat(small);
      small = [];
      smallBytes = 0;
    }
    if (isLarge) yield piece;
    else {
      small.push(piece.slice());
      smallBytes += piece.length;
    }
  }
  if (smallBytes > 0) yield Buffer.concat(small);
}

/** On a full disk a part is written first, and then nothing. */
async function writeAll(file: fs.FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    at += (await file.write(bytes, at, bytes.length - at, position + at)).bytesWritten;
  }
}

async function readIfThere(path: string): Promise<Buffer | undefined> {
  return await fs.readFile(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
}
