/** Backups made by hand: pages compared, and what differs put into a storage as LTX files. */
import Database from "better-sqlite3";
import { compactLtx } from "../../src/ltx/compact.ts";
import { lockPageOf } from "../../src/ltx/header.ts";
import { levelStyleOf, ltxKey } from "../../src/ltx/keys.ts";
import { LtxReader } from "../../src/ltx/reader.ts";
import { encodeLtxFile } from "../../src/ltx/writer.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { batchOf } from "./ltx.ts";

/** Ships a database commit by commit, and remembers what it was after each. */
export class HandMadeBackup {
  readonly storage: Storage;
  readonly db: Database.Database;
  /** The database's bytes by position; its first is 1. */
  readonly images = new Map<number, Buffer>();
  position = 0;

  constructor(storage: Storage, { pageSize = 512 } = {}) {
    this.storage = storage;
    this.db = new Database(":memory:");
    this.db.pragma(`page_size = ${pageSize}`);
    this.db.pragma("auto_vacuum = INCREMENTAL");
    this.db.exec("CREATE TABLE note (id INTEGER PRIMARY KEY, body BLOB)");
  }

  get image(): Buffer {
    return this.images.get(this.position) ?? Buffer.alloc(0);
  }

  key(minTxid: number, maxTxid: number, level = 0): string {
    return ltxKey({ level, minTxid, maxTxid }, levelStyleOf(this.storage));
  }

  /** Writes something, and what changed into level 0. `timestampMs`: of the commit. */
  async write(sql: string, timestampMs: number = this.position * 1000): Promise<number> {
    this.db.exec(sql);
    return await this.ship(this.db.serialize(), timestampMs);
  }

  async ship(image: Buffer, timestampMs: number): Promise<number> {
    const before = this.image;
    const pageSize = pageSizeOf(image);
    asWal(image);
    const commit = image.length / pageSize;
    const pages = new Map<number, Uint8Array>();
    for (let page = 1; page <= commit; page++) {
      if (page === lockPageOf(pageSize)) continue;
      const bytes = image.subarray((page - 1) * pageSize, page * pageSize);
      const old = before.subarray((page - 1) * pageSize, page * pageSize);
      if (!bytes.equals(old)) pages.set(page, bytes);
    }
    const txid = ++this.position;
    const header = { pageSize, commit, minTxid: txid, maxTxid: txid, timestampMs };
    const file = await encodeLtxFile(header, [batchOf(pages)]);
    await this.storage.put(this.key(txid, txid), file);
    this.images.set(txid, Buffer.from(image));
    return txid;
  }

  /** Joins what is there into one file of a level. */
  async join(minTxid: number, maxTxid: number, level: number): Promise<string> {
    const readers: LtxReader[] = [];
    for (let txid = minTxid; txid <= maxTxid; txid++) {
      const { body } = await this.storage.get(this.key(txid, txid));
      readers.push(await LtxReader.open(body));
    }
    const { header, batches } = compactLtx(readers);
    const key = this.key(minTxid, maxTxid, level);
    await this.storage.put(key, await encodeLtxFile(header, batches));
    return key;
  }
}

/** Rows that make the database grow, shrink and change in the middle. */
export function churn(i: number): string {
  const grow = `INSERT INTO note (body) SELECT randomblob(1 + abs(random()) % 700)
    FROM json_each('[1,2,3,4,5,6,7,8]');`;
  const change = `UPDATE note SET body = randomblob(300) WHERE id % 7 = ${i % 7};`;
  const shrink = `DELETE FROM note WHERE id % 3 = ${i % 3}; PRAGMA incremental_vacuum;`;
  return grow + change + (i % 5 === 4 ? shrink : "");
}

function pageSizeOf(image: Buffer): number {
  const size = image.readUInt16BE(16);
  return size === 1 ? 65_536 : size;
}

/** What is shipped comes from databases in WAL mode, and their headers say so. */
function asWal(image: Buffer): void {
  image[18] = 2;
  image[19] = 2;
}
