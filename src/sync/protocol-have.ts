/** HAVE: acknowledgement, heartbeat and gossip in one. */
import type { ByteReader, ByteWriter } from "../log/bytes.ts";
import { type ReadonlyVersionVector, readVector, writeVector } from "../log/vector.ts";
import type { ClockReading } from "./skew.ts";

export interface Have {
  readonly kind: "have";
  /** The vector is whole, not just the entries that rose since the last HAVE. */
  readonly full: boolean;
  readonly vector: ReadonlyVersionVector;
  readonly clock?: ClockReading;
}

/** 48 bits: some 8,900 years. */
const wallMsMax = 2 ** 48 - 1;

const fullFlag = 1;
const clockFlag = 2;
const lagFlag = 4;

export function writeHave(writer: ByteWriter, { full, clock, vector }: Have): void {
  const lagMs = clock?.lagMs;
  const clockFlags = (clock === undefined ? 0 : clockFlag) | (lagMs === undefined ? 0 : lagFlag);
  writer.u8((full ? fullFlag : 0) | clockFlags);
  if (clock !== undefined) writer.varint(clock.wallMs);
  // Zigzag: the sign is the lowest bit.
  if (lagMs !== undefined) writer.varint(lagMs < 0 ? -2 * lagMs - 1 : 2 * lagMs);
  writeVector(writer, vector);
}

/** @throws PROTOCOL_MALFORMED */
export function readHave(reader: ByteReader): Have {
  const flags = reader.u8();
  const full = (flags & fullFlag) !== 0;
  if ((flags & clockFlag) === 0) return { kind: "have", full, vector: readVector(reader) };
  const wallMs = reader.varintUpTo(wallMsMax, "wall time");
  const clock = (flags & lagFlag) === 0 ? { wallMs } : { wallMs, lagMs: readLag(reader) };
  return { kind: "have", full, vector: readVector(reader), clock };
}

function readLag(reader: ByteReader): number {
  const zigzag = reader.varintUpTo(2 * wallMsMax, "clock difference");
  return zigzag % 2 === 0 ? zigzag / 2 : -(zigzag + 1) / 2;
}
