/**
 * Golden vectors: format and code cannot drift apart. `MERGELITE_GOLDEN=write` makes the files anew,
 * which is right only together with a new format version in docs/format.md; `npm run format` after it.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { native } from "../../src/native.ts";
import {
  attachRaw,
  dump,
  mergeAll,
  openRaw,
  patiently,
  type RawReplica,
} from "../support/replica.ts";
import {
  Cursor,
  hash64,
  type ReadPayload,
  readPayload,
  readShape,
  sealed,
} from "./format-reader.ts";
import { type GoldenCase, goldenCases } from "./golden-cases.ts";

interface GoldenRecord {
  record: string;
  sequence: number;
  timestamp: number;
  payload: ReadPayload;
}

interface Golden {
  case: GoldenCase;
  shapes: { hash: string; descriptor: string }[];
  records: GoldenRecord[];
  /** Rows of each table in the end, as `dump` tells them. */
  rows: Record<string, string[]>;
  /** Row clocks of each table after folding: key, and the clock's bytes. */
  clocks: Record<string, string[]>;
}

interface Refusal {
  name: string;
  /** The payload without its checksum. */
  content: string;
  /** Thrown by `merge`; or "refused" when the changeset is kept aside. */
  outcome: string;
}

const peer = 4_242_424_242_424_242;
const wallMs = Date.UTC(2026, 0, 2, 3, 4, 5, 678);
const folder = join(import.meta.dirname, "../fixtures/golden");
const isWriting = process.env.MERGELITE_GOLDEN === "write";
const scratch = mkdtempSync(join(tmpdir(), "mergelite-golden-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const hexOf = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");
const bytesOf = (hex: string) => new Uint8Array(Buffer.from(hex, "hex"));
const fileOf = (name: string) => join(folder, `${name.replaceAll(" ", "-")}.json`);

function golden<Content>(name: string, make: () => Content): Content {
  const file = fileOf(name);
  if (isWriting) writeFileSync(file, `${JSON.stringify(make(), undefined, 2)}\n`);
  return JSON.parse(readFileSync(file, "utf8")) as Content;
}

/** A replica whose peer id and clock are fixed, so that all its bytes are. */
function openFixed(one: GoldenCase): RawReplica {
  const { db, handle } = openRaw(":memory:", one.schema, []);
  db.prepare("UPDATE _mergelite_origins SET peer = ? WHERE ordinal = 1").run(peer);
  native.close(handle);
  if (one.before !== undefined) db.exec(one.before);
  const replica = attachRaw(db);
  native.setClock(replica.handle, wallMs);
  for (const table of one.tables) native.replicate(replica.handle, table);
  return replica;
}

function produce(one: GoldenCase): Golden {
  const replica = openFixed(one);
  for (const statement of one.statements) replica.db.exec(statement);
  const shapes = native.shapes(replica.handle, 0).descriptors.map((descriptor) => ({
    hash: native.shapeHash(descriptor),
    descriptor: hexOf(descriptor),
  }));
  const readShapes = new Map(shapes.map((s) => [s.hash, readShape(bytesOf(s.descriptor))]));
  const log = native.readLog(replica.handle, peer, 1, 2 ** 40 - 1, 2 ** 30);
  const records: GoldenRecord[] = [];
  for (const in_ = new Cursor(log); in_.left > 0; ) {
    const start = log.length - in_.left;
    expect(in_.count()).toBe(peer);
    const sequence = in_.count();
    const timestamp = in_.count();
    const payload = readPayload(in_.take(in_.count()), readShapes);
    const record = hexOf(log.subarray(start, log.length - in_.left));
    records.push({ record, sequence, timestamp, payload });
  }
  const rows = Object.fromEntries(one.tables.map((table) => [table, dump(replica.db, table)]));
  return { case: one, shapes, records, rows, clocks: foldedClocks(replica, one.tables) };
}

/** Ending and beginning replication anew folds everything there is. */
function foldedClocks({ db, handle }: RawReplica, tables: readonly string[]): Golden["clocks"] {
  for (const table of tables) {
    db.exec(`DROP TABLE ${table}_patches`);
    native.replicate(handle, table);
  }
  return Object.fromEntries(tables.map((table) => [table, dump(db, `_mergelite_clock_${table}`)]));
}

describe("capture writes these bytes, and merge reads them", () => {
  test.each(goldenCases.map((one) => [one.name, one] as const))("%s", (name, one) => {
    const made = produce(one);
    const stored = golden(name, () => made);
    expect(made).toEqual(stored);

    const reader = openRaw(":memory:", one.schema, one.tables);
    native.setClock(reader.handle, wallMs);
    native.learnShapes(
      reader.handle,
      stored.shapes.map(({ descriptor }) => bytesOf(descriptor)),
    );
    const all = Buffer.concat(stored.records.map(({ record }) => bytesOf(record)));
    const result = mergeAll(reader, new Uint8Array(all));
    expect(result.refused).toEqual([]);
    for (const table of one.tables) expect(dump(reader.db, table)).toEqual(stored.rows[table]);
    const passedOn = native.readLog(reader.handle, peer, 1, 2 ** 40 - 1, 2 ** 30);
    expect(hexOf(passedOn)).toBe(hexOf(all));
  });
});

test("a shape's hash is that of its descriptor, as specified", () => {
  for (const one of goldenCases) {
    const stored = golden(one.name, () => produce(one));
    for (const { hash, descriptor } of stored.shapes) {
      expect(hash64(bytesOf(descriptor))).toBe(hash);
      expect(native.shapeHash(bytesOf(descriptor))).toBe(hash);
    }
  }
});

describe("what a reader must refuse", () => {
  const one: GoldenCase = {
    name: "refused",
    schema: "CREATE TABLE t (id INTEGER PRIMARY KEY, a, b)",
    tables: ["t"],
    statements: [],
  };
  const refusals = golden<Refusal[]>("refused", () => makeRefusals(one));

  test.each(refusals.map((refusal) => [refusal.name, refusal] as const))("%s", (_, refusal) => {
    const replica = openRaw(":memory:", one.schema, one.tables);
    const payload = refusal.name.startsWith("checksum")
      ? bytesOf(refusal.content)
      : sealed(bytesOf(refusal.content));
    const record = recordOf(payload);
    const merge = () => native.merge(replica.handle, record, 0, patiently);
    if (refusal.outcome === "refused") expect(merge().refused).toHaveLength(1);
    else expect(merge).toThrow(expect.objectContaining({ code: refusal.outcome }));
    expect(dump(replica.db, "t")).toEqual([]);
  });
});

function recordOf(payload: Uint8Array): Uint8Array {
  const out: number[] = [];
  for (const number of [77n, 1n, BigInt(wallMs - Date.UTC(2025)) << 13n, BigInt(payload.length)]) {
    let rest = number;
    for (; rest >= 0x80n; rest >>= 7n) out.push(Number(rest & 0x7fn) | 0x80);
    out.push(Number(rest));
  }
  return new Uint8Array([...out, ...payload]);
}

function makeRefusals(one: GoldenCase): Refusal[] {
  const replica = openRaw(":memory:", one.schema, one.tables);
  const [descriptor] = native.shapes(replica.handle, 0).descriptors;
  const hash = native.shapeHash(descriptor ?? new Uint8Array());
  const shape = Buffer.from(hash, "hex").reverse().toString("hex");
  const good = `0100 01 ${shape} 01 01 0105 0909`;
  const made: [name: string, content: string, outcome: string][] = [
    ["format: unknown", `0200 01 ${shape} 01 01 0105 0909`, "refused"],
    ["flags: an unknown one", `0102 01 ${shape} 01 01 0105 0909`, "refused"],
    ["shapes: more than there are bytes", "0100 7f 01", "refused"],
    ["patches: more than there are bytes", `0100 01 ${shape} 7f 01 0105 0909`, "refused"],
    ["patches: fewer than counted", `0100 01 ${shape} 02 01 0105 0909`, "refused"],
    ["patches: bytes after the last", `0100 01 ${shape} 01 01 0105 0909 00`, "refused"],
    ["head: operation 0", `0100 01 ${shape} 01 00 0105 0909`, "refused"],
    ["head: a shape that is not listed", `0100 01 ${shape} 01 05 0105 0909`, "refused"],
    ["key: NULL", `0100 01 ${shape} 01 01 00 0909`, "refused"],
    ["value: serial type 10", `0100 01 ${shape} 01 01 0105 0a09`, "refused"],
    ["value: an integer wider than needed", `0100 01 ${shape} 01 01 020500 0909`, "refused"],
    ["value: 0 not as serial type 8", `0100 01 ${shape} 01 01 0100 0909`, "refused"],
    ["value: NaN", `0100 01 ${shape} 01 01 0105 09 07000000000000f87f`, "refused"],
    ["value: a text beyond the end", `0100 01 ${shape} 01 01 0105 09 7f61`, "refused"],
    ["varint: not in its shortest form", `0100 01 ${shape} 01 8100 0105 0909`, "refused"],
    ["bitmap: a bit beyond the last column", `0100 01 ${shape} 01 02 0105 05 09 09`, "refused"],
    ["payload: nothing but a checksum", "", "refused"],
    ["payload: a format alone", "01", "refused"],
  ];
  const refusals = made.map(([name, content, outcome]) => ({
    name,
    content: content.replaceAll(" ", ""),
    outcome,
  }));
  const flipped = sealed(bytesOf(good.replaceAll(" ", "")));
  flipped[flipped.length - 1] = (flipped[flipped.length - 1] ?? 0) ^ 1;
  return [
    ...refusals,
    { name: "checksum: one bit off", content: hexOf(flipped), outcome: "PAYLOAD_CORRUPT" },
  ];
}
