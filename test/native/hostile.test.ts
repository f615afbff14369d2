/**
 * What a damaged or forged message does to merging: an error with a code, or a changeset set aside,
 * and tables that are what they were.
 */
import Database from "better-sqlite3";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { native } from "../../src/native.ts";
import { encode, type Forged, forge, forgePayload, varint } from "../support/forge.ts";
import {
  attachRaw,
  dump,
  heldOf,
  maintainAll,
  mergeAll,
  openRaw,
  progressOf,
  pull,
  type RawReplica,
  recordsOf,
  teachShapes,
} from "../support/replica.ts";

const schema =
  "CREATE TABLE t (id INTEGER PRIMARY KEY, a, b); CREATE TABLE k (x TEXT, y TEXT, PRIMARY KEY (x, y)) WITHOUT ROWID";
const tables = ["t", "k"];
const open: Database.Database[] = [];
let there: RawReplica;
let here: RawReplica;
let before: string[][];

beforeEach(() => {
  there = openRaw(":memory:", schema, tables);
  here = openRaw(":memory:", schema, tables);
  open.push(there.db, here.db);
  there.db.exec("INSERT INTO t VALUES (1, 'one', 1.5), (2, x'00', NULL)");
  there.db.exec("UPDATE t SET b = 'changed' WHERE id = 1; INSERT INTO k VALUES ('a', 'b')");
  here.db.exec("INSERT INTO t VALUES (9, 'mine', 9)");
  teachShapes(there, here);
  before = content();
});
afterEach(() => {
  for (const db of open.splice(0)) db.close();
});

const content = (): string[][] => tables.map((table) => dump(here.db, table));

/** Merges bytes that are not trusted; returns the error's code, or undefined. */
function attempt(records: Uint8Array): string | undefined {
  try {
    const result = native.merge(here.handle, records, 0, 1000);
    expect(result.consumed).toBeLessThanOrEqual(records.length);
    return undefined;
  } catch (error) {
    const { code } = error as { code?: unknown };
    expect((error as Error).message).not.toBe("");
    return String(code);
  }
}

/** The replica still merges what is sound. */
function expectSound(): void {
  expect(here.db.pragma("integrity_check", { simple: true })).toBe("ok");
  pull(there, here);
  expect(here.db.prepare("SELECT b FROM t WHERE id = 1").pluck().get()).toBe("changed");
  here.db.exec("INSERT INTO t VALUES (10, 'still writable', 1)");
}

const forgedPeer = 77;
const record = (payload: Uint8Array, fields: Partial<Forged> = {}): Uint8Array =>
  forge({ origin: forgedPeer, sequence: 1, timestamp: 1000, payload, ...fields });

describe("damage on the way", () => {
  it("finds every flipped bit and every cut", () => {
    const records = recordsOf(there, there.peerId);
    const codes = new Set<string | undefined>();
    for (let at = 0; at < records.length; at++) {
      for (let bit = 0; bit < 8; bit++) {
        const damaged = Uint8Array.from(records);
        damaged[at] = (damaged[at] ?? 0) ^ (1 << bit);
        codes.add(attempt(damaged));
        if (progressOf(here).length > 1) renew();
      }
    }
    for (let length = 1; length < records.length; length++) {
      codes.add(attempt(records.subarray(0, length)));
      if (progressOf(here).length > 1) renew();
    }
    // Undefined: other numbers before the payload make another record, or one that comes too early.
    expect(codes).toEqual(new Set(["PAYLOAD_CORRUPT", "RECORD_MALFORMED", undefined]));
    expectSound();
  });

  it("leaves nothing of a message whose last record is damaged", () => {
    const records = Uint8Array.from(recordsOf(there, there.peerId));
    const last = records.length - 1;
    records[last] = (records[last] ?? 0) ^ 1;
    expect(attempt(records)).toBe("PAYLOAD_CORRUPT");
    expect(content()).toEqual(before);
    expect(heldOf(here, there.peerId)).toBe(0);
    expectSound();
  });

  it("takes any bytes as a message", () => {
    const random = mulberry(5);
    for (let i = 0; i < 2000; i++) {
      const bytes = Uint8Array.from({ length: random() % 60 }, () => random() & 255);
      attempt(bytes);
    }
    expect(content()).toEqual(before);
    expectSound();
  });
});

describe("forged payloads with a right checksum", () => {
  const insert = (key: number[], ...values: number[]) => [1, ...key, ...values];
  const cases: [string, number[], object?][] = [
    ["an operation that there is not", [0, 2, 5, 0, 0]],
    ["a shape index beyond the shapes", [(1 << 2) | 1, 1, 5, 0, 0]],
    ["a huge shape index", [...varint(2n ** 63n), 1, 5, 0, 0]],
    ["NULL as key", insert([0], 0, 0)],
    ["too few values", insert([1, 5], 0)],
    ["too many values", insert([1, 5], 0, 0, 0)],
    ["a text longer than the message", insert([1, 5], ...varint(13 + 2 * 1000), 0)],
    ["a text of 2^62 bytes", insert([1, 5], ...varint(13n + 2n ** 62n), 0)],
    ["a serial type that there is not", insert([1, 5], 10, 0)],
    ["an integer that is not in its shortest form", insert([2, 5, 0], 0, 0)],
    ["NaN", insert([1, 5], 7, 0, 0, 0, 0, 0, 0, 0xf8, 0x7f, 0)],
    ["bits beyond the last column", [2, 1, 5, 0x04, 0]],
    ["fewer patches than it says", insert([1, 5], 0, 0), { patchCount: 2 }],
    ["more patches than it says", insert([1, 5], 0, 0), { patchCount: 0 }],
    ["less than two bytes a patch", [1]],
    ["2^63 patches", insert([1, 5], 0, 0), { patchCount: 2n ** 63n }],
    ["2^60 shapes", insert([1, 5], 0, 0), { shapeCount: 2n ** 60n }],
    ["an unknown format", insert([1, 5], 0, 0), { format: 9 }],
    ["unknown flags", insert([1, 5], 0, 0), { flags: 0x80 }],
  ];

  it.each(cases)("sets aside %s, and goes on with what follows", (_, patches, options = {}) => {
    const payload = forgePayload(patches, { shapes: [shapeOf("t")], ...options });
    const good = forgePayload(insert([1, 50], 0, 0), { shapes: [shapeOf("t")] });
    const result = mergeAll(here, record(payload));
    expect(result.refused).toMatchObject([{ origin: forgedPeer, sequence: 1 }]);
    expect(content()).toEqual(before);
    expect(mergeAll(here, record(payload)).duplicates).toBe(1);
    mergeAll(here, record(good, { sequence: 2 }));
    expect(here.db.prepare("SELECT count(*) FROM t WHERE id = 50").pluck().get()).toBe(1);
    expect(native.status(here.handle).refused).toBe(1);
    // It is passed on as it came, and every peer comes to the same verdict.
    const next = openRaw(":memory:", schema, tables);
    open.push(next.db);
    teachShapes(here, next);
    const passedOn = mergeAll(next, recordsOf(here, forgedPeer));
    expect(passedOn.refused).toEqual(result.refused);
    expect(next.db.prepare("SELECT count(*) FROM t").pluck().get()).toBe(1);
    expect(recordsOf(next, forgedPeer)).toEqual(recordsOf(here, forgedPeer));
    reopen();
    foldEverything();
    expect(here.db.prepare("SELECT count(*) FROM t_patches WHERE _peerId = 77").pluck().get()).toBe(
      1,
    );
    expectSound();
  });

  it("refuses all parts of a transaction one of whose parts makes no sense", () => {
    const part = (patches: number[], flags: number) =>
      forgePayload(patches, { shapes: [shapeOf("t")], flags });
    mergeAll(here, record(part(insert([1, 60], 0, 0), 1)));
    expect(mergeAll(here, record(part([0, 1, 61], 1), { sequence: 2 })).refused).toHaveLength(1);
    mergeAll(here, record(part(insert([1, 62], 0, 0), 0), { sequence: 3 }));
    expect(content()).toEqual(before);
    expect(native.status(here.handle).refused).toBe(3);
    mergeAll(here, record(part(insert([1, 63], 0, 0), 0), { sequence: 4 }));
    expect(here.db.prepare("SELECT id FROM t WHERE id > 9").pluck().all()).toEqual([63]);
    reopen();
    foldEverything();
    // What was refused has left no row clock: an older insert of the row is still news.
    mergeAll(here, record(part(insert([1, 60], 0, 0), 0), { sequence: 5, timestamp: 999 }));
    expect(here.db.prepare("SELECT id FROM t WHERE id > 9").pluck().all()).toEqual([60, 63]);
    expectSound();
  });

  it("does not believe a record's own numbers", () => {
    const payload = forgePayload(insert([1, 5], 0, 0), { shapes: [shapeOf("t")] });
    for (const fields of [
      { origin: 0 },
      { origin: 2n ** 53n },
      { sequence: 0 },
      { sequence: 2n ** 40n },
      { timestamp: 0 },
      { timestamp: 2n ** 53n },
      { timestamp: 2n ** 63n },
    ]) {
      expect([fields, attempt(record(payload, fields))]).toEqual([fields, "RECORD_MALFORMED"]);
    }
    // A sequence far ahead is a gap, not a licence to skip.
    const far = native.merge(here.handle, record(payload, { sequence: 2n ** 40n - 1n }), 0, 1000);
    expect(far.gaps).toEqual([forgedPeer, 1]);
    // The largest timestamp waits for its time; it blocks nobody but its own origin.
    const late = native.merge(here.handle, record(payload, { timestamp: 2n ** 53n - 1n }), 0, 1000);
    expect(late.resumeAtMs).toBeGreaterThan(Date.now());
    here.db.exec("INSERT INTO t VALUES (5, 'local', 5)");
    expect(
      here.db
        .prepare("SELECT _patchedAt FROM t_patches WHERE id = 5 AND _peerId = ?")
        .pluck()
        .get(here.peerId),
    ).toBeLessThan(2 ** 52);
    expect(content()[0]).toContain("integer 5 | text 'local' 6C6F63616C | integer 5");
    expectSound();
  });

  it("does not let a peer write under our own id", () => {
    const payload = forgePayload(insert([1, 9], 0, 0), { shapes: [shapeOf("t")] });
    const result = native.merge(
      here.handle,
      forge({ origin: here.peerId, sequence: 2, timestamp: 9_000_000_000, payload }),
      0,
      1000,
    );
    expect(result.gaps).toEqual([here.peerId, 0]);
    expect(content()).toEqual(before);
  });

  it("parks a key that the table cannot hold", () => {
    // Nothing in a shape tells that this key is an INTEGER PRIMARY KEY.
    const payload = forgePayload(
      [1, ...encode("text"), 0, 0, 2, ...encode("text"), 1, 9, 3, ...encode("other")],
      { shapes: [shapeOf("t")], patchCount: 3 },
    );
    expect(attempt(record(payload))).toBeUndefined();
    expect(content()).toEqual(before);
    maintainAll(here);
    foldEverything();
    expectSound();
    expect(heldOf(here, forgedPeer)).toBe(1);
  });

  it("learns no malformed shape", () => {
    for (const bytes of [
      [],
      [1],
      [2, 1, 65],
      [1, 1, 0, 1, 0, 1, 66, 0],
      [1, 1, 65, 0, 0],
      [1, 1, 65, ...varint(2n ** 62n)],
      [1, 1, 65, 1, 7, 1, 66, 0],
      [1, 1, 65, 1, 0, 1, 66, 2, 1, 67, 1, 99],
      [1, 1, 65, 1, 0, 1, 66, 1, 1, 98],
    ]) {
      const learn = () => native.learnShapes(here.handle, [Uint8Array.from(bytes)]);
      expect(learn).toThrow(expect.objectContaining({ code: "SHAPE_MALFORMED" }));
    }
    expectSound();
  });
});

/** The hash by which payloads name a table's shape. */
function shapeOf(table: string): string {
  const { descriptors } = native.shapes(there.handle, 0);
  const named = descriptors.find((one) => one[2] === table.charCodeAt(0) && one[1] === 1);
  return native.shapeHash(named ?? new Uint8Array());
}

function foldEverything(): void {
  here.db.exec("CREATE TABLE spare (id INTEGER PRIMARY KEY)");
  native.replicate(here.handle, "spare");
  here.db.exec(
    "DROP TABLE spare_patches; CREATE VIRTUAL TABLE spare_patches USING mergelite(spare)",
  );
}

/** What memory has comes from the file again. */
function reopen(): void {
  const content = here.db.serialize();
  here.db.close();
  open.splice(open.indexOf(here.db), 1);
  here = attachRaw(new Database(content));
  open.push(here.db);
}

/** A replica with the content of before, for the next probe. */
function renew(): void {
  here.db.close();
  open.splice(open.indexOf(here.db), 1);
  here = openRaw(":memory:", schema, tables);
  open.push(here.db);
  here.db.exec("INSERT INTO t VALUES (9, 'mine', 9)");
  teachShapes(there, here);
}

function mulberry(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    const mixed = Math.imul(state ^ (state >>> 15), state | 1);
    return (mixed ^ (mixed >>> 13)) >>> 0;
  };
}
