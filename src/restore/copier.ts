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
  { clock, signal, isWhole }: CopyOptions,
): Promise<LtxHeader | undefined> {
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
    return await appendAll(storage, copy, files, signal);
  } finally {
    // After a commit there is nothing to undo.
    await copy.rollback();
  }
}

/** The last pages of all come with the commit, so a batch is held back until there is another. */
async function appendAll(
  storage: Storage,
  copy: DatabaseCopy,
  files: readonly BackupFile[],
  signal: AbortSignal,
): Promise<LtxHeader> {
  let held: PageBatch | undefined;
  let last: LtxHeader | undefined;
  for await (const { file, body } of fetchInOrder(storage, files, { signal })) {
    last = await usingObject(file.key, async () => {
      const reader = await LtxReader.open(body, { name: file.key });
      try {
        checkHeader(reader.header, file);
        checkSize(reader, copy);
        for await (const batch of reader.batches()) {
          if (held !== undefined) await copy.append(copy.pageSize, held, 0);
          held = batch;
        }
        return reader.header;
      } finally {
        await reader.close();
      }
    });
  }
  if (last === undefined) throw new Error("there is a file to copy");
  if (held !== undefined) await copy.append(copy.pageSize, held, last.commit);
  return last;
}

function checkSize({ name, header }: LtxReader, { pageSize }: DatabaseCopy): void {
  if (header.pageSize === pageSize) return;
  const sizes = `pages of ${header.pageSize} bytes, and the copy pages of ${pageSize}`;
  throw new ReplicaError("PAGE_SIZE_CHANGED", `${name} has ${sizes}`, {
    hint: "Close what reads the copy, delete it with its -follow file, and follow anew.",
  });
}
