/** What the addon exports for LTX files: pages packed and unpacked on other threads. */
import type { LtxPagesResult, NativeLtx } from "./native-types.ts";

export interface LtxBinding {
  /**
   * A file that begins with the bytes `header`; `commit`: pages of the database behind it. One call
   * at a time, and buffers must not be touched before its promise is settled. After a result with
   * something `wrong` there must be no other call.
   */
  ltxFile(pageSize: number, commit: number, isSnapshot: 0 | 1, header: Uint8Array): NativeLtx;
  /** The next page blocks, into `out`, which has room for pages that do not compress. */
  encodeLtxPages(
    file: NativeLtx,
    numbers: Uint32Array,
    pages: Uint8Array,
    out: Uint8Array,
  ): Promise<LtxPagesResult>;
  /** All that stands behind the page blocks. */
  finishLtx(file: NativeLtx): { tail: Uint8Array; wrong: string };
  /** Pages of the next whole blocks, as many as there are and `numbers` and `pages` have room for. */
  decodeLtxPages(
    file: NativeLtx,
    numbers: Uint32Array,
    pages: Uint8Array,
    blocks: Uint8Array,
  ): Promise<LtxPagesResult>;
  /** The same, and they are written in their places in a file. */
  writeLtxPages(file: NativeLtx, descriptor: number, blocks: Uint8Array): Promise<LtxPagesResult>;
  /** When the blocks have ended: the size of what must stand behind them, */
  ltxTailBytes(file: NativeLtx): number;
  /** and what is wrong with it; "" for nothing. */
  checkLtxTail(file: NativeLtx, tail: Uint8Array): string;
  checksumLtxPages(
    pageSize: number,
    numbers: Uint32Array,
    pages: Uint8Array,
    checksums: BigUint64Array,
  ): Promise<unknown>;
  /** Exclusive or of the checksums of pages from `first` on, without the lock page's. */
  sumPages(pageSize: number, first: number, pages: Uint8Array): Promise<bigint>;
  /** CRC-64 (ISO 3309) going on from `crc`, 0 at the beginning. At once: for small pieces. */
  crc64(bytes: Uint8Array, crc: bigint): bigint;
}
