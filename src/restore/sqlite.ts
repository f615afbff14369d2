/** SQLite for files that the application has no connection to: backups checked, copies kept. */
import { messageOf, ReplicaError } from "../errors.ts";
import type { PageBatch } from "../ltx/pages.ts";
import { type CopyFile, type CopyResult, extensionPath, type Handle, native } from "../native.ts";

export type { CopyResult } from "../native.ts";

/** A database file and a connection to it that works on other threads. One call at a time. */
export class DatabaseCopy {
  readonly #file: CopyFile;
  readonly #name: string;
  #pageSize = 0;
  #frames = 0;

  /**
   * The file must exist, and gets a write-ahead log. With better-sqlite3's SQLite: no other SQLite
   * may have the file open in this process.
   * @throws `SQLITE`
   */
  static async open(file: string): Promise<DatabaseCopy> {
    const copy = new DatabaseCopy(await newCopy(), file);
    copy.#pageSize = (await copy.#told(native.openCopy(copy.#file, file))).pageSize;
    return copy;
  }

  /** For `open`. */
  private constructor(file: CopyFile, name: string) {
    this.#file = file;
    this.#name = name;
  }

  get pageSize(): number {
    return this.#pageSize;
  }

  /** In the write-ahead log. */
  get frames(): number {
    return this.#frames;
  }

  /** Begins a transaction, unless the answer is `busy`. */
  async begin(): Promise<CopyResult> {
    return await this.#told(native.beginCopy(this.#file));
  }

  /**
   * `commit`: the size of the database in pages, with the last pages of a transaction; 0 before.
   * Then readers see the transaction, and it is durable.
   */
  async append(pageSize: number, pages: PageBatch, commit: number): Promise<CopyResult> {
    const { numbers, data } = pages;
    return await this.#told(native.appendCopy(this.#file, pageSize, numbers, data, commit));
  }

  async rollback(): Promise<CopyResult> {
    return await this.#told(native.rollbackCopy(this.#file));
  }

  /** Moves what it can from the write-ahead log into the file. Waits for nobody. */
  async checkpoint(): Promise<CopyResult> {
    return await this.#told(native.checkpointCopy(this.#file));
  }

  /** What `PRAGMA integrity_check` finds wrong: the first few problems. */
  async check(): Promise<readonly string[]> {
    return (await this.#told(native.checkCopy(this.#file))).problems;
  }

  async close(): Promise<void> {
    await this.#told(native.closeCopy(this.#file));
  }

  async #told(call: Promise<CopyResult>): Promise<CopyResult> {
    try {
      const result = await call;
      this.#frames = result.frames;
      return result;
    } catch (cause) {
      const message = messageOf(cause);
      throw new ReplicaError("SQLITE", `${this.#name}: ${message}`, { cause });
    }
  }
}

/** A database in memory, only to reach its SQLite. */
async function newCopy(): Promise<CopyFile> {
  const { default: Database } = await import("better-sqlite3");
  const db = new Database(":memory:");
  try {
    db.loadExtension(extensionPath);
    return native.newCopy(db.prepare("SELECT mergelite_handle()").pluck().get() as Handle);
  } finally {
    db.close();
  }
}
