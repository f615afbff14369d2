/** Brings a database file that nobody has open to the state after an LTX file. */
import { write as writeWithCallback } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { promisify } from "node:util";
import type { PageBatch } from "./pages.ts";
import type { LtxReader } from "./reader.ts";

/** Half the cost of a file handle's method: most pages of small files are on their own. */
const write = promisify(writeWithCallback);
/** Pages that are on their own are written so many at a time. */
const lanesMax = 4;

/**
 * Writes the pages in their places and cuts the file to its size; `onBytes` hears of what has been
 * written. The file is right only once this has returned: write to a temporary one. Syncing it is
 * the caller's. Never apply to a file that SQLite has open in this process: closing a descriptor of
 * it drops SQLite's locks.
 * @throws `LTX_CORRUPT`, and errors of the file system
 */
export async function applyLtx(
  reader: LtxReader,
  file: FileHandle,
  onBytes: (bytes: number) => void = () => {},
): Promise<void> {
  const { pageSize, commit } = reader.header;
  const writeBatch = async (batch: PageBatch) => {
    const runs = runsOf(batch);
    const lane = async () => {
      for (const { first, count, start } of runs) {
        const bytes = batch.data.subarray(start * pageSize, (start + count) * pageSize);
        await writeAll(file, bytes, (first - 1) * pageSize);
      }
    };
    // Not even a failure leaves writes behind: the file may be closed then, and its number reused.
    const ends = await Promise.allSettled(Array.from({ length: lanesMax }, lane));
    for (const end of ends) if (end.status === "rejected") throw end.reason;
    onBytes(batch.data.length);
    reader.giveBack(batch);
  };
  // One batch is written while the next one is unpacked.
  let writing: Promise<void> | undefined;
  try {
    for await (const batch of reader.batches()) {
      await writing;
      writing = writeBatch(batch);
      // Whoever waits for it hears of the failure.
      writing.catch(() => {});
    }
  } finally {
    await writing;
  }
  await file.truncate(commit * pageSize);
}

/** Pages that follow each other are written at once. */
function* runsOf({ numbers }: PageBatch): Generator<{
  first: number;
  count: number;
  start: number;
}> {
  for (let start = 0; start < numbers.length; ) {
    const first = numbers[start] ?? 0;
    let count = 1;
    while (numbers[start + count] === first + count) count++;
    yield { first, count, start };
    start += count;
  }
}

async function writeAll({ fd }: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await write(fd, bytes, done, bytes.length - done, position + done);
    done += bytesWritten;
  }
}
