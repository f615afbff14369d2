/** Brings a database file that nobody has open to the state after an LTX file. */
import type { FileHandle } from "node:fs/promises";
import type { LtxReader } from "./reader.ts";

/**
 * Writes the pages in their places and cuts the file to its size. The file is right only once this
 * has returned: write to a temporary one. Syncing it is the caller's. Never apply to a file that
 * SQLite has open in this process: closing a descriptor of it drops SQLite's locks.
 * @throws `LTX_CORRUPT`, and errors of the file system
 */
export async function applyLtx(reader: LtxReader, file: FileHandle): Promise<void> {
  const { pageSize, commit } = reader.header;
  await reader.writeTo(file.fd);
  await file.truncate(commit * pageSize);
}
