/** Brings a database file that nobody has open to the state after an LTX file. */
import type { FileHandle } from "node:fs/promises";
import type { PageBatch } from "./pages.ts";
import type { LtxReader } from "./reader.ts";

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
  for await (const batch of reader.batches()) {
    for (const { first, count, start } of runsOf(batch)) {
      const bytes = batch.data.subarray(start * pageSize, (start + count) * pageSize);
      await writeAll(file, bytes, (first - 1) * pageSize);
    }
    onBytes(batch.data.length);
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

async function writeAll(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, position + done);
    done += bytesWritten;
  }
}
