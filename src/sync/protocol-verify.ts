/**
 * Messages of `verify`: two replicas compare digests of key ranges, cut those that differ into
 * smaller ones, list the rows of the smallest, and exchange those that differ.
 */
import { type ByteReader, type ByteWriter, malformed } from "../log/bytes.ts";

export const verifyLimits = {
  tableBytes: 1024,
  ranges: 64,
  /** Of a key as rows encode it. */
  boundBytes: 1_048_576,
  rows: 4096,
  repairKeys: 128,
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
  /** Read every row again before answering. */
  readonly deep: boolean;
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
  /** No row of the range is left behind the last one. */
  readonly done: boolean;
}

export interface HashedRow {
  /** Encoded. */
  readonly key: Uint8Array;
  readonly hash: bigint;
}

/** Without a chunk: "what do you have of these rows?" With one: "take these". */
export interface RepairRequest {
  readonly kind: "repairRequest";
  readonly requestId: number;
  readonly table: string;
  readonly keys: readonly Uint8Array[];
  readonly chunk: Uint8Array;
}

export interface Repair {
  readonly kind: "repair";
  readonly requestId: number;
  /**
   * `unknown`: the table is not replicated here. `behind`: the asker needs state first. `ahead`:
   * its clock is too far ahead.
   */
  readonly outcome: "done" | "unknown" | "behind" | "ahead";
  /** How many of the keys the chunk covers. */
  readonly keys: number;
  /** Rows that are other than before here, and those that became a new write of this peer. */
  readonly taken: number;
  readonly rewritten: number;
  /** Empty when the request had one. */
  readonly chunk: Uint8Array;
}

export type VerifyRequest = RangesRequest | RowsRequest | RepairRequest;
export type VerifyAnswer = Ranges | Rows | Repair;
export type VerifyMessage = VerifyRequest | VerifyAnswer;

export const verifyKinds: Readonly<Record<VerifyMessage["kind"], number>> = {
  rangesRequest: 7,
  ranges: 8,
  rowsRequest: 9,
  rows: 10,
  repairRequest: 20,
  repair: 21,
};

const outcomes = ["compared", "unknown", "unordered"] as const;
const repairOutcomes = ["done", "unknown", "behind", "ahead"] as const;
const deepFlag = 1;
const equalFlag = 1;
const afterFlag = 1;
const doneFlag = 1;

export function writeVerify(writer: ByteWriter, message: VerifyMessage): void {
  writer.varint(message.requestId);
  switch (message.kind) {
    case "rangesRequest":
      writer.text(message.table, verifyLimits.tableBytes, "table name");
      writer.u64(message.order);
      writer.u8(message.deep ? deepFlag : 0);
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
      writer.varint(message.rows.length);
      for (const { key, hash } of message.rows) {
        writeBound(writer, key);
        writer.u64(hash);
      }
      return;
    case "repairRequest":
      writer.text(message.table, verifyLimits.tableBytes, "table name");
      writer.varint(message.keys.length);
      for (const key of message.keys) writeBound(writer, key);
      writer.bytes(message.chunk);
      return;
    case "repair":
      writer.u8(repairOutcomes.indexOf(message.outcome));
      writer.varint(message.keys);
      writer.varint(message.taken);
      writer.varint(message.rewritten);
      writer.bytes(message.chunk);
  }
}

/** Undefined when the number is that of no message of `verify`. */
export function readVerify(kind: number, reader: ByteReader): VerifyMessage | undefined {
  switch (kind) {
    case verifyKinds.rangesRequest:
      return readRangesRequest(reader);
    case verifyKinds.ranges:
      return readRanges(reader);
    case verifyKinds.rowsRequest:
      return readRowsRequest(reader);
    case verifyKinds.rows:
      return readRows(reader);
    case verifyKinds.repairRequest:
      return readRepairRequest(reader);
    case verifyKinds.repair:
      return readRepair(reader);
    default:
      return undefined;
  }
}

function readRangesRequest(reader: ByteReader): RangesRequest {
  const requestId = reader.varint();
  const table = reader.text(verifyLimits.tableBytes, "table name");
  const order = reader.u64();
  const deep = (reader.u8() & deepFlag) !== 0;
  const count = reader.count(verifyLimits.ranges, 11, "ranges");
  const ranges: RangeDigest[] = [];
  for (let index = 0; index < count; index++) {
    const from = readBound(reader);
    const to = readBound(reader);
    ranges.push({ from, to, rows: reader.varint(), digest: reader.u64() });
  }
  return { kind: "rangesRequest", requestId, table, order, deep, ranges };
}

function readRanges(reader: ByteReader): Ranges {
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

function readRowsRequest(reader: ByteReader): RowsRequest {
  const requestId = reader.varint();
  const table = reader.text(verifyLimits.tableBytes, "table name");
  const after = (reader.u8() & afterFlag) !== 0;
  const from = readBound(reader);
  return { kind: "rowsRequest", requestId, table, after, from, to: readBound(reader) };
}

function readRows(reader: ByteReader): Rows {
  const requestId = reader.varint();
  const done = (reader.u8() & doneFlag) !== 0;
  const count = reader.count(verifyLimits.rows, 9, "rows");
  const rows: HashedRow[] = [];
  for (let index = 0; index < count; index++) {
    rows.push({ key: readBound(reader), hash: reader.u64() });
  }
  return { kind: "rows", requestId, rows, done };
}

function readRepairRequest(reader: ByteReader): RepairRequest {
  const requestId = reader.varint();
  const table = reader.text(verifyLimits.tableBytes, "table name");
  const count = reader.count(verifyLimits.repairKeys, 2, "keys");
  const keys: Uint8Array[] = [];
  for (let index = 0; index < count; index++) keys.push(readBound(reader));
  const chunk = reader.bytes(reader.remaining);
  return { kind: "repairRequest", requestId, table, keys, chunk };
}

function readRepair(reader: ByteReader): Repair {
  const requestId = reader.varint();
  const outcome = repairOutcomes[reader.u8()];
  if (outcome === undefined) throw malformed("unknown outcome");
  const [keys, taken, rewritten] = [reader.varint(), reader.varint(), reader.varint()];
  const chunk = reader.bytes(reader.remaining);
  return { kind: "repair", requestId, outcome, keys, taken, rewritten, chunk };
}

function writeBound(writer: ByteWriter, bound: Uint8Array): void {
  writer.varint(bound.byteLength);
  writer.bytes(bound);
}

function readBound(reader: ByteReader): Uint8Array {
  return reader.bytes(reader.varintUpTo(verifyLimits.boundBytes, "key"));
}
