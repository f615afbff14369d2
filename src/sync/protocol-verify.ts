/**
 * Messages of `verify`: two replicas compare digests of a table's rows, bucket by bucket of the
 * key's hash, and list the rows of the buckets that differ.
 */
import { type ByteReader, type ByteWriter, malformed } from "../log/bytes.ts";

export const verifyLimits = {
  tableBytes: 1024,
  buckets: 65_536,
  rows: 65_536,
  keyBytes: 65_536,
} as const;

export interface DigestRequest {
  readonly kind: "digestRequest";
  readonly requestId: number;
  readonly table: string;
  readonly buckets: number;
}

export interface Digest {
  readonly kind: "digest";
  readonly requestId: number;
  /** The table is replicated here. */
  readonly found: boolean;
  readonly rows: number;
  /** One sum a bucket; empty when the table was not found. */
  readonly sums: BigUint64Array;
}

export interface BucketRequest {
  readonly kind: "bucketRequest";
  readonly requestId: number;
  readonly table: string;
  readonly buckets: number;
  readonly bucket: number;
}

export interface Bucket {
  readonly kind: "bucket";
  readonly requestId: number;
  /** Keys as SQL literals, each with the hash of its row. */
  readonly rows: readonly BucketRow[];
  /** The bucket has more rows than were sent. */
  readonly truncated: boolean;
}

export interface BucketRow {
  readonly key: string;
  readonly hash: bigint;
}

export type VerifyMessage = DigestRequest | Digest | BucketRequest | Bucket;

const foundFlag = 1;
const truncatedFlag = 1;

export function writeVerify(writer: ByteWriter, message: VerifyMessage): void {
  writer.varint(message.requestId);
  switch (message.kind) {
    case "digestRequest":
      writer.text(message.table, verifyLimits.tableBytes, "table name");
      writer.varint(message.buckets);
      return;
    case "digest":
      writer.u8(message.found ? foundFlag : 0);
      writer.varint(message.rows);
      writer.varint(message.sums.length);
      for (const sum of message.sums) writer.u64(sum);
      return;
    case "bucketRequest":
      writer.text(message.table, verifyLimits.tableBytes, "table name");
      writer.varint(message.buckets);
      writer.varint(message.bucket);
      return;
    case "bucket":
      writer.u8(message.truncated ? truncatedFlag : 0);
      writer.varint(message.rows.length);
      for (const { key, hash } of message.rows) {
        writer.text(key, verifyLimits.keyBytes, "key");
        writer.u64(hash);
      }
  }
}

export function readDigestRequest(reader: ByteReader): DigestRequest {
  return { kind: "digestRequest", requestId: reader.varint(), ...readTable(reader) };
}

export function readDigest(reader: ByteReader): Digest {
  const requestId = reader.varint();
  const found = (reader.u8() & foundFlag) !== 0;
  const rows = reader.varint();
  const sums = new BigUint64Array(reader.count(verifyLimits.buckets, 8, "buckets"));
  for (let index = 0; index < sums.length; index++) sums[index] = reader.u64();
  return { kind: "digest", requestId, found, rows, sums };
}

export function readBucketRequest(reader: ByteReader): BucketRequest {
  const requestId = reader.varint();
  const { table, buckets } = readTable(reader);
  const bucket = reader.varint();
  if (bucket >= buckets) throw malformed(`bucket ${bucket} of ${buckets}`);
  return { kind: "bucketRequest", requestId, table, buckets, bucket };
}

export function readBucket(reader: ByteReader): Bucket {
  const requestId = reader.varint();
  const truncated = (reader.u8() & truncatedFlag) !== 0;
  const count = reader.count(verifyLimits.rows, 9, "rows");
  const rows: BucketRow[] = [];
  for (let index = 0; index < count; index++) {
    rows.push({ key: reader.text(verifyLimits.keyBytes, "key"), hash: reader.u64() });
  }
  return { kind: "bucket", requestId, rows, truncated };
}

function readTable(reader: ByteReader): { table: string; buckets: number } {
  const table = reader.text(verifyLimits.tableBytes, "table name");
  const buckets = reader.varintUpTo(verifyLimits.buckets, "buckets");
  if (buckets === 0) throw malformed("no buckets");
  return { table, buckets };
}
