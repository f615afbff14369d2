/**
 * The shipper's own folder: how far it has read, what it knows of the pages, and what waits for
 * storages. Everything in it can be lost: then all pages are shipped anew.
 */
import * as fs from "node:fs/promises";
import { join } from "node:path";
import { verifyPrefix } from "../backup/verify.ts";
import { replaceFile, syncFolder, writeSynced } from "../durable.ts";
import { parseChecksum } from "./manifest.ts";
import { encodeChanges, type PageChanges, PageMap } from "./page-map.ts";
import type { WalPlace } from "./wal.ts";

export interface ShipState {
  readonly txid: number;
  readonly timestampMs: number;
  readonly pageSize: number;
  /** Up to where the WAL has been read. */
  readonly place: WalPlace;
}

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

const stateName = "state.json";
const mapName = "pages";
const logName = "pages.log";
const queueName = "queue";
const logBytesMin = 1024 * 1024;

export class StateFolder {
  readonly path: string;
  readonly #syncs: boolean;
  #logBytes = 0;

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
    const state = await this.#readState();
    const map = await this.#readMap(state?.txid ?? 0);
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

  /** Writes a file of `pieces` in the queue's folder, synced; `name` is known only then. */
  async writeFile(
    pieces: AsyncIterable<Uint8Array>,
    name: () => string,
  ): Promise<{ name: string; bytes: number }> {
    const part = this.pathOf("part.tmp");
    try {
      const bytes = await writeSynced(part, pieces, { flags: "w", syncs: this.#syncs });
      await fs.rename(part, this.pathOf(name()));
      if (this.#syncs) await syncFolder(join(this.path, queueName));
      return { name: name(), bytes };
    } catch (error) {
      await fs.rm(part, { force: true }).catch(() => {});
      throw error;
    }
  }

  async removeFile(name: string): Promise<void> {
    await fs.rm(this.pathOf(name), { force: true });
  }

  /** To be followed by `saveState`: until then it does not count. */
  async logChanges(changes: PageChanges): Promise<void> {
    const bytes = encodeChanges(changes);
    const file = await fs.open(join(this.path, logName), "a");
    try {
      await file.writeFile(bytes);
      if (this.#syncs) await file.datasync();
    } finally {
      await file.close();
    }
    this.#logBytes += bytes.length;
  }

  /** Whether the log has become longer than what it leads to. */
  isLogLong(map: PageMap): boolean {
    return this.#logBytes > Math.max(logBytesMin, map.size * 16);
  }

  async saveMap(map: PageMap): Promise<void> {
    // Durable in any case: a log must never come to stand behind an older map than its own.
    await replaceFile(this.path, mapName, map.encode());
    await fs.rm(join(this.path, logName), { force: true });
    this.#logBytes = 0;
  }

  async saveState({ txid, timestampMs, pageSize, place }: ShipState): Promise<void> {
    const state = { format: 1, txid, timestampMs, pageSize, place: [...place] };
    await replaceFile(this.path, stateName, Buffer.from(`${JSON.stringify(state)}\n`), {
      syncs: this.#syncs,
    });
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

  async #readMap(txid: number): Promise<PageMap> {
    const bytes = await readIfThere(join(this.path, mapName));
    const map = (bytes === undefined ? undefined : PageMap.decode(bytes)) ?? new PageMap();
    map.replay((await readIfThere(join(this.path, logName))) ?? new Uint8Array(), txid);
    const known = map.txid === txid ? map : new PageMap();
    // What the log has of transactions above must not be there when their numbers are used again.
    await this.saveMap(known);
    return known;
  }
}

function isState(value: unknown): value is Omit<ShipState, "place"> & { place: number[] } {
  if (typeof value !== "object" || value === null) return false;
  const fields: Record<string, unknown> = { ...value };
  const numbers = [fields.txid, fields.timestampMs, fields.pageSize];
  const { place } = fields;
  if (fields.format !== 1 || !Array.isArray(place) || place.length !== 5) return false;
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

async function readIfThere(path: string): Promise<Buffer | undefined> {
  return await fs.readFile(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
}
