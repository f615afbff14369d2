/** Pages on their way into or out of an LTX file, many at a time. */
import { native } from "../native.ts";

/** Some pages: their numbers, and their contents one after the other. */
export interface PageBatch {
  readonly numbers: Uint32Array;
  /** `numbers.length * pageSize` bytes. */
  readonly data: Uint8Array;
}

/** About the size of a batch: what one thread packs or unpacks at a stretch. */
export const batchBytes: number = 256 * 1024;

/** The number of pages in a full batch. */
export function batchPagesOf(pageSize: number, bytes: number = batchBytes): number {
  return Math.max(1, Math.floor(bytes / pageSize));
}

/**
 * For each page the checksum of its number and content. All of a database's, except its lock
 * page's, combined by exclusive or, with the highest bit set, are the database's checksum.
 */
export async function pageChecksums(batch: PageBatch, pageSize: number): Promise<BigUint64Array> {
  const checksums = new BigUint64Array(batch.numbers.length);
  if (checksums.length === 0) return checksums;
  await native.checksumLtxPages(pageSize, batch.numbers, batch.data, checksums);
  return checksums;
}
