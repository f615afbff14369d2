/** Joins LTX files that follow each other into one: of each page what was written last. */
import { ReplicaError } from "../errors.ts";
import type { LtxHeader } from "./header.ts";
import { formatTxid } from "./keys.ts";
import { batchPagesOf, type PageBatch } from "./pages.ts";
import type { LtxReader } from "./reader.ts";

export interface Compaction {
  readonly header: LtxHeader;
  /** Reads the inputs to their ends, so that damage in any of them is noticed. */
  readonly batches: AsyncGenerator<PageBatch, void, undefined>;
}

/**
 * Inputs at a time: each holds a batch and a piece of its stream. More are joined in several steps.
 */
export const compactionInputsMax = 256;

/**
 * From readers in the order of their transactions; overlap is fine, a gap is not. With a snapshot
 * first the result is one.
 * @throws `LTX_GAP` and, while reading, `LTX_CORRUPT`
 */
export function compactLtx(readers: readonly LtxReader[]): Compaction {
  const first = readers[0];
  const last = readers.at(-1);
  if (first === undefined || last === undefined || readers.length > compactionInputsMax) {
    throw new TypeError(`compaction takes 1 to ${compactionInputsMax} files`);
  }
  readers.forEach((reader, i) => {
    const before = readers[i - 1];
    if (before !== undefined) checkJoins(before, reader);
  });
  const header = {
    pageSize: last.header.pageSize,
    commit: last.header.commit,
    minTxid: first.header.minTxid,
    maxTxid: last.header.maxTxid,
    timestampMs: last.header.timestampMs,
  };
  return { header, batches: mergePages(readers, header) };
}

function checkJoins(before: LtxReader, after: LtxReader): void {
  const { maxTxid, pageSize } = before.header;
  const next = after.header;
  if (next.pageSize !== pageSize) {
    throw new ReplicaError("LTX_GAP", `${after.name}: its pages are of another size`);
  }
  if (next.minTxid <= maxTxid + 1 && next.maxTxid > maxTxid) return;
  const range = `${formatTxid(next.minTxid)} to ${formatTxid(next.maxTxid)}`;
  throw new ReplicaError(
    "LTX_GAP",
    `${after.name}: transactions ${range} do not follow ${formatTxid(maxTxid)}`,
  );
}

/** One input and where in its current batch it stands. */
class Input {
  readonly #batches: AsyncGenerator<PageBatch, void, undefined>;
  readonly #pageSize: number;
  #batch: PageBatch = { numbers: new Uint32Array(), data: new Uint8Array() };
  #at = -1;
  /** Of the current page; infinite at the end. */
  number = 0;

  constructor(reader: LtxReader) {
    this.#batches = reader.batches();
    this.#pageSize = reader.header.pageSize;
  }

  get page(): Uint8Array {
    const start = this.#at * this.#pageSize;
    return this.#batch.data.subarray(start, start + this.#pageSize);
  }

  /** False when the next page is not in memory: then `load`. */
  step(): boolean {
    this.#at++;
    this.number = this.#batch.numbers[this.#at] ?? Number.POSITIVE_INFINITY;
    return this.#at < this.#batch.numbers.length;
  }

  async load(): Promise<void> {
    const next = await this.#batches.next();
    if (next.done) {
      this.number = Number.POSITIVE_INFINITY;
      return;
    }
    this.#batch = next.value;
    this.#at = 0;
    this.number = this.#batch.numbers[0] ?? Number.POSITIVE_INFINITY;
  }

  async close(): Promise<void> {
    await this.#batches.return();
  }
}

async function* mergePages(
  readers: readonly LtxReader[],
  { pageSize, commit }: LtxHeader,
): AsyncGenerator<PageBatch, void, undefined> {
  const inputs = readers.map((reader) => new Input(reader));
  const pagesMax = batchPagesOf(pageSize);
  const empty = () => ({
    numbers: new Uint32Array(pagesMax),
    data: new Uint8Array(pagesMax * pageSize),
  });
  let batch = empty();
  let count = 0;
  try {
    for (const input of inputs) await input.load();
    for (;;) {
      const number = inputs.reduce((min, input) => Math.min(min, input.number), Infinity);
      if (number === Number.POSITIVE_INFINITY) break;
      const having = inputs.filter((input) => input.number === number);
      const newest = having.at(-1);
      // Pages beyond the end were cut off by a later transaction.
      if (newest !== undefined && number <= commit) {
        batch.numbers[count] = number;
        batch.data.set(newest.page, count * pageSize);
        count++;
      }
      for (const input of having) if (!input.step()) await input.load();
      if (count === pagesMax) {
        yield batch;
        batch = empty();
        count = 0;
      }
    }
    const rest = { numbers: batch.numbers.subarray(0, count), data: batch.data };
    if (count > 0) yield { ...rest, data: batch.data.subarray(0, count * pageSize) };
  } finally {
    for (const input of inputs) await input.close();
  }
}
