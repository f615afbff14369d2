/** Changeset records made by hand, to say what no sound peer would. See `docs/format.md`. */

export interface Forged {
  origin: number | bigint;
  sequence: number | bigint;
  timestamp: number | bigint;
  payload: Uint8Array;
}

export function varint(value: number | bigint): number[] {
  const bytes: number[] = [];
  let rest = BigInt(value);
  for (; rest >= 0x80n; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
  bytes.push(Number(rest));
  return bytes;
}

export function forge({ origin, sequence, timestamp, payload }: Forged): Uint8Array {
  const head = [origin, sequence, timestamp, payload.length].flatMap(varint);
  return Uint8Array.from([...head, ...payload]);
}

/** A payload of one shape with a checksum that is right, whatever the patches say. */
export function forgePayload(
  patches: readonly number[],
  {
    shapes = [],
    patchCount = 1,
    format = 1,
    flags = 0,
    shapeCount = shapes.length,
  }: {
    shapes?: readonly string[];
    patchCount?: number | bigint;
    format?: number;
    flags?: number;
    shapeCount?: number | bigint;
  } = {},
): Uint8Array {
  const hashes = shapes.flatMap((hash) => [...Buffer.from(hash, "hex").reverse()]);
  const body = [format, flags, ...varint(shapeCount), ...hashes, ...varint(patchCount), ...patches];
  return Uint8Array.from([...body, ...littleEndian(crc32c(body))]);
}

/** Bit by bit: a check of the table-driven one. */
export function crc32c(bytes: readonly number[]): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return (crc ^ 0xffffffff) >>> 0;
}

function littleEndian(value: number): number[] {
  return [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff);
}

/** Values in their encoding: small integers, text, blobs, NULL. */
export function encode(value: number | string | null | Uint8Array): number[] {
  if (value === null) return [0];
  if (typeof value === "number") return value === 0 ? [8] : value === 1 ? [9] : [1, value & 0xff];
  const text = typeof value === "string";
  const bytes = Buffer.from(value);
  return [...varint((text ? 13 : 12) + 2 * bytes.length), ...bytes];
}
