/** Reads LTX files, ours and Litestream's, from a stream of bytes in bounded memory. */
import { getSystemErrorName } from "node:util";
import { ReplicaError } from "../errors.ts";
import { type LtxPagesResult, type NativeLtx, native } from "../native.ts";
import { decodeLtxHeader, isSnapshot, type LtxHeader, ltxHeaderBytes } from "./header.ts";
import { batchBytes, batchPagesOf, type PageBatch } from "./pages.ts";
import { ByteQueue } from "./queue.ts";

export interface LtxReaderOptions {
  /** What errors call the file, for instance its key. @default "the LTX file" */
  readonly name?: string;
  /** About the bytes of pages in a batch. @default 262144 */
  readonly batchBytes?: number;
}

/** More than the largest block: 64 KiB and what does not compress adds to them. */
const readBytes = 128 * 1024;

/** One file: the header at once, then the pages, once. */
export class LtxReader {
  readonly header: LtxHeader;
  readonly name: string;
  readonly #queue: ByteQueue;
  readonly #batchPages: number;
  readonly #file: NativeLtx;
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
    const { pageSize, commit } = this.header;
    const head = queue.take(ltxHeaderBytes);
    this.#file = native.ltxFile(pageSize, commit, isSnapshot(this.header) ? 1 : 0, head);
    this.#batchPages = Math.min(batchPagesOf(pageSize, options.batchBytes ?? batchBytes), commit);
  }

  /**
   * The pages in the order of their numbers. What has been yielded is only known to be right when
   * the generator has ended: the checksum is the last thing in the file.
   * @throws `LTX_CORRUPT`
   */
  async *batches(): AsyncGenerator<PageBatch, void, undefined> {
    try {
      const { pageSize } = this.header;
      for (let ended = false; !ended; ) {
        const numbers = new Uint32Array(this.#batchPages);
        const data = this.#spare ?? new Uint8Array(this.#batchPages * pageSize);
        this.#spare = undefined;
        const blocks = this.#queue.bytes;
        const got = await native.decodeLtxPages(this.#file, numbers, data, blocks);
        this.#took(got);
        ({ ended } = got);
        if (got.pages > 0) {
          yield {
            numbers: numbers.subarray(0, got.pages),
            data: data.subarray(0, got.pages * pageSize),
          };
        }
        if (!ended && got.pages < this.#batchPages) await this.#readMore();
      }
      await this.#readEnd();
    } finally {
      await this.close();
    }
  }

  /**
   * Writes all pages in their places in a file, instead of reading them: without a turn of
   * JavaScript for each. The file is right only when this has returned.
   * @throws `LTX_CORRUPT`, and errors of the file system
   */
  async writeTo(descriptor: number): Promise<void> {
    try {
      for (let ended = false; !ended; ) {
        // Nobody else may have the descriptor's number before the last call is over.
        const got = await native.writeLtxPages(this.#file, descriptor, this.#queue.bytes);
        this.#took(got);
        ({ ended } = got);
        if (!ended) await this.#readMore();
      }
      await this.#readEnd();
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

  #took({ bytes, error, wrong }: LtxPagesResult): void {
    if (wrong !== "") throw this.#corrupt(wrong);
    if (error !== 0) throw systemError(error, "pwrite");
    this.#queue.take(bytes);
  }

  /** Many blocks at a time, and always more than there was. */
  async #readMore(): Promise<void> {
    const before = this.#queue.bytes.length;
    await this.#queue.fill(Math.max(before + 1, readBytes));
    if (this.#queue.bytes.length > before) return;
    throw this.#corrupt("it ends in the middle of its pages");
  }

  async #readEnd(): Promise<void> {
    const size = native.ltxTailBytes(this.#file);
    if (!(await this.#queue.fill(size))) throw this.#corrupt("it is cut off behind its pages");
    if (await this.#queue.fill(size + 1)) throw this.#corrupt("it goes on behind its end");
    const wrong = native.checkLtxTail(this.#file, this.#queue.take(size));
    if (wrong !== "") throw this.#corrupt(wrong);
  }

  #corrupt(what: string): ReplicaError {
    return new ReplicaError("LTX_CORRUPT", `${this.name}: ${what}`, {
      hint: "The object was damaged, or is still being written; restore from before it.",
    });
  }
}

/** As Node.js has it. */
function systemError(number: number, call: string): Error {
  const code = getSystemErrorName(-number);
  const error = new Error(`${code}: ${call} failed`);
  return Object.assign(error, { code, errno: -number, syscall: call });
}
