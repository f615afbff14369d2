/**
 * How far the WAL has been read, and what of the pages changed on the way: a record of each
 * reading, in a log that is only added to. A record counts when it is there whole.
 */
import { isSealed, type PageChanges, type PageMap, seal, sumBytes } from "./page-map.ts";
import type { WalPlace } from "./wal.ts";

export interface ShipState {
  readonly txid: number;
  readonly timestampMs: number;
  readonly pageSize: number;
  /** Up to where the WAL has been read. */
  readonly place: WalPlace;
}

export interface StateRecord {
  readonly state: ShipState;
  /** The last transaction before it. */
  readonly after: number;
  /** Absent where nothing was committed, and the WAL has begun anew. */
  readonly changes?: PageChanges;
}

const placeWords = 5;
const placeAt = 28;
const headBytes = placeAt + placeWords * 4 + 8;
const entryBytes = 12;

export function encodeRecord({ state, after, changes }: StateRecord): Uint8Array {
  const count = changes?.numbers.length ?? 0;
  const bytes = new Uint8Array(headBytes + count * entryBytes + sumBytes);
  const view = new DataView(bytes.buffer);
  view.setFloat64(0, state.txid, true);
  view.setFloat64(8, after, true);
  view.setFloat64(16, state.timestampMs, true);
  view.setUint32(24, state.pageSize, true);
  state.place.forEach((word, i) => {
    view.setUint32(placeAt + i * 4, word, true);
  });
  view.setUint32(headBytes - 8, changes?.size ?? 0, true);
  view.setUint32(headBytes - 4, count, true);
  changes?.numbers.forEach((number, i) => {
    view.setUint32(headBytes + i * entryBytes, number, true);
    view.setBigUint64(headBytes + i * entryBytes + 4, changes.checksums[i] ?? 0n, true);
  });
  seal(bytes);
  return bytes;
}

/**
 * Where a log leads from a state and its map, which is brought there. What was written by half,
 * what follows that, and what does not follow the map, does not count.
 */
export function replayLog(log: Uint8Array, from: ShipState, map: PageMap): ShipState {
  let state = from;
  for (let at = 0; at + headBytes + sumBytes <= log.length; ) {
    const view = new DataView(log.buffer, log.byteOffset + at, log.length - at);
    const count = view.getUint32(headBytes - 4, true);
    const bytes = headBytes + count * entryBytes + sumBytes;
    if (bytes > view.byteLength || !isSealed(log.subarray(at, at + bytes))) break;
    at += bytes;
    const { state: next, after, changes } = decodeRecord(view, count);
    // The map that was saved last may have been there already, or still the one before it.
    if (next.txid > map.txid) {
      if (after !== map.txid || changes === undefined) break;
      map.apply(changes);
    }
    if (next.txid >= state.txid) state = next;
  }
  return state;
}

function decodeRecord(view: DataView, count: number): StateRecord {
  const txid = view.getFloat64(0, true);
  const after = view.getFloat64(8, true);
  const timestampMs = view.getFloat64(16, true);
  const pageSize = view.getUint32(24, true);
  const word = (_: unknown, i: number) => view.getUint32(placeAt + i * 4, true);
  const place = Uint32Array.from({ length: placeWords }, word);
  const state = { txid, timestampMs, pageSize, place };
  if (txid === after) return { state, after };
  const numbers = new Uint32Array(count);
  const checksums = new BigUint64Array(count);
  for (let i = 0; i < count; i++) {
    numbers[i] = view.getUint32(headBytes + i * entryBytes, true);
    checksums[i] = view.getBigUint64(headBytes + i * entryBytes + 4, true);
  }
  const size = view.getUint32(headBytes - 8, true);
  return { state, after, changes: { txid, size, numbers, checksums } };
}
