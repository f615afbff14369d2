/**
 * The messages of a link and their bytes. `docs/protocol.md` is the specification; the first byte
 * is the kind, the second the protocol version. Decoders trust nothing: every length is checked
 * before anything is allocated for it, and bytes left over are an error.
 */
import { ByteReader, ByteWriter, malformed, truncateUtf8 } from "../log/bytes.ts";
import {
  type ReadonlyVersionVector,
  readPeerId,
  readVector,
  type SequenceRange,
  sequenceMax,
  writeVector,
} from "../log/vector.ts";
import { messageBytesMax } from "../transport/transport.ts";
import { assembledBytesMax } from "./fragments.ts";
import { type Fingerprints, readFingerprints, writeFingerprints } from "./protocol-fingerprints.ts";
import { type Floor, readFloor, writeFloor } from "./protocol-floor.ts";
import { type Have, readHave, writeHave } from "./protocol-have.ts";
import {
  readStateChunk,
  readStateOffer,
  readStateRequest,
  type StateMessage,
  writeState,
} from "./protocol-state.ts";
import { readVerify, type VerifyMessage, verifyKinds, writeVerify } from "./protocol-verify.ts";

export const protocolVersion = 1;

export type { Fingerprints } from "./protocol-fingerprints.ts";
export type { Have } from "./protocol-have.ts";

/** Hash of a shape descriptor: the 64-bit number as 16 hex digits. */
export type ShapeHash = string;

export const limits = {
  shapes: 65_536,
  descriptorBytes: 1_048_576,
  ranges: 65_536,
  pruned: 65_536,
  fragments: 65_536,
  clusterBytes: 255,
  byeCodeBytes: 64,
  byeTextBytes: 512,
} as const;

export interface Hello {
  readonly kind: "hello";
  /** Protocol versions the sender speaks, both ends included. */
  readonly minVersion: number;
  readonly maxVersion: number;
  /** Replicas of different clusters never mix. */
  readonly cluster: string;
  readonly peerId: number;
  /** The sender has heard the receiver's HELLO: no answer is needed. */
  readonly answer: boolean;
  readonly vector: ReadonlyVersionVector;
  /** Shapes the sender knows already. */
  readonly shapes: readonly ShapeHash[];
}

export interface Shapes {
  readonly kind: "shapes";
  readonly descriptors: readonly Uint8Array[];
}

export interface Changes {
  readonly kind: "changes";
  /** Changeset records; a view of the message, not a copy. */
  readonly records: Uint8Array;
}

export interface Want {
  readonly kind: "want";
  readonly ranges: readonly SequenceRange[];
  readonly shapes: readonly ShapeHash[];
}

export interface Prune {
  readonly kind: "prune";
  /** Origins that the sender gets over another link. */
  readonly origins: readonly number[];
}

/** A part of a message that is too large to be sent whole. */
export interface Fragment {
  readonly kind: "fragment";
  /** Which message of this link; 0 is none. */
  readonly id: number;
  readonly index: number;
  readonly count: number;
  /** A view of the message, not a copy. */
  readonly bytes: Uint8Array;
}

export interface Bye {
  readonly kind: "bye";
  /** A `ReplicaErrorCode` of the sender's version. */
  readonly code: string;
  readonly text: string;
}

export type Message =
  | Hello
  | Shapes
  | Changes
  | Have
  | Want
  | Prune
  | Fingerprints
  | Floor
  | Fragment
  | Bye
  | VerifyMessage
  | StateMessage;

const kindBytes = {
  hello: 1,
  shapes: 2,
  changes: 3,
  have: 4,
  want: 5,
  bye: 6,
  prune: 11,
  fragment: 12,
  stateOffer: 13,
  stateRequest: 14,
  stateChunk: 15,
  fingerprints: 16,
  ...verifyKinds,
  floor: 17,
} as const satisfies Record<Message["kind"], number>;

const headerBytes = 2;
/** Room for all but the keys, the cursor and the chunk of a message. */
const smallBytes = 256;
const answerFlag = 1;

/** @throws MESSAGE_TOO_LARGE when a part is over its limit. */
export function encodeMessage(message: Message): Uint8Array {
  if (message.kind === "changes") return encodeChanges(message.records);
  const writer = writerFor(message);
  writer.u8(kindBytes[message.kind]);
  writer.u8(protocolVersion);
  switch (message.kind) {
    case "hello":
      writeHello(writer, message);
      break;
    case "shapes":
      writer.varint(message.descriptors.length);
      for (const descriptor of message.descriptors) {
        writer.varint(descriptor.byteLength);
        writer.bytes(descriptor);
      }
      break;
    case "have":
      writeHave(writer, message);
      break;
    case "want":
      writeWant(writer, message);
      break;
    case "prune":
      writer.varint(message.origins.length);
      for (const origin of message.origins) writer.varint(origin);
      break;
    case "fingerprints":
      writeFingerprints(writer, message);
      break;
    case "floor":
      writeFloor(writer, message);
      break;
    case "fragment":
      writer.varint(message.id);
      writer.varint(message.index);
      writer.varint(message.count);
      writer.bytes(message.bytes);
      break;
    case "bye":
      writer.text(message.code, limits.byeCodeBytes, "code");
      // The text only explains; a long one must not get in the way of saying goodbye.
      writer.text(truncateUtf8(message.text, limits.byeTextBytes), limits.byeTextBytes, "text");
      break;
    case "stateOffer":
    case "stateRequest":
    case "stateChunk":
      writeState(writer, message);
      break;
    default:
      writeVerify(writer, message);
  }
  return writer.finish();
}

/**
 * `bytesMax`: more than a transport carries, for a message put together from fragments.
 * @throws PROTOCOL_MALFORMED, and nothing else, whatever the bytes are.
 */
export function decodeMessage(bytes: Uint8Array, bytesMax: number = messageBytesMax): Message {
  if (bytes.byteLength > bytesMax) throw malformed("message is too large");
  const reader = new ByteReader(bytes);
  const kind = reader.u8();
  const version = reader.u8();
  // Whoever speaks another version has to be understood when it says so.
  const isEternal = kind === kindBytes.hello || kind === kindBytes.bye;
  if (version !== protocolVersion && !isEternal) {
    throw malformed(`message of protocol version ${version}`);
  }
  const message = readVerify(kind, reader) ?? readBody(kind, reader);
  reader.end();
  return message;
}

/** Groups shape descriptors so that each group fits into one SHAPES message. */
export function groupDescriptors(
  descriptors: readonly Uint8Array[],
  bytesMax = 1_048_576,
): Uint8Array[][] {
  const groups: Uint8Array[][] = [];
  let group: Uint8Array[] = [];
  let bytes = 0;
  for (const descriptor of descriptors) {
    if (group.length > 0 && bytes + descriptor.byteLength > bytesMax) {
      groups.push(group);
      group = [];
      bytes = 0;
    }
    group.push(descriptor);
    bytes += descriptor.byteLength;
  }
  if (group.length > 0) groups.push(group);
  return groups;
}

/** A chunk may be a single row of any size; what is too large for a message goes in fragments. */
function writerFor(message: Message): ByteWriter {
  if (!("chunk" in message)) return new ByteWriter(messageBytesMax);
  return new ByteWriter(assembledBytesMax, smallBytes + message.chunk.byteLength);
}

function encodeChanges(records: Uint8Array): Uint8Array {
  // No message may be larger than a transport carries; a larger one is sent in fragments.
  const bytes = headerBytes + records.byteLength;
  const writer = new ByteWriter(bytes, bytes);
  writer.u8(kindBytes.changes);
  writer.u8(protocolVersion);
  writer.bytes(records);
  return writer.finish();
}

function writeHello(writer: ByteWriter, hello: Hello): void {
  writer.u8(hello.minVersion);
  writer.u8(hello.maxVersion);
  writer.u8(hello.answer ? answerFlag : 0);
  writer.text(hello.cluster, limits.clusterBytes, "cluster name");
  writer.varint(hello.peerId);
  writeVector(writer, hello.vector);
  writeHashes(writer, hello.shapes);
}

function writeWant(writer: ByteWriter, want: Want): void {
  writer.varint(want.ranges.length);
  for (const { origin, first, last } of want.ranges) {
    writer.varint(origin);
    writer.varint(first);
    writer.varint(last);
  }
  writeHashes(writer, want.shapes);
}

function writeHashes(writer: ByteWriter, hashes: readonly ShapeHash[]): void {
  writer.varint(hashes.length);
  for (const hash of hashes) writer.u64(BigInt(`0x${hash}`));
}

function readBody(kind: number, reader: ByteReader): Message {
  switch (kind) {
    case kindBytes.hello:
      return readHello(reader);
    case kindBytes.shapes:
      return { kind: "shapes", descriptors: readDescriptors(reader) };
    case kindBytes.changes:
      return { kind: "changes", records: reader.bytes(reader.remaining) };
    case kindBytes.have:
      return readHave(reader);
    case kindBytes.want:
      return { kind: "want", ranges: readRanges(reader), shapes: readHashes(reader) };
    case kindBytes.bye: {
      const code = reader.text(limits.byeCodeBytes, "code");
      return { kind: "bye", code, text: reader.text(limits.byeTextBytes, "text") };
    }
    case kindBytes.prune:
      return { kind: "prune", origins: readOrigins(reader) };
    case kindBytes.fingerprints:
      return readFingerprints(reader);
    case kindBytes.floor:
      return readFloor(reader);
    case kindBytes.fragment:
      return readFragment(reader);
    case kindBytes.stateOffer:
      return readStateOffer(reader);
    case kindBytes.stateRequest:
      return readStateRequest(reader);
    case kindBytes.stateChunk:
      return readStateChunk(reader);
    default:
      throw malformed(`message of unknown kind ${kind}`);
  }
}

function readHello(reader: ByteReader): Hello {
  const minVersion = reader.u8();
  const maxVersion = reader.u8();
  if (minVersion === 0 || maxVersion < minVersion) throw malformed("no protocol version offered");
  const flags = reader.u8();
  return {
    kind: "hello",
    minVersion,
    maxVersion,
    answer: (flags & answerFlag) !== 0,
    cluster: reader.text(limits.clusterBytes, "cluster name"),
    peerId: readPeerId(reader),
    vector: readVector(reader),
    shapes: readHashes(reader),
  };
}

function readDescriptors(reader: ByteReader): Uint8Array[] {
  const count = reader.count(limits.shapes, 1, "descriptors");
  const descriptors: Uint8Array[] = [];
  for (let index = 0; index < count; index++) {
    descriptors.push(reader.bytes(reader.varintUpTo(limits.descriptorBytes, "descriptor")));
  }
  return descriptors;
}

function readRanges(reader: ByteReader): SequenceRange[] {
  const count = reader.count(limits.ranges, 3, "ranges");
  const ranges: SequenceRange[] = [];
  for (let index = 0; index < count; index++) {
    const origin = readPeerId(reader);
    const first = reader.varintUpTo(sequenceMax, "first sequence");
    const last = reader.varintUpTo(sequenceMax, "last sequence");
    if (first === 0 || last < first) throw malformed("range is empty");
    ranges.push({ origin, first, last });
  }
  return ranges;
}

function readFragment(reader: ByteReader): Fragment {
  const id = reader.varint();
  const index = reader.varint();
  const count = reader.varintUpTo(limits.fragments, "fragments");
  if (id === 0 || index >= count) throw malformed("fragment of no message");
  return { kind: "fragment", id, index, count, bytes: reader.bytes(reader.remaining) };
}

function readOrigins(reader: ByteReader): number[] {
  const count = reader.count(limits.pruned, 1, "origins");
  const origins: number[] = [];
  for (let index = 0; index < count; index++) origins.push(readPeerId(reader));
  return origins;
}

function readHashes(reader: ByteReader): ShapeHash[] {
  const count = reader.count(limits.shapes, 8, "shape hashes");
  const hashes: ShapeHash[] = [];
  for (let index = 0; index < count; index++) {
    hashes.push(reader.u64().toString(16).padStart(16, "0"));
  }
  return hashes;
}
