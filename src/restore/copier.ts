/** Brings a copy that others read from one position to another, in one transaction. */
import type { Clock } from "../clock.ts";
import { ReplicaError } from "../errors.ts";
import type { LtxHeader } from "../ltx/header.ts";
import type { PageBatch } from "../ltx/pages.ts";
import { LtxReader } from "../ltx/reader.ts";
import type { Storage } from "../storage/storage.ts";
import type { BackupFile } from "./chain.ts";
import { fetchInOrder } from "./fetch.ts";
import { checkHeader } from "./inventory.ts";
import type { DatabaseCopy } from "./sqlite.ts";
import { usingObject } from "./unusable.ts";

export interface CopyOptions {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** What is known of the file does not matter: it gets all its pages. */
  readonly isWhole: boolean;
}

/** Another connection that writes, or recovers the log, is through in no time. */
const busyPauseMs = 5;

/**
 * Resolves to the last file's header: then readers see it, and it is durable. `undefined`: somebody
 * else has written the copy, and nothing was done.
 * @throws `UnusableObject`, `PAGE_SIZE_CHANGED`, `SQLITE`, and the storage's errors; nothing was done
 */
export async function copyFiles(
  storage: Storage,
  copy: DatabaseCopy,
  files: readonly BackupFile[],
  options: CopyOptions,
): Promise<LtxHeader | undefined> {
  return await inTransaction(copy, options, async () => {
    const pages = new HeldPages(copy);
    let last: LtxHeader | undefined;
    for await (const { file, body } of fetchInOrder(storage, files, options)) {
      last = await usingObject(file.key, async () => {
        const reader = await LtxReader.open(body, { name: file.key });
        try {
          checkHeader(reader.header, file);
          await pages.append(reader);
          return reader.header;
        } finally {
          await reader.close();
        }
      });
    }
    if (last === undefined) throw new Error("there is a file to copy");
    await pages.commit(last.commit);
    return last;
  });
}

/** As `copyFiles`, for one file on its way. False: somebody else has written the copy. */
export async function copyReader(
  reader: LtxReader,
  copy: DatabaseCopy,
  options: CopyOptions,
): Promise<boolean> {
  const copied = await inTransaction(copy, options, async () => {
    const pages = new HeldPages(copy);
    await pages.append(reader);
    await pages.commit(reader.header.commit);
    return true;
  });
  return copied === true;
}

async function inTransaction<Result>(
  copy: DatabaseCopy,
  { clock, signal, isWhole }: CopyOptions,
  write: () => Promise<Result>,
): Promise<Result | undefined> {
  for (;;) {
    const { busy, altered } = await copy.begin();
    if (!busy && altered && !isWhole) {
      await copy.rollback();
      return undefined;
    }
    if (!busy) break;
    await clock.sleep(busyPauseMs, { signal });
  }
  try {
    return await write();
  } finally {
    // After a commit there is nothing to undo.
    await copy.rollback();
  }
}

/** The last pages of all come with the commit, so a batch is held back until there is another. */
class HeldPages {
  readonly #copy: DatabaseCopy;
  #held: PageBatch | undefined;

  constructor(copy: DatabaseCopy) {
    this.#copy = copy;
  }

  /** When it resolves, the file has been found right. */
  async append(reader: LtxReader): Promise<void> {
    checkSize(reader, this.#copy);
    for await (const batch of reader.batches()) {
      if (this.#held !== undefined) await this.#copy.append(this.#copy.pageSize, this.#held, 0);
      this.#held = batch;
    }
  }

  async commit(size: number): Promise<void> {
    if (this.#held !== undefined) await this.#copy.append(this.#copy.pageSize, this.#held, size);
  }
}

/** @throws `PAGE_SIZE_CHANGED` */
export function checkSize({ name, header }: LtxReader, { pageSize }: DatabaseCopy): void {
  if (header.pageSize === pageSize) return;
  const sizes = `pages of ${header.pageSize} bytes, and the copy pages of ${pageSize}`;
  throw new ReplicaError("PAGE_SIZE_CHANGED", `${name} has ${sizes}`, {
    hint: "Close what reads the copy, delete it with its -follow file, and follow anew.",
  });
}
