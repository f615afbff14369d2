/**
 * Datagrams: `crc32 u32 | kind u8 | connection id, 8 bytes | body`, numbers little-endian. What is
 * not one, or has been altered on its way, decodes to nothing.
 */
import { crc32 } from "node:zlib";
import { messageBytesMax } from "./transport.ts";

/** Fits every path that carries IPv6, with room for tunnels. */
export const datagramBytesMax = 1200;
export const connectionIdBytes = 8;
export const cookieBytes = 16;

const headerBytes = 4 + 1 + connectionIdBytes;
const fragmentHeaderBytes = 6 + 2 + 2;
export const fragmentBytesMax: number = datagramBytesMax - headerBytes - fragmentHeaderBytes;
export const fragmentsMax: number = Math.ceil(messageBytesMax / fragmentBytesMax);
/** Packets that may be sent beyond the first one missing. */
export const windowMax = 512;
const bitmapBytesMax = windowMax / 8;
/** Packet numbers have 48 bits: more than anyone sends in a lifetime. */
const packetMax = 2 ** 48 - 1;

const kinds = ["hello", "challenge", "welcome", "data", "ack", "ping", "close", "reset"] as const;
const ackHeaderBytes = 6 + 2;

/** Of messages: packet numbers count on, so `packet - index` names the message. */
export interface Data {
  readonly kind: "data";
  readonly packet: number;
  readonly index: number;
  readonly count: number;
  readonly bytes: Uint8Array;
}

/** Everything below `next` has come, and of what follows the packets whose bits are set. */
export interface Ack {
  readonly kind: "ack";
  readonly next: number;
  /** How many packets from `next` on the receiver takes. */
  readonly window: number;
  readonly bitmap: Uint8Array;
}

/** The cookie proves that the sender receives what is sent to its address; zeros ask for one. */
export interface Greeting {
  readonly kind: "hello" | "challenge";
  readonly cookie: Uint8Array;
}

export interface Signal {
  readonly kind: "welcome" | "ping" | "close" | "reset";
}

export type Datagram = Data | Ack | Greeting | Signal;

export function encodeDatagram(id: Uint8Array, datagram: Datagram): Uint8Array {
  const buffer = Buffer.alloc(headerBytes + bodyBytes(datagram));
  buffer[4] = kinds.indexOf(datagram.kind);
  buffer.set(id, 5);
  writeBody(buffer, datagram);
  buffer.writeUInt32LE(crc32(buffer.subarray(4)), 0);
  return buffer;
}

export function decodeDatagram(
  bytes: Uint8Array,
): { id: Uint8Array; datagram: Datagram } | undefined {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (buffer.length < headerBytes || buffer.length > datagramBytesMax) return undefined;
  if (buffer.readUInt32LE(0) !== crc32(buffer.subarray(4))) return undefined;
  const datagram = readBody(buffer);
  return datagram && { id: Uint8Array.from(buffer.subarray(5, headerBytes)), datagram };
}

function bodyBytes(datagram: Datagram): number {
  if (datagram.kind === "data") return fragmentHeaderBytes + datagram.bytes.byteLength;
  if (datagram.kind === "ack") return ackHeaderBytes + datagram.bitmap.byteLength;
  return "cookie" in datagram ? cookieBytes : 0;
}

function writeBody(buffer: Buffer, datagram: Datagram): void {
  if (datagram.kind === "data") {
    buffer.writeUIntLE(datagram.packet, headerBytes, 6);
    buffer.writeUInt16LE(datagram.index, headerBytes + 6);
    buffer.writeUInt16LE(datagram.count, headerBytes + 8);
    buffer.set(datagram.bytes, headerBytes + fragmentHeaderBytes);
  } else if (datagram.kind === "ack") {
    buffer.writeUIntLE(datagram.next, headerBytes, 6);
    buffer.writeUInt16LE(datagram.window, headerBytes + 6);
    buffer.set(datagram.bitmap, headerBytes + ackHeaderBytes);
  } else if ("cookie" in datagram) {
    buffer.set(datagram.cookie, headerBytes);
  }
}

function readBody(buffer: Buffer): Datagram | undefined {
  const kind = kinds[buffer[4] ?? kinds.length];
  const body = buffer.subarray(headerBytes);
  switch (kind) {
    case undefined:
      return undefined;
    case "data":
      return readData(body);
    case "ack": {
      const bitmapBytes = body.length - ackHeaderBytes;
      if (bitmapBytes < 0 || bitmapBytes > bitmapBytesMax) return undefined;
      const window = body.readUInt16LE(6);
      if (window > windowMax) return undefined;
      const bitmap = Uint8Array.from(body.subarray(ackHeaderBytes));
      return { kind, next: body.readUIntLE(0, 6), window, bitmap };
    }
    case "hello":
    case "challenge":
      return body.length === cookieBytes ? { kind, cookie: Uint8Array.from(body) } : undefined;
    default:
      return body.length === 0 ? { kind } : undefined;
  }
}

/** Only the last fragment of a message may be shorter than the others. */
function readData(body: Buffer): Data | undefined {
  if (body.length < fragmentHeaderBytes) return undefined;
  const packet = body.readUIntLE(0, 6);
  const index = body.readUInt16LE(6);
  const count = body.readUInt16LE(8);
  const size = body.length - fragmentHeaderBytes;
  if (count > fragmentsMax || index >= count || index > packet || packet === packetMax) {
    return undefined;
  }
  if (index < count - 1 ? size !== fragmentBytesMax : size === 0 && count > 1) return undefined;
  return { kind: "data", packet, index, count, bytes: body.subarray(fragmentHeaderBytes) };
}
