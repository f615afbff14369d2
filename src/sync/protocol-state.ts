/**
 * Messages of state transfer: a peer that the log does not reach any more asks for what the tables
 * hold, chunk by chunk. The chunks and cursors are opaque here; `docs/format.md` specifies them.
 */
import { type ByteReader, type ByteWriter, malformed } from "../log/bytes.ts";
import { type ReadonlyVersionVector, readVector, writeVector } from "../log/vector.ts";

export const stateLimits = {
  /** A cursor holds a table's name and a key. */
  cursorBytes: 1_048_576,
  chunkBytes: 4_194_304,
} as const;

/** The sender's log does not reach back to what the receiver lacks. */
export interface StateOffer {
  readonly kind: "stateOffer";
  /** What the sender has merged. */
  readonly vector: ReadonlyVersionVector;
  /** Up to where its log is trimmed. */
  readonly horizon: ReadonlyVersionVector;
  /** About how much there is to transfer. */
  readonly bytes: number;
}

export interface StateRequest {
  readonly kind: "stateRequest";
  readonly requestId: number;
  /** About how large the chunk may be. */
  readonly bytesMax: number;
  readonly cursor: Uint8Array;
}

export interface StateChunkMessage {
  readonly kind: "stateChunk";
  readonly requestId: number;
  readonly ends: boolean;
  /** The table it is from, for reports. */
  readonly table: string;
  /** The cursor behind this chunk. */
  readonly next: Uint8Array;
  readonly chunk: Uint8Array;
}

export type StateMessage = StateOffer | StateRequest | StateChunkMessage;

const endsFlag = 1;
const tableBytesMax = 4096;

export function writeState(writer: ByteWriter, message: StateMessage): void {
  switch (message.kind) {
    case "stateOffer":
      writeVector(writer, message.vector);
      writeVector(writer, message.horizon);
      writer.varint(message.bytes);
      return;
    case "stateRequest":
      writer.varint(message.requestId);
      writer.varint(message.bytesMax);
      writer.varint(message.cursor.byteLength);
      writer.bytes(message.cursor);
      return;
    case "stateChunk":
      writer.varint(message.requestId);
      writer.u8(message.ends ? endsFlag : 0);
      writer.text(message.table, tableBytesMax, "table name");
      writer.varint(message.next.byteLength);
      writer.bytes(message.next);
      writer.bytes(message.chunk);
  }
}

export function readStateOffer(reader: ByteReader): StateOffer {
  const vector = readVector(reader);
  const horizon = readVector(reader);
  return { kind: "stateOffer", vector, horizon, bytes: reader.varint() };
}

export function readStateRequest(reader: ByteReader): StateRequest {
  const requestId = reader.varint();
  const bytesMax = reader.varintUpTo(stateLimits.chunkBytes, "chunk size");
  if (bytesMax === 0) throw malformed("chunk size is 0");
  const cursor = reader.bytes(reader.varintUpTo(stateLimits.cursorBytes, "cursor"));
  return { kind: "stateRequest", requestId, bytesMax, cursor };
}

export function readStateChunk(reader: ByteReader): StateChunkMessage {
  const requestId = reader.varint();
  const ends = (reader.u8() & endsFlag) !== 0;
  const table = reader.text(tableBytesMax, "table name");
  const next = reader.bytes(reader.varintUpTo(stateLimits.cursorBytes, "cursor"));
  const chunk = reader.bytes(reader.remaining);
  return { kind: "stateChunk", requestId, ends, table, next, chunk };
}
