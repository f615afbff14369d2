/**
 * What was shipped of each page: its checksum, and the transaction that changed it last. From it
 * follow the database's checksum, what a rebase has to ship, and what a storage lacks that fell
 * behind. 16 bytes a page.
 */
import { native } from "../native.ts";

export interface PageChanges {
  readonly txid: number;
  /** Of the database behind them, in pages. */
  readonly size: number;
  readonly numbers: Uint32Array;
  readonly checksums: BigUint64Array;
}

const checksumBit = 1n << 63n;
const headBytes = 16;
/** Of the checksum that ends what is sealed. */
export const sumBytes = 8;

export class PageMap {
  #checksums = new BigUint64Array(64);
  #txids = new Float64Array(64);
  #sum = 0n;
  #size = 0;
  /** Of the transaction that changed it last. */
  txid = 0;

  /** Of the database, in pages. */
  get size(): number {
    return this.#size;
  }

  /** Of the database. */
  get checksum(): bigint {
    return this.#sum | checksumBit;
  }

  checksumOf(page: number): bigint {
    return page <= this.#size ? (this.#checksums[page - 1] ?? 0n) : 0n;
  }

  apply({ txid, size, numbers, checksums }: PageChanges): void {
    this.#resize(size);
    numbers.forEach((number, i) => {
      const checksum = checksums[i] ?? 0n;
      this.#sum ^= (this.#checksums[number - 1] ?? 0n) ^ checksum;
      this.#checksums[number - 1] = checksum;
      this.#txids[number - 1] = txid;
    });
    this.txid = txid;
  }

  /** Numbers of the pages that transactions above `txid` changed, rising. */
  changedSince(txid: number): Uint32Array {
    const numbers: number[] = [];
    for (let i = 0; i < this.#size; i++) if ((this.#txids[i] ?? 0) > txid) numbers.push(i + 1);
    return Uint32Array.from(numbers);
  }

  encode(): Uint8Array {
    const bytes = new Uint8Array(headBytes + this.#size * 16 + sumBytes);
    const view = new DataView(bytes.buffer);
    view.setFloat64(0, this.txid, true);
    view.setUint32(8, this.#size, true);
    bytes.set(new Uint8Array(this.#checksums.buffer, 0, this.#size * 8), headBytes);
    const txids = new Uint8Array(this.#txids.buffer, 0, this.#size * 8);
    bytes.set(txids, headBytes + this.#size * 8);
    seal(bytes);
    return bytes;
  }

  /** `undefined` for what `encode` did not write. */
  static decode(bytes: Uint8Array): PageMap | undefined {
    if (bytes.length < headBytes + sumBytes || !isSealed(bytes)) return undefined;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const size = view.getUint32(8, true);
    if (bytes.length !== headBytes + size * 16 + sumBytes) return undefined;
    const map = new PageMap();
    map.#resize(size);
    for (let i = 0; i < size; i++) {
      const checksum = view.getBigUint64(headBytes + i * 8, true);
      map.#checksums[i] = checksum;
      map.#sum ^= checksum;
      map.#txids[i] = view.getFloat64(headBytes + (size + i) * 8, true);
    }
    map.txid = view.getFloat64(0, true);
    return map;
  }

  #resize(size: number): void {
    for (let i = size; i < this.#size; i++) {
      this.#sum ^= this.#checksums[i] ?? 0n;
      this.#checksums[i] = 0n;
      this.#txids[i] = 0;
    }
    if (size > this.#checksums.length) {
      const room = Math.max(size, this.#checksums.length * 2);
      const checksums = new BigUint64Array(room);
      const txids = new Float64Array(room);
      checksums.set(this.#checksums);
      txids.set(this.#txids);
      this.#checksums = checksums;
      this.#txids = txids;
    }
    this.#size = size;
  }
}

function sumOf(bytes: Uint8Array): bigint {
  return native.crc64(bytes.subarray(0, bytes.length - sumBytes), 0n);
}

export function seal(bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  view.setBigUint64(bytes.length - sumBytes, sumOf(bytes), true);
}

export function isSealed(bytes: Uint8Array): boolean {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return view.getBigUint64(bytes.length - sumBytes, true) === sumOf(bytes);
}
