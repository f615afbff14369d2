/**
 * Changeset records as they travel: `origin | sequence | timestamp | payloadLength | payload`, the
 * numbers as varints. Payloads are opaque here; the native core checks them when it merges.
 */
import { ByteReader, malformed } from "./bytes.ts";
import { readPeerId, type SequenceRange, sequenceMax } from "./vector.ts";

/** Consecutive sequences of one origin. */
export type RecordRun = SequenceRange;

/**
 * A message holds one or a few; of records that follow no order each would cost many times the four
 * bytes that it takes.
 */
export const recordRunsMax = 65_536;

/**
 * Which changesets `records` holds, in order, without looking into them.
 * @throws PROTOCOL_MALFORMED when the bytes are not whole records, or of too many runs.
 */
export function scanRecords(records: Uint8Array): RecordRun[] {
  const reader = new ByteReader(records);
  const runs: RecordRun[] = [];
  let origin = 0;
  let first = 0;
  let last = 0;
  while (reader.remaining > 0) {
    const nextOrigin = readPeerId(reader);
    const sequence = reader.varintUpTo(sequenceMax, "sequence");
    if (sequence === 0) throw malformed("sequence is 0");
    reader.varint();
    reader.skip(reader.varint());
    if (nextOrigin !== origin || sequence !== last + 1) {
      if (origin !== 0) runs.push({ origin, first, last });
      if (runs.length === recordRunsMax) throw malformed("too many runs of records");
      origin = nextOrigin;
      first = sequence;
    }
    last = sequence;
  }
  if (origin !== 0) runs.push({ origin, first, last });
  return runs;
}

export interface LogRecord {
  readonly origin: number;
  readonly sequence: number;
  readonly timestamp: number;
  /** A view of the bytes, not a copy. */
  readonly payload: Uint8Array;
}

/** Records that are this file's own: what is in its log. @throws PROTOCOL_MALFORMED */
export function readRecords(bytes: Uint8Array): LogRecord[] {
  const reader = new ByteReader(bytes);
  const records: LogRecord[] = [];
  while (reader.remaining > 0) {
    const [origin, sequence, timestamp] = [reader.varint(), reader.varint(), reader.varint()];
    records.push({ origin, sequence, timestamp, payload: reader.bytes(reader.varint()) });
  }
  return records;
}
