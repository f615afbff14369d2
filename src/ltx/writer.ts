/** Makes LTX files, a piece at a time: what is in memory does not grow but for the page index. */
import { ReplicaError } from "../errors.ts";
import { native } from "../native.ts";
import { encodeLtxHeader, isSnapshot, type LtxHeader } from "./header.ts";
import type { PageBatch } from "./pages.ts";

/** What a page's block takes beside the page when it does not compress. */
const overheadOf = (pageSize: number) => 10 + Math.floor(pageSize / 255) + 16;

/**
 * Yields the file's bytes. Batches come in the order of their pages, a snapshot's without a gap;
 * pages and pieces of the file must not be touched before the next one has been asked for.
 * @throws `LTX_CORRUPT` for pages that make no file
 */
export async function* encodeLtx(
  header: LtxHeader,
  batches: Iterable<PageBatch> | AsyncIterable<PageBatch>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const head = encodeLtxHeader(header);
  const { pageSize, commit } = header;
  const file = native.ltxFile(pageSize, commit, isSnapshot(header) ? 1 : 0, head);
  yield head;
  for await (const { numbers, data } of batches) {
    if (numbers.length === 0) continue;
    // All of it that is yielded has been written.
    const out = Buffer.allocUnsafeSlow(numbers.length * (pageSize + overheadOf(pageSize)));
    const { bytes, wrong } = await native.encodeLtxPages(file, numbers, data, out);
    check(wrong);
    yield out.subarray(0, bytes);
  }
  const { tail, wrong } = native.finishLtx(file);
  check(wrong);
  yield tail;
}

/** {@link encodeLtx} for what fits into memory. */
export async function encodeLtxFile(
  header: LtxHeader,
  batches: Iterable<PageBatch> | AsyncIterable<PageBatch>,
): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  for await (const piece of encodeLtx(header, batches)) pieces.push(piece);
  return Buffer.concat(pieces);
}

function check(wrong: string): void {
  if (wrong !== "") throw new ReplicaError("LTX_CORRUPT", `the file to be written: ${wrong}`);
}
