/** Makes LTX files, a piece at a time: what is in memory does not grow but for the page index. */
import { native } from "../native.ts";
import { encodeLtxHeader, type LtxHeader, ltxHeaderBytes } from "./header.ts";
import { PageIndexWriter } from "./page-index.ts";
import { type PageBatch, PageOrder } from "./pages.ts";

/** What a page's block takes beside the page when it does not compress. */
const overheadOf = (pageSize: number) => 10 + Math.floor(pageSize / 255) + 16;

const endOfPages = new Uint8Array(6);
const checksumBit = 1n << 63n;

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
  const order = new PageOrder(header, "the file to be written");
  const index = new PageIndexWriter(ltxHeaderBytes);
  let crc = native.crc64(head, 0n);
  yield head;
  for await (const { numbers, data } of batches) {
    if (numbers.length === 0) continue;
    order.check(numbers);
    const room = numbers.length * (header.pageSize + overheadOf(header.pageSize));
    // All of it that is yielded has been written.
    const out = Buffer.allocUnsafeSlow(room);
    const sizes = new Uint32Array(numbers.length);
    const result = await native.encodeLtxPages(header.pageSize, numbers, data, sizes, out, crc);
    crc = result.crc;
    index.append(numbers, sizes);
    yield out.subarray(0, result.bytes);
  }
  order.checkEnd();
  yield finish(index, crc);
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

/** All that stands behind the page blocks; the checksum of the whole file ends it. */
function finish(index: PageIndexWriter, crcOfPages: bigint): Uint8Array {
  const entries = index.finish();
  const tail = new Uint8Array(endOfPages.length + entries.length + 16);
  tail.set(entries, endOfPages.length);
  const end = tail.length - 8;
  const crc = native.crc64(tail.subarray(0, end), crcOfPages);
  new DataView(tail.buffer).setBigUint64(end, crc | checksumBit);
  return tail;
}
