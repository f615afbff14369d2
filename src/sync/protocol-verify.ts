/**
 * Messages of `verify`: two replicas compare digests of key ranges, cut those that differ into
 * smaller ones, and list the rows of the smallest.
 */
import { type ByteReader, type ByteWriter, malformed } from "../log/bytes.ts";

export const verifyLimits = {
  tableBytes: 1024,
  ranges: 64,
  /** Of a key as rows encode it. */
  boundBytes: 1_048_576,
  rows: 4096,
  /** Of a key as SQL literals. */
  keyBytes: 4096,
} as const;

/** From one key up to, and without, another; both encoded. No bytes are no bound. */
export interface KeyRange {
  readonly from: Uint8Array;
  readonly to: Uint8Array;
}

export interface RangeDigest extends KeyRange {
  readonly rows: number;
  readonly digest: bigint;
}

export interface RangesRequest {
  readonly kind: "rangesRequest";
  readonly requestId: number;
  readonly table: string;
  /** Peers with the same number sort the table's keys the same way. */
  readonly order: bigint;
  readonly ranges: readonly RangeDigest[];
}

export interface Ranges {
  readonly kind: "ranges";
  readonly requestId: number;
  /** `unknown`: the table is not replicated here. `unordered`: its keys are sorted otherwise. */
  readonly outcome: "compared" | "unknown" | "unordered";
  /** For each range of the request: whether it is equal, and how many rows it has here. */
  readonly ranges: readonly { readonly equal: boolean; readonly rows: number }[];
}

export interface RowsRequest extends KeyRange {
  readonly kind: "rowsRequest";
  readonly requestId: number;
  readonly table: string;
  /** `from` is the last key of the answer before, and not wanted again. */
  readonly after: boolean;
}

export interface Rows {
  readonly kind: "rows";
  readonly requestId: number;
  readonly rows: readonly HashedRow[];
  readonly lastKey: Uint8Array;
  /** No row of the range is left behind `lastKey`. */
  readonly done: boolean;
}

export interface HashedRow {
  /** As SQL literals. */
  readonly key: string;
  readonly hash: bigint;
}

export type VerifyRequest = RangesRequest | RowsRequest;
export type VerifyAnswer = Ranges | Rows;
export type VerifyMessage = VerifyRequest | VerifyAnswer;

const outcomes = ["compared", "unknown", "unordered"] as const;
const equalFlag = 1;
const afterFlag = 1;
const doneFlag = 1;

export function writeVerify(writer: ByteWriter, message: VerifyMessage): void {
  writer.varint(message.requestId);
  switch (message.kind) {
    case "rangesRequest":
      writer.text(message.table, verifyLimits.tableBytes, "table name");
      writer.u64(message.order);
      writer.varint(message.ranges.length);
      for (const { from, to, rows, digest } of message.ranges) {
        writeBound(writer, from);
        writeBound(writer, to);
        writer.varint(rows);
        writer.u64(digest);
      }
      return;
    case "ranges":
      writer.u8(outcomes.indexOf(message.outcome));
      writer.varint(message.ranges.length);
      for (const { equal, rows } of message.ranges) {
        writer.u8(equal ? equalFlag : 0);
        writer.varint(rows);
      }
      return;
    case "rowsRequest":
      writer.text(message.table, verifyLimits.tableBytes, "table name");
      writer.u8(message.after ? afterFlag : 0);
      writeBound(writer, message.from);
      writeBound(writer, message.to);
      return;
    case "rows":
      writer.u8(message.done ? doneFlag : 0);
      writeBound(writer, message.lastKey);
      writer.varint(message.rows.length);
      for (const { key, hash } of message.rows) {
        writer.text(key, verifyLimits.keyBytes, "key");
        writer.u64(hash);
      }
  }
}

export function readRangesRequest(reader: ByteReader): RangesRequest {
  const requestId = reader.varint();
  const table = reader.text(verifyLimits.tableBytes, "table name");
  const order = reader.u64();
  const count = reader.count(verifyLimits.ranges, 11, "ranges");
  const ranges: RangeDigest[] = [];
  for (let index = 0; index < count; index++) {
    const from = readBound(reader);
    const to = readBound(reader);
    ranges.push({ from, to, rows: reader.varint(), digest: reader.u64() });
  }
  return { kind: "rangesRequest", requestId, table, order, ranges };
}

export function readRanges(reader: ByteReader): Ranges {
  const requestId = reader.varint();
  const outcome = outcomes[reader.u8()];
  if (outcome === undefined) throw malformed("unknown outcome");
  const count = reader.count(verifyLimits.ranges, 2, "ranges");
  const ranges: { equal: boolean; rows: number }[] = [];
  for (let index = 0; index < count; index++) {
    const equal = (reader.u8() & equalFlag) !== 0;
    ranges.push({ equal, rows: reader.varint() });
  }
  return { kind: "ranges", requestId, outcome, ranges };
}

export function readRowsRequest(reader: ByteReader): RowsRequest {
  const requestId = reader.varint();
  const table = reader.text(verifyLimits.tableBytes, "table name");
  const after = (reader.u8() & afterFlag) !== 0;
  const from = readBound(reader);
  return { kind: "rowsRequest", requestId, table, after, from, to: readBound(reader) };
}

export function readRows(reader: ByteReader): Rows {
  const requestId = reader.varint();
  const done = (reader.u8() & doneFlag) !== 0;
  const lastKey = readBound(reader);
  const count = reader.count(verifyLimits.rows, 9, "rows");
  const rows: HashedRow[] = [];
  for (let index = 0; index < count; index++) {
    rows.push({ key: reader.text(verifyLimits.keyBytes, "key"), hash: reader.u64() });
  }
  return { kind: "rows", requestId, rows, lastKey, done };
}

function writeBound(writer: ByteWriter, bound: Uint8Array): void {
  writer.varint(bound.byteLength);
  writer.bytes(bound);
}

function readBound(reader: ByteReader): Uint8Array {
  return reader.bytes(reader.varintUpTo(verifyLimits.boundBytes, "key"));
}
