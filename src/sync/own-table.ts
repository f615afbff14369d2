/** A table of this side, as `verify` reads and mends it: in slices, as long as the file is busy. */
import type { Clock } from "../clock.ts";
import { ByteWriter } from "../log/bytes.ts";
import type { RepairResult } from "../native.ts";
import type { HashedRow, KeyRange, RangeDigest } from "./protocol-verify.ts";
import { verifyLimits } from "./protocol-verify.ts";

/** What verify needs of the store. */
export interface Rangeable {
  ranges(
    table: string,
    range: KeyRange,
    parts: number,
    budgetMs: number,
  ): Pending & { order: bigint; parts: RangeDigest[] };
  rangeRows(
    table: string,
    range: KeyRange & { after: boolean },
    limit: number,
    budgetMs: number,
  ): Pending & { rows: HashedRow[]; done: boolean };
  doubtRanges(table: string): boolean;
  keyText(key: Uint8Array): string;
  readRows(
    table: string,
    keys: Uint8Array,
    bytesMax: number,
    budgetMs: number,
  ): Pending & { keys: number; rows: number; chunk: Uint8Array };
  repairRows(table: string, keys: Uint8Array, chunk: Uint8Array, budgetMs: number): RepairResult;
}

interface Pending {
  /** Another connection holds the write lock, or the user is inside a transaction. */
  readonly busy: boolean;
  /** Row clocks and digests had to be brought up to date first: call again. */
  readonly more: boolean;
}

export interface Page {
  readonly rows: readonly HashedRow[];
  readonly done: boolean;
}

const sliceMs = 4;

export interface OwnTableOptions {
  readonly clock: Clock;
  readonly signal?: AbortSignal | undefined;
  /** Between two slices of work. @default 0 */
  readonly restMs?: number | undefined;
}
const busyRetryMs = 5;
/** Of rows read for repair, in one message and one transaction. */
const chunkBytes = 65_536;
const keyBytesMax = verifyLimits.boundBytes + 16;

export class OwnTable {
  readonly table: string;
  readonly #store: Rangeable;
  readonly #clock: Clock;
  readonly #signal: AbortSignal | undefined;
  readonly #restMs: number;

  constructor(store: Rangeable, table: string, { clock, signal, restMs = 0 }: OwnTableOptions) {
    this.#store = store;
    this.table = table;
    this.#clock = clock;
    this.#signal = signal;
    this.#restMs = restMs;
  }

  /** @throws TABLE_NOT_REPLICATED */
  ranges(range: KeyRange, count: number): Promise<{ order: bigint; parts: RangeDigest[] }> {
    return this.#ready(() => this.#store.ranges(this.table, range, count, sliceMs));
  }

  rows(range: KeyRange & { after: boolean }): Promise<Page> {
    const limit = verifyLimits.rows;
    return this.#ready(() => this.#store.rangeRows(this.table, range, limit, sliceMs));
  }

  async doubt(): Promise<void> {
    await this.#ready(() => ({ busy: this.#store.doubtRanges(this.table), more: false }));
  }

  /** A key as SQL literals; long ones are told by their beginning and the row's hash. */
  describe(key: Uint8Array, hash: bigint): string {
    const text = this.#store.keyText(key);
    return text.length <= 1024 ? text : `${text.slice(0, 1024)}… (${hash.toString(16)})`;
  }

  /** What is known here of the first `keys` of these rows. @throws TABLE_NOT_REPLICATED */
  read(keys: readonly Uint8Array[]): Promise<{ keys: number; rows: number; chunk: Uint8Array }> {
    const packed = pack(keys);
    return this.#ready(() => this.#store.readRows(this.table, packed, chunkBytes, sliceMs));
  }

  /** @throws TABLE_NOT_REPLICATED, PAYLOAD_CORRUPT */
  repair(keys: readonly Uint8Array[], chunk: Uint8Array): Promise<RepairResult> {
    const packed = pack(keys);
    return this.#ready(() => this.#store.repairRows(this.table, packed, chunk, sliceMs));
  }

  async #ready<Answer extends Pending>(look: () => Answer): Promise<Answer> {
    for (;;) {
      this.#signal?.throwIfAborted();
      const answer = look();
      if (!answer.busy && !answer.more) {
        await this.#rest();
        return answer;
      }
      if (answer.busy) await this.#clock.sleep(busyRetryMs, { signal: this.#signal });
      else await this.#rest();
    }
  }

  /** Gives others their turn; such a rest does not keep the process alive. */
  #rest(): Promise<void> {
    if (this.#restMs === 0) return nextTurn();
    return new Promise((resolve) => this.#clock.setTimer(this.#restMs, resolve));
  }
}

/** Keys, each with its length before it. */
function pack(keys: readonly Uint8Array[]): Uint8Array {
  const writer = new ByteWriter(keyBytesMax * (keys.length + 1));
  for (const key of keys) {
    writer.varint(key.byteLength);
    writer.bytes(key);
  }
  return writer.finish();
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
