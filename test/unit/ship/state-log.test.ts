/** What a log of readings leads to, however much of it is there. */
import { expect, test } from "vitest";
import { PageMap } from "../../../src/ship/page-map.ts";
import { encodeRecord, replayLog, type StateRecord } from "../../../src/ship/state-log.ts";

const placeOf = (frame: number) => Uint32Array.of(7, 9, frame, 0xffff_ffff, 1);

/** Transactions 1 to 2, 3 to 4, … with a new beginning of the WAL behind each. */
function recordsUpTo(count: number): StateRecord[] {
  return Array.from({ length: count }, (_, i) => {
    const txid = 2 * i + 2;
    const state = { txid, timestampMs: 1_800_000_000_000 + i, pageSize: 4096, place: placeOf(i) };
    const numbers = Uint32Array.from({ length: i + 1 }, (__, k) => k + 1);
    const checksums = BigUint64Array.from(numbers, (number) => BigInt(number * 1000 + i) << 40n);
    const changes = { txid, size: i + 1, numbers, checksums };
    const moved = { state: { ...state, place: placeOf(i + 100) }, after: txid };
    return [{ state, after: txid - 2, changes }, moved];
  }).flat();
}

const nothing = { txid: 0, timestampMs: 0, pageSize: 4096, place: placeOf(0) };
const records = recordsUpTo(5);
const pieces = records.map(encodeRecord);
const log = Buffer.concat(pieces);

function mapAfter(count: number): PageMap {
  const map = new PageMap();
  for (const { changes } of records.slice(0, count)) if (changes !== undefined) map.apply(changes);
  return map;
}

test("whole records count, and nothing behind them", () => {
  let whole = 0;
  let end = 0;
  for (let length = 0; length <= log.length; length++) {
    if (length === end + (pieces[whole]?.length ?? Number.NaN)) {
      whole++;
      end = length;
    }
    const map = new PageMap();
    const state = replayLog(log.subarray(0, length), nothing, map);
    expect(state).toEqual(records[whole - 1]?.state ?? nothing);
    expect(map.encode()).toEqual(mapAfter(whole).encode());
  }
  expect(whole).toBe(records.length);
});

test("what was altered ends it, and so does a gap", () => {
  for (let at = 0; at < log.length; at += 3) {
    const altered = Buffer.from(log);
    altered.writeUInt8((altered[at] ?? 0) ^ 0x10, at);
    let whole = 0;
    for (let end = 0; end <= at; whole++) end += pieces[whole]?.length ?? 0;
    const state = replayLog(altered, nothing, new PageMap());
    expect(state).toEqual(records[whole - 2]?.state ?? nothing);
  }
  const gap = Buffer.concat(pieces.filter((_, i) => i !== 2 && i !== 3));
  expect(replayLog(gap, nothing, new PageMap())).toEqual(records[1]?.state);
});

test("a log from before the state that was saved changes nothing", () => {
  const last = records.at(-1)?.state ?? nothing;
  const map = mapAfter(records.length);
  expect(replayLog(log, last, map)).toEqual(last);
  expect(map.encode()).toEqual(mapAfter(records.length).encode());
  // A crash between the two: the state is the new one, the map still the old.
  const older = new PageMap();
  expect(replayLog(log, last, older)).toEqual(last);
  expect(older.encode()).toEqual(map.encode());
  const rebased = { ...last, txid: 100 };
  expect(replayLog(log, rebased, mapAfter(records.length))).toBe(rebased);
});
