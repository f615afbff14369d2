/** Reads LTX files, ours and Litestream's, from a stream of bytes in bounded memory. */
import { ReplicaError } from "../errors.ts";
import { native } from "../native.ts";
import { decodeLtxHeader, type LtxHeader, ltxHeaderBytes } from "./header.ts";
import { PageIndexWriter } from "./page-index.ts";
import { batchBytes, batchPagesOf, type PageBatch, PageOrder } from "./pages.ts";
import { ByteQueue } from "./queue.ts";

export interface LtxReaderOptions {
  /** What errors call the file, for instance its key. @default "the LTX file" */
  readonly name?: string;
  /** About the bytes of pages in a batch. @default 262144 */
  readonly batchBytes?: number;
}

const checksumBit = 1n << 63n;
/** More than the largest block: 64 KiB and what does not compress adds to them. */
const readBytes = 128 * 1024;

/** One file: the header at once, then the pages, once. */
export class LtxReader {
  readonly header: LtxHeader;
  readonly name: string;
  readonly #queue: ByteQueue;
  readonly #batchPages: number;
  readonly #head: Uint8Array;
  #spare: Uint8Array | undefined;

  /**
   * Reads as far as the header. Whoever opens a reader reads `batches` to its end, or closes it.
   * @throws `LTX_CORRUPT`, and what `bytes` throws
   */
  static async open(
    bytes: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
    options: LtxReaderOptions = {},
  ): Promise<LtxReader> {
    const queue = new ByteQueue(bytes);
    try {
      await queue.fill(ltxHeaderBytes);
      return new LtxReader(queue, options);
    } catch (error) {
      await queue.close();
      throw error;
    }
  }

  /** Takes a queue that holds the header; for `open`. */
  private constructor(queue: ByteQueue, options: LtxReaderOptions) {
    this.name = options.name ?? "the LTX file";
    this.#queue = queue;
    this.header = decodeLtxHeader(queue.bytes, this.name);
    this.#head = queue.take(Math.min(ltxHeaderBytes, queue.bytes.length)).slice();
    const pagesMax = batchPagesOf(this.header.pageSize, options.batchBytes ?? batchBytes);
    this.#batchPages = Math.min(pagesMax, this.header.commit);
  }

  /**
   * The pages in the order of their numbers. What has been yielded is only known to be right when
   * the generator has ended: the checksum is the last thing in the file.
   * @throws `LTX_CORRUPT`
   */
  async *batches(): AsyncGenerator<PageBatch, void, undefined> {
    try {
      const { pageSize } = this.header;
      const order = new PageOrder(this.header, this.name);
      const index = new PageIndexWriter(ltxHeaderBytes);
      let crc = native.crc64(this.#head, 0n);
      for (let ended = false; !ended; ) {
        const numbers = new Uint32Array(this.#batchPages);
        const sizes = new Uint32Array(this.#batchPages);
        const data = this.#spare ?? new Uint8Array(this.#batchPages * pageSize);
        this.#spare = undefined;
        const blocks = this.#queue.bytes;
        const got = await native.decodeLtxPages(pageSize, numbers, data, sizes, blocks, crc);
        if (got.wrong !== "") throw this.#corrupt(got.wrong);
        ({ crc, ended } = got);
        this.#queue.take(got.bytes);
        if (got.pages > 0) {
          const batch = numbers.subarray(0, got.pages);
          order.check(batch);
          index.append(batch, sizes);
          yield { numbers: batch, data: data.subarray(0, got.pages * pageSize) };
        }
        if (!ended && got.pages < this.#batchPages && !(await this.#readMore())) {
          throw this.#corrupt("it ends in the middle of its pages");
        }
      }
      order.checkEnd();
      await this.#readEnd(index.finish(), crc);
    } finally {
      await this.close();
    }
  }

  /** The memory of a batch that nobody needs any more, for another one. */
  giveBack({ data }: PageBatch): void {
    const whole = new Uint8Array(data.buffer);
    if (whole.length === this.#batchPages * this.header.pageSize) this.#spare = whole;
  }

  /** Lets go of the source. Not needed when `batches` has been used to its end. */
  async close(): Promise<void> {
    await this.#queue.close();
  }

  /** Many blocks at a time, and always more than there was. */
  async #readMore(): Promise<boolean> {
    const before = this.#queue.bytes.length;
    await this.#queue.fill(Math.max(before + 1, readBytes));
    return this.#queue.bytes.length > before;
  }

  /** An index has one form, so it is right when it is what we would have written. */
  async #readEnd(index: Uint8Array, crcOfPages: bigint): Promise<void> {
    const size = index.length + 16;
    if (!(await this.#queue.fill(size))) throw this.#corrupt("it is cut off behind its pages");
    if (await this.#queue.fill(size + 1)) throw this.#corrupt("it goes on behind its end");
    const tail = this.#queue.take(size);
    const end = size - 8;
    const crc = native.crc64(tail.subarray(0, end), crcOfPages) | checksumBit;
    const said = new DataView(tail.buffer, tail.byteOffset).getBigUint64(end);
    if (crc !== said) throw this.#corrupt("its checksum does not match");
    if (Buffer.compare(tail.subarray(0, index.length), index) !== 0) {
      throw this.#corrupt("its page index does not match its pages");
    }
  }

  #corrupt(what: string): ReplicaError {
    return new ReplicaError("LTX_CORRUPT", `${this.name}: ${what}`, {
      hint: "The object was damaged, or is still being written; restore from before it.",
    });
  }
}
