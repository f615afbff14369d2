/**
 * A second reader of LTX files, written down from docs/format.md in the plainest way: what the
 * library writes has to mean the same to someone else.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { LtxHeader } from "../../src/ltx/header.ts";
import type { PageBatch } from "../../src/ltx/pages.ts";
import type { LtxReader } from "../../src/ltx/reader.ts";
import { root } from "./ring1.ts";

export interface PlainLtx {
  flags: number;
  pageSize: number;
  commit: number;
  minTxid: bigint;
  maxTxid: bigint;
  timestampMs: bigint;
  /** Page number -> digest of its content: comparing contents one by one takes long. */
  pages: Map<number, string>;
  index: [page: number, offset: number, size: number][];
}

/** Restored by Litestream itself from the fixture. */
export const litestreamSha256 = "5ce4de0ec7da7afd519661fbed280ad4d5b9d8bd6035d92bb15f8c1bed5cc2ae";

export const litestreamFixture = (key: string): Buffer =>
  readFileSync(join(root, "test/fixtures/litestream", key));

const crcOfByte = Array.from({ length: 256 }, (_, byte) => {
  let crc = BigInt(byte);
  for (let bit = 0; bit < 8; bit++) {
    crc = (crc >> 1n) ^ ((crc & 1n) === 0n ? 0n : 0xd800_0000_0000_0000n);
  }
  return crc;
});

/** Byte by byte. */
export function plainCrc64(bytes: Uint8Array): bigint {
  let crc = 0xffff_ffff_ffff_ffffn;
  for (const byte of bytes) {
    crc = (crc >> 8n) ^ (crcOfByte[(Number(crc & 255n) ^ byte) & 255] ?? 0n);
  }
  return crc ^ 0xffff_ffff_ffff_ffffn;
}

export function plainLz4(block: Buffer): Buffer {
  const out: number[] = [];
  let at = 0;
  const next = () => {
    const byte = block[at++];
    if (byte === undefined) throw new Error("the LZ4 block is cut off");
    return byte;
  };
  const extended = (nibble: number) => {
    let length = nibble;
    for (let byte = nibble === 15 ? 255 : 0; byte === 255; ) {
      byte = next();
      length += byte;
    }
    return length;
  };
  for (;;) {
    const token = next();
    for (let left = extended(token >> 4); left > 0; left--) out.push(next());
    if (at === block.length) return Buffer.from(out);
    const distance = next() | (next() << 8);
    const length = extended(token & 15) + 4;
    for (let i = 0; i < length; i++) {
      const byte = out[out.length - distance];
      if (byte === undefined) throw new Error("an LZ4 match begins before the block");
      out.push(byte);
    }
  }
}

/** `checksum: false` spares the slow checksum. */
export function plainLtx(file: Buffer, { checksum = true } = {}): PlainLtx {
  if (file.toString("latin1", 0, 4) !== "LTX1") throw new Error("no LTX file");
  const ltx: PlainLtx = {
    flags: file.readUInt32BE(4),
    pageSize: file.readUInt32BE(8),
    commit: file.readUInt32BE(12),
    minTxid: file.readBigUInt64BE(16),
    maxTxid: file.readBigUInt64BE(24),
    timestampMs: file.readBigInt64BE(32),
    pages: new Map(),
    index: [],
  };
  const hashed = [file.subarray(0, 100)];
  let at = 100;
  for (let page = file.readUInt32BE(at); page !== 0; page = file.readUInt32BE(at)) {
    const size = file.readUInt32BE(at + 6);
    const data = plainLz4(file.subarray(at + 10, at + 10 + size));
    if (data.length !== ltx.pageSize) throw new Error("a page has another size");
    hashed.push(file.subarray(at, at + 10), data);
    ltx.pages.set(page, digestOf(data));
    at += 10 + size;
  }
  hashed.push(file.subarray(at, file.length - 8));
  const crc = checksum ? plainCrc64(Buffer.concat(hashed)) | (1n << 63n) : 0n;
  if (checksum && crc !== file.readBigUInt64BE(file.length - 8)) throw new Error("wrong checksum");
  const start = at + 6;
  at = start;
  const varint = () => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = file.readUInt8(at++);
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  for (let page = varint(); page !== 0; page = varint()) ltx.index.push([page, varint(), varint()]);
  if (Number(file.readBigUInt64BE(at)) !== at - start) throw new Error("wrong size of the index");
  if (at + 24 !== file.length) throw new Error("something stands behind the end");
  return ltx;
}

export function digestOf(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** A header with what tests do not care about filled in. */
export function ltxHeader(header: Partial<LtxHeader> = {}): LtxHeader {
  return { pageSize: 512, commit: 1, minTxid: 2, maxTxid: 2, timestampMs: 0, ...header };
}

/** One batch of the pages given, in the order of their numbers. */
export function batchOf(pages: ReadonlyMap<number, Uint8Array>): PageBatch {
  const numbers = [...pages.keys()].sort((a, b) => a - b);
  const data = numbers.map((number) => pages.get(number) ?? new Uint8Array());
  return { numbers: Uint32Array.from(numbers), data: Buffer.concat(data) };
}

/** Reads a file to its end. */
export async function pagesOf(
  reader: Pick<LtxReader, "batches" | "header">,
): Promise<Map<number, Buffer>> {
  const pages = new Map<number, Buffer>();
  for await (const { numbers, data } of reader.batches()) {
    const { pageSize } = reader.header;
    numbers.forEach((number, i) => {
      pages.set(number, Buffer.from(data.subarray(i * pageSize, (i + 1) * pageSize)));
    });
  }
  return pages;
}
