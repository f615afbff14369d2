/**
 * What a primary and its followers say to each other: docs/protocol.md, "Live streaming". Numbers
 * are big-endian, as in the LTX files that they carry.
 */
import { isReplicaErrorCode, ReplicaError, type ReplicaErrorCode } from "../errors.ts";

/** From a follower. `source` and `txid` say what its copy shows; transaction 0 for nothing. */
export interface Hello {
  readonly type: "hello";
  /** Of the primary's run that these numbers are from: 16 hexadecimal digits. */
  readonly source: string;
  readonly txid: number;
  /** What the copy may hold in part: the first file must lead to it. At least `txid`. */
  readonly reach: number;
}

export type FollowerMessage =
  | Hello
  /** What the copy shows now. A sign of life, too. */
  | { readonly type: "status"; readonly txid: number };

export type PrimaryMessage =
  /** `from`: what the follower said it has, or 0 when it gets all pages. `txid`: the newest. */
  | {
      readonly type: "welcome";
      readonly source: string;
      readonly from: number;
      readonly txid: number;
      readonly heartbeatMs: number;
    }
  /** An LTX file of so many bytes follows, in `data`. */
  | { readonly type: "file"; readonly bytes: number }
  | { readonly type: "data"; readonly bytes: Uint8Array }
  | { readonly type: "heartbeat"; readonly txid: number }
  | { readonly type: "bye"; readonly error: ReplicaError };

export const liveVersion = 1;
export const dataBytesMax: number = 256 * 1024;
export const heartbeatMsRange = { min: 10, max: 600_000 } as const;
/** What a follower that has not said anything yet is given, and a primary. */
export const greetingMs = 30_000;
/** Who is silent for so many heartbeats is gone. */
export const silentHeartbeats = 3;

const magic = 0x4d4c_5753;
const types = { hello: 1, status: 2, welcome: 16, file: 17, data: 18, heartbeat: 19, bye: 20 };
const headBytes = 6;
const textBytesMax = 1000;

export function encodeFollower(message: FollowerMessage): Uint8Array {
  if (message.type === "status") return numbered(types.status, message.txid);
  const { bytes, view } = headed(types.hello, 24);
  view.setBigUint64(headBytes, BigInt(`0x${message.source}`));
  view.setBigUint64(headBytes + 8, BigInt(message.txid));
  view.setBigUint64(headBytes + 16, BigInt(message.reach));
  return bytes;
}

/** `data` takes what `dataMessage` has made. */
export function encodePrimary(message: Exclude<PrimaryMessage, { type: "data" }>): Uint8Array {
  if (message.type === "file") return numbered(types.file, message.bytes);
  if (message.type === "heartbeat") return numbered(types.heartbeat, message.txid);
  if (message.type === "bye") return encodeBye(message.error);
  const { bytes, view } = headed(types.welcome, 28);
  view.setBigUint64(headBytes, BigInt(`0x${message.source}`));
  view.setBigUint64(headBytes + 8, BigInt(message.from));
  view.setBigUint64(headBytes + 16, BigInt(message.txid));
  view.setUint32(headBytes + 24, message.heartbeatMs);
  return bytes;
}

/** A message with room for so many bytes of a file; `content` is where they belong. */
export function dataMessage(count: number): { message: Uint8Array; content: Uint8Array } {
  const message = new Uint8Array(1 + count);
  message[0] = types.data;
  return { message, content: message.subarray(1) };
}

/** @throws `PROTOCOL_MALFORMED`, `VERSION_MISMATCH` */
export function decodeFollower(message: Uint8Array): FollowerMessage {
  const view = viewOf(message);
  switch (message[0]) {
    case types.status:
      return { type: "status", txid: onlyNumber(view, "STATUS") };
    case types.hello: {
      checkHead(view, "HELLO", 24);
      const txid = numberAt(view, headBytes + 8);
      const reach = numberAt(view, headBytes + 16);
      if (reach < txid) throw malformed("HELLO reaches less than it has");
      return { type: "hello", source: sourceAt(view, headBytes), txid, reach };
    }
    default:
      throw malformed(`a follower sent a message of type ${message[0]}`);
  }
}

/** @throws `PROTOCOL_MALFORMED`, `VERSION_MISMATCH` */
export function decodePrimary(message: Uint8Array): PrimaryMessage {
  const view = viewOf(message);
  switch (message[0]) {
    case types.welcome:
      return decodeWelcome(view);
    case types.file:
      return { type: "file", bytes: onlyNumber(view, "FILE") };
    case types.data:
      if (message.length > 1 && message.length <= 1 + dataBytesMax) {
        return { type: "data", bytes: message.subarray(1) };
      }
      throw malformed(`DATA of ${message.length - 1} bytes`);
    case types.heartbeat:
      return { type: "heartbeat", txid: onlyNumber(view, "HEARTBEAT") };
    case types.bye:
      return { type: "bye", error: decodeBye(message) };
    default:
      throw malformed(`a primary sent a message of type ${message[0]}`);
  }
}

function decodeWelcome(view: DataView): PrimaryMessage {
  checkHead(view, "WELCOME", 28);
  const from = numberAt(view, headBytes + 8);
  const txid = numberAt(view, headBytes + 16);
  const heartbeatMs = view.getUint32(headBytes + 24);
  const { min, max } = heartbeatMsRange;
  if (heartbeatMs < min || heartbeatMs > max) throw malformed(`heartbeats of ${heartbeatMs} ms`);
  if (from > txid) throw malformed("WELCOME goes on behind its end");
  return { type: "welcome", source: sourceAt(view, headBytes), from, txid, heartbeatMs };
}

function encodeBye({ code, message }: ReplicaError): Uint8Array {
  const name = Buffer.from(code);
  const text = Buffer.from(message).subarray(0, textBytesMax);
  return Buffer.concat([Uint8Array.of(types.bye, name.length), name, text]);
}

function decodeBye(message: Uint8Array): ReplicaError {
  const end = 2 + (message[1] ?? 0);
  if (message.length < end || message.length > end + textBytesMax)
    throw malformed("BYE is cut off");
  const code = Buffer.from(message.subarray(2, end)).toString("latin1");
  // What its end cuts in two is shown as such.
  const text = Buffer.from(message.subarray(end)).toString();
  const known: ReplicaErrorCode = isReplicaErrorCode(code) ? code : "PROTOCOL_MALFORMED";
  return new ReplicaError(known, `the primary says: ${text}`);
}

function headed(type: number, count: number): { bytes: Uint8Array; view: DataView } {
  const bytes = new Uint8Array(headBytes + count);
  const view = viewOf(bytes);
  view.setUint8(0, type);
  view.setUint32(1, magic);
  view.setUint8(5, liveVersion);
  return { bytes, view };
}

function numbered(type: number, value: number): Uint8Array {
  const bytes = new Uint8Array(9);
  const view = viewOf(bytes);
  view.setUint8(0, type);
  view.setBigUint64(1, BigInt(value));
  return bytes;
}

function checkHead(view: DataView, name: string, count: number): void {
  if (view.byteLength < headBytes || view.getUint32(1) !== magic) {
    throw malformed(`${name} is of another protocol`);
  }
  const version = view.getUint8(5);
  if (version !== liveVersion) {
    const versions = `version ${version} of live streaming there, and ${liveVersion} here`;
    throw new ReplicaError("VERSION_MISMATCH", versions, { hint: "Upgrade the older one." });
  }
  if (view.byteLength !== headBytes + count) throw malformed(`${name} has another length`);
}

function onlyNumber(view: DataView, name: string): number {
  if (view.byteLength !== 9) throw malformed(`${name} has another length`);
  return numberAt(view, 1);
}

function numberAt(view: DataView, at: number): number {
  const value = Number(view.getBigUint64(at));
  if (!Number.isSafeInteger(value)) throw malformed(`a number of ${value}`);
  return value;
}

function sourceAt(view: DataView, at: number): string {
  return view.getBigUint64(at).toString(16).padStart(16, "0");
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

export function malformed(what: string): ReplicaError {
  return new ReplicaError("PROTOCOL_MALFORMED", what, {
    hint: "Check that the port is that of serve-wal.",
  });
}
