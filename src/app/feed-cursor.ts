/**
 * Where a reader of the log has got to: of each origin the sequence that came last. As text it is
 * opaque, and belongs to one file.
 */
import { ReplicaError } from "../errors.ts";
import { ByteReader, ByteWriter } from "../log/bytes.ts";
import {
  type ReadonlyVersionVector,
  readVector,
  type VersionVector,
  writeVector,
} from "../log/vector.ts";

/** This file's own peer id at the time, and the fingerprint of its changeset that came last. */
export interface Own {
  readonly peerId: number;
  /** 0 where there was none, or the log does not reach it. */
  readonly fingerprint: number;
}

/** A transaction of this origin has begun and goes on; whether any of it was delivered. */
export interface Within {
  readonly origin: number;
  readonly delivered: boolean;
}

export interface Position {
  readonly own: Own;
  readonly within: Within | undefined;
  readonly vector: ReadonlyVersionVector;
}

export interface Step {
  readonly origin: number;
  readonly sequence: number;
  readonly own: Own;
  readonly within: Within | undefined;
}

const format = 1;
const cursorBytesMax = 1024 * 1024;
/** Steps behind one copy of the vector: what is kept of a cursor nobody asks for. */
const stepsMax = 512;

/**
 * The steps a reader has made. Each can be turned into a cursor later, without a copy of the vector
 * for every one of them.
 */
export class Trail {
  #base: Position;
  #steps: Step[] = [];

  constructor(start: Position) {
    this.#base = { ...start, vector: new Map(start.vector) };
  }

  /** Remembers a step, and returns what makes its cursor. */
  add(step: Step): () => string {
    if (this.#steps.length >= stepsMax) {
      this.#base = positionAfter(this.#base, this.#steps);
      this.#steps = [];
    }
    this.#steps.push(step);
    const [base, steps, count] = [this.#base, this.#steps, this.#steps.length];
    return () => formatCursor(positionAfter(base, steps.slice(0, count)));
  }
}

function positionAfter(base: Position, steps: readonly Step[]): Position {
  const vector: VersionVector = new Map(base.vector);
  for (const { origin, sequence } of steps) vector.set(origin, sequence);
  const { own, within } = steps.at(-1) ?? base;
  return { vector, own, within };
}

export function formatCursor({ own, within, vector }: Position): string {
  const writer = new ByteWriter(cursorBytesMax);
  writer.u8(format);
  writer.varint(own.peerId);
  writer.varint(own.fingerprint);
  // No peer id is 0.
  writer.varint(within?.origin ?? 0);
  writer.u8(within?.delivered === true ? 1 : 0);
  writeVector(writer, vector);
  return Buffer.from(writer.finish()).toString("base64url");
}

/** @throws INVALID_CURSOR */
export function parseCursor(cursor: string): Position {
  try {
    const bytes = Buffer.from(cursor, "base64url");
    // Node skips what is no base64url, and a last character that is too few bits.
    if (bytes.toString("base64url") !== cursor) throw new RangeError("not base64url");
    const reader = new ByteReader(bytes);
    if (reader.u8() !== format) throw new RangeError("unknown format");
    const own = { peerId: reader.varint(), fingerprint: reader.varint() };
    const [origin, delivered] = [reader.varint(), reader.u8() !== 0];
    const vector = readVector(reader);
    reader.end();
    return { own, within: origin === 0 ? undefined : { origin, delivered }, vector };
  } catch (cause) {
    const shown = JSON.stringify(cursor.slice(0, 60));
    throw new ReplicaError("INVALID_CURSOR", `not a cursor: ${shown}`, {
      cause,
      hint: "Pass the `cursor` of a changeset or of the feed, unchanged, or 'oldest'.",
    });
  }
}
