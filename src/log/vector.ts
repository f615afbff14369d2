/** Version vectors: origin -> highest sequence held without a gap. */
import { ReplicaError } from "../errors.ts";
import { type ByteReader, type ByteWriter, malformed } from "./bytes.ts";

export type VersionVector = Map<number, number>;
export type ReadonlyVersionVector = ReadonlyMap<number, number>;

/** A range of sequences of one origin, both ends included. */
export interface SequenceRange {
  readonly origin: number;
  readonly first: number;
  readonly last: number;
}

/** Peer ids are integers above 0 of at most 53 bits. */
export const peerIdMax: number = Number.MAX_SAFE_INTEGER;
/** The log keeps origin and sequence in one 64-bit key, of which 40 bits are the sequence. */
export const sequenceMax: number = 2 ** 40 - 1;
export const vectorEntriesMax = 65_536;

/** Raises `into` to at least `other`, and tells whether that changed anything. */
export function mergeVector(into: VersionVector, other: ReadonlyVersionVector): boolean {
  let raised = false;
  for (const [origin, sequence] of other) {
    if (sequence > (into.get(origin) ?? 0)) {
      into.set(origin, sequence);
      raised = true;
    }
  }
  return raised;
}

/** Whether `held` has everything `wanted` has. */
export function covers(held: ReadonlyVersionVector, wanted: ReadonlyVersionVector): boolean {
  for (const [origin, sequence] of wanted) {
    if (sequence > (held.get(origin) ?? 0)) return false;
  }
  return true;
}

/** What `wanted` has and `held` has not: at most one range an origin. */
export function missingRanges(
  held: ReadonlyVersionVector,
  wanted: ReadonlyVersionVector,
): SequenceRange[] {
  const ranges: SequenceRange[] = [];
  for (const [origin, last] of wanted) {
    const first = (held.get(origin) ?? 0) + 1;
    if (first <= last) ranges.push({ origin, first, last });
  }
  return ranges;
}

/** Splits a vector into parts that fit into one message each; at least one, perhaps empty. */
export function vectorPages(vector: ReadonlyVersionVector): VersionVector[] {
  const pages: VersionVector[] = [];
  let page: VersionVector = new Map();
  for (const [origin, sequence] of vector) {
    if (page.size === vectorEntriesMax) {
      pages.push(page);
      page = new Map();
    }
    page.set(origin, sequence);
  }
  pages.push(page);
  return pages;
}

/** `count varint | { origin varint | sequence varint }`. @throws MESSAGE_TOO_LARGE */
export function writeVector(writer: ByteWriter, vector: ReadonlyVersionVector): void {
  if (vector.size > vectorEntriesMax) {
    throw new ReplicaError("MESSAGE_TOO_LARGE", `a vector of ${vector.size} origins`);
  }
  writer.varint(vector.size);
  for (const [origin, sequence] of vector) {
    writer.varint(origin);
    writer.varint(sequence);
  }
}

/** @throws PROTOCOL_MALFORMED */
export function readVector(reader: ByteReader): VersionVector {
  const vector: VersionVector = new Map();
  const count = reader.count(vectorEntriesMax, 2, "vector entries");
  for (let index = 0; index < count; index++) {
    const origin = readPeerId(reader);
    if (vector.has(origin)) throw malformed("an origin comes twice in a vector");
    vector.set(origin, reader.varintUpTo(sequenceMax, "sequence"));
  }
  return vector;
}

/** @throws PROTOCOL_MALFORMED */
export function readPeerId(reader: ByteReader): number {
  const peerId = reader.varint();
  if (peerId === 0) throw malformed("peer id is 0");
  return peerId;
}
