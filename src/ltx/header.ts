/** The first 100 bytes of an LTX file: which pages of which transactions follow. */
import { ReplicaError } from "../errors.ts";

/** Where in the WAL the pages were read. */
export interface LtxWalPosition {
  /** Bytes from the beginning of the WAL. */
  readonly offset: number;
  readonly size: number;
  readonly salt1: number;
  readonly salt2: number;
}

/** What a file holds. Transaction ids are whole numbers from 1 on; pages are numbered from 1. */
export interface LtxHeader {
  /** Bytes: a power of two from 512 to 65,536. */
  readonly pageSize: number;
  /** Size of the database after the last transaction, in pages. */
  readonly commit: number;
  /** A file that begins with transaction 1 is a snapshot: it has every page. */
  readonly minTxid: number;
  readonly maxTxid: number;
  /** Of the last transaction, in ms since 1970. */
  readonly timestampMs: number;
  /** @default all zero: not read from a WAL, or compacted */
  readonly wal?: LtxWalPosition;
  /** @default 0n */
  readonly nodeId?: bigint;
}

export const ltxHeaderBytes = 100;
/** The database's own checksum is not tracked: stock Litestream restores no files that have it. */
const flagNoChecksum = 2;
const magic = 0x4c54_5831;
/** No date is further from 1970. */
const dateMsMax = 8.64e15;

/** SQLite locks bytes from 1 GiB on, and never uses the page that has the first of them. */
export function lockPageOf(pageSize: number): number {
  return Math.floor(0x4000_0000 / pageSize) + 1;
}

export function isSnapshot(header: LtxHeader): boolean {
  return header.minTxid === 1;
}

/** The number of the last page a snapshot has. */
export function lastPageOf({ commit, pageSize }: LtxHeader): number {
  return commit === lockPageOf(pageSize) ? commit - 1 : commit;
}

/** @throws `LTX_CORRUPT` for a header that no reader would accept. */
export function encodeLtxHeader(header: LtxHeader): Uint8Array {
  const problem = problemOf(header);
  if (problem !== undefined) throw new ReplicaError("LTX_CORRUPT", `LTX header: ${problem}`);
  const bytes = new Uint8Array(ltxHeaderBytes);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, magic);
  view.setUint32(4, flagNoChecksum);
  view.setUint32(8, header.pageSize);
  view.setUint32(12, header.commit);
  view.setBigUint64(16, BigInt(header.minTxid));
  view.setBigUint64(24, BigInt(header.maxTxid));
  view.setBigInt64(32, BigInt(header.timestampMs));
  const { wal } = header;
  if (wal !== undefined) {
    view.setBigInt64(48, BigInt(wal.offset));
    view.setBigInt64(56, BigInt(wal.size));
    view.setUint32(64, wal.salt1);
    view.setUint32(68, wal.salt2);
  }
  view.setBigUint64(72, header.nodeId ?? 0n);
  return bytes;
}

/**
 * `name` is what errors call the file.
 * @throws `LTX_CORRUPT`
 */
export function decodeLtxHeader(bytes: Uint8Array, name: string): LtxHeader {
  const fail = (what: string) => new ReplicaError("LTX_CORRUPT", `${name}: ${what}`);
  if (bytes.length < ltxHeaderBytes) throw fail("it is shorter than the header of an LTX file");
  const view = new DataView(bytes.buffer, bytes.byteOffset, ltxHeaderBytes);
  if (view.getUint32(0) !== magic) throw fail("it is not an LTX file");
  if ((view.getUint32(4) & ~flagNoChecksum) !== 0) throw fail("its header has unknown flags");
  const wal = {
    offset: Number(view.getBigInt64(48)),
    size: Number(view.getBigInt64(56)),
    salt1: view.getUint32(64),
    salt2: view.getUint32(68),
  };
  const header: LtxHeader = {
    pageSize: view.getUint32(8),
    commit: view.getUint32(12),
    minTxid: Number(view.getBigUint64(16)),
    maxTxid: Number(view.getBigUint64(24)),
    timestampMs: Number(view.getBigInt64(32)),
    ...(wal.offset === 0 && wal.size === 0 && wal.salt1 === 0 && wal.salt2 === 0 ? {} : { wal }),
    nodeId: view.getBigUint64(72),
  };
  const problem = problemOf(header);
  if (problem !== undefined) throw fail(problem);
  return header;
}

function problemOf(header: LtxHeader): string | undefined {
  const { pageSize, commit, minTxid, maxTxid, timestampMs, wal } = header;
  const isPowerOfTwo = (pageSize & (pageSize - 1)) === 0;
  if (!isPowerOfTwo || pageSize < 512 || pageSize > 65_536) return `the page size is ${pageSize}`;
  if (!isWhole(commit, 1, 0xffff_ffff)) return `the database has ${commit} pages`;
  if (!isWhole(minTxid, 1) || !isWhole(maxTxid, minTxid)) {
    return `the transactions are ${minTxid} to ${maxTxid}`;
  }
  if (!isWhole(timestampMs, -dateMsMax, dateMsMax)) return `the timestamp is ${timestampMs}`;
  if (wal === undefined) return undefined;
  if (!isWhole(wal.offset, 0) || !isWhole(wal.size, 0)) return "the WAL position is out of range";
  if (wal.offset === 0) return "it has a part of a WAL's position";
  return undefined;
}

function isWhole(value: number, min: number, max: number = Number.MAX_SAFE_INTEGER): boolean {
  return Number.isSafeInteger(value) && value >= min && value <= max;
}
