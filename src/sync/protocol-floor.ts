/** FLOOR: what a peer knows of its cluster's floor. The same bytes are kept in the file. */
import { ReplicaError } from "../errors.ts";
import { ByteReader, ByteWriter, malformed } from "../log/bytes.ts";
import { type ReadonlyVersionVector, readPeerId, readVector, writeVector } from "../log/vector.ts";
import type { FloorRound, FloorState } from "./floor.ts";

export interface Floor {
  readonly kind: "floor";
  /** All but who says so. */
  readonly state: Omit<FloorState, "self" | "since">;
  /** What the sender has merged, for those who have to catch up before they are let in. */
  readonly merged?: ReadonlyVersionVector;
}

/** Peers ever let in, and as many forgotten ones. */
export const floorPeersMax = 65_536;

const recordFormat = 1;
const recordBytesMax = 4 * 1024 * 1024;
const roundFlag = 1;
const mergedFlag = 2;

/** Why it can neither be kept nor told, if so. */
export function sizeErrorOf({ added, forgotten, round }: FloorState): ReplicaError | undefined {
  const peers = [added, forgotten, round?.announced, round?.passed, round?.vector];
  const most = Math.max(...peers.map((some) => some?.size ?? 0));
  return most > floorPeersMax ? tooLarge(most) : undefined;
}

/** @throws MESSAGE_TOO_LARGE */
export function writeFloor(writer: ByteWriter, { state, merged }: Omit<Floor, "kind">): void {
  const { bound, gate, floor, passed, added, forgotten, round } = state;
  for (const timestamp of [bound, gate, floor, passed]) writer.varint(timestamp);
  writeCount(writer, added.size);
  for (const [peerId, since] of added) {
    writer.varint(peerId);
    writer.varint(since);
  }
  writePeers(writer, forgotten);
  writer.u8((round === undefined ? 0 : roundFlag) | (merged === undefined ? 0 : mergedFlag));
  if (round !== undefined) {
    writer.varint(round.timestamp);
    writePeers(writer, round.announced);
    writeVector(writer, round.vector);
    writePeers(writer, round.passed);
  }
  if (merged !== undefined) writeVector(writer, merged);
}

/** @throws PROTOCOL_MALFORMED */
export function readFloor(reader: ByteReader): Floor {
  const bound = reader.varint();
  const gate = reader.varint();
  const floor = reader.varint();
  const passed = reader.varint();
  const added = new Map<number, number>();
  const count = reader.count(floorPeersMax, 2, "members");
  for (let index = 0; index < count; index++) {
    const peerId = readPeerId(reader);
    if (added.has(peerId)) throw malformed("a member comes twice");
    added.set(peerId, reader.varint());
  }
  const forgotten = readPeers(reader);
  const flags = reader.u8();
  const round = (flags & roundFlag) === 0 ? undefined : readRound(reader);
  const merged = (flags & mergedFlag) === 0 ? undefined : readVector(reader);
  const state = { bound, gate, floor, passed, added, forgotten, round };
  return { kind: "floor", state, ...(merged === undefined ? {} : { merged }) };
}

/** What the file keeps. */
export function encodeFloorRecord(state: FloorState): Uint8Array {
  const writer = new ByteWriter(recordBytesMax);
  writer.u8(recordFormat);
  writer.varint(state.self);
  writer.varint(state.since);
  writeFloor(writer, { state });
  return writer.finish();
}

/** @throws PROTOCOL_MALFORMED */
export function decodeFloorRecord(bytes: Uint8Array): FloorState {
  const reader = new ByteReader(bytes);
  const format = reader.u8();
  if (format !== recordFormat) throw malformed(`floor record of format ${format}`);
  const self = readPeerId(reader);
  const since = reader.varint();
  const { state } = readFloor(reader);
  reader.end();
  return { self, since, ...state };
}

function readRound(reader: ByteReader): FloorRound {
  const timestamp = reader.varint();
  const announced = readPeers(reader);
  const vector = readVector(reader);
  return { timestamp, announced, vector, passed: readPeers(reader) };
}

function writePeers(writer: ByteWriter, peers: ReadonlySet<number>): void {
  writeCount(writer, peers.size);
  for (const peerId of peers) writer.varint(peerId);
}

function readPeers(reader: ByteReader): ReadonlySet<number> {
  const count = reader.count(floorPeersMax, 1, "peers");
  const peers = new Set<number>();
  for (let index = 0; index < count; index++) {
    const peerId = readPeerId(reader);
    if (peers.has(peerId)) throw malformed("a peer comes twice");
    peers.add(peerId);
  }
  return peers;
}

function writeCount(writer: ByteWriter, count: number): void {
  if (count > floorPeersMax) throw tooLarge(count);
  writer.varint(count);
}

function tooLarge(count: number): ReplicaError {
  return new ReplicaError("MESSAGE_TOO_LARGE", `${count} peers in a floor`);
}
