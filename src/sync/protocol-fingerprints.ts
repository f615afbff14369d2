/** FINGERPRINTS: which changesets of an origin the sender holds. */
import { type ByteReader, type ByteWriter, malformed } from "../log/bytes.ts";
import { readPeerId, sequenceMax } from "../log/vector.ts";
import type { Fingerprint } from "./identity.ts";

export interface Fingerprints {
  readonly kind: "fingerprints";
  readonly origin: number;
  /** What the sender holds of the origin, the newest first; empty to ask for the receiver's. */
  readonly fingerprints: readonly Fingerprint[];
}

const fingerprintsMax = 64;

export function writeFingerprints(writer: ByteWriter, message: Fingerprints): void {
  writer.varint(message.origin);
  writer.varint(message.fingerprints.length);
  for (const { sequence, print } of message.fingerprints) {
    writer.varint(sequence);
    writer.varint(print);
  }
}

/** @throws PROTOCOL_MALFORMED */
export function readFingerprints(reader: ByteReader): Fingerprints {
  const origin = readPeerId(reader);
  const count = reader.count(fingerprintsMax, 2, "fingerprints");
  const fingerprints: Fingerprint[] = [];
  for (let index = 0; index < count; index++) {
    const sequence = reader.varintUpTo(sequenceMax, "sequence");
    const print = reader.varint();
    // 0 is what the log does not have; it would pass for equal here.
    if (print === 0) throw malformed("fingerprint is 0");
    fingerprints.push({ sequence, print });
  }
  return { kind: "fingerprints", origin, fingerprints };
}
