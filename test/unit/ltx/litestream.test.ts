/** Files that Litestream made: we read them, and make the same of them. */
import { readFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { expect, test } from "vitest";
import { applyLtx } from "../../../src/ltx/apply.ts";
import { compactLtx } from "../../../src/ltx/compact.ts";
import { formatTxid, type LtxFile, ltxKey, parseLtxKey } from "../../../src/ltx/keys.ts";
import { LtxReader } from "../../../src/ltx/reader.ts";
import { encodeLtxFile } from "../../../src/ltx/writer.ts";
import { temporaryFolder } from "../../support/folder.ts";
import {
  digestOf,
  litestreamFixture,
  litestreamSha256,
  pagesOf,
  plainLtx,
} from "../../support/ltx.ts";

const folder = temporaryFolder();
const snapshot = { level: 9, minTxid: 1, maxTxid: 0x42 };
const compacted = { level: 1, minTxid: 0x43, maxTxid: 0x56 };
const single = (txid: number): LtxFile => ({ level: 0, minTxid: txid, maxTxid: txid });
const singles = (first: number, last: number): LtxFile[] =>
  Array.from({ length: last - first + 1 }, (_, i) => single(first + i));
const read = (file: LtxFile) => litestreamFixture(ltxKey(file, "plain"));
const reader = (file: LtxFile) => LtxReader.open([read(file)], { name: ltxKey(file, "plain") });

test("a file says what its name says", async () => {
  for (const file of [snapshot, compacted, ...singles(0x43, 0x5c)]) {
    const { header } = await reader(file);
    expect([header.minTxid, header.maxTxid]).toEqual([file.minTxid, file.maxTxid]);
    expect(header.pageSize).toBe(4096);
    expect(new Date(header.timestampMs).getUTCFullYear()).toBe(2026);
  }
  const { header } = await reader(single(0x59));
  expect(header).toMatchObject({ commit: 0xee, wal: { offset: 0x251770, size: 0x1018 } });
});

test("applied in their order they make the file that Litestream restores", async () => {
  const path = folder.file();
  const file = await open(path, "w");
  for (const each of [snapshot, ...singles(0x43, 0x5c)]) await applyLtx(await reader(each), file);
  await file.close();
  expect(digestOf(readFileSync(path))).toBe(litestreamSha256);
});

test("so they do when compacted levels take their places", async () => {
  const path = folder.file();
  const file = await open(path, "w");
  const files = [snapshot, compacted, ...singles(0x57, 0x5c)];
  for (const each of files) await applyLtx(await reader(each), file);
  await file.close();
  expect(digestOf(readFileSync(path))).toBe(litestreamSha256);
});

test("our compaction has the pages that Litestream's has", async () => {
  const readers = await Promise.all(singles(0x43, 0x56).map(reader));
  const { header, batches } = compactLtx(readers);
  const ours = plainLtx(Buffer.from(await encodeLtxFile(header, batches)), { checksum: false });
  const theirs = plainLtx(read(compacted), { checksum: false });
  expect({ ...ours, index: [] }).toEqual({ ...theirs, index: [] });
});

test("a snapshot comes from the one before it and what followed", async () => {
  const readers = await Promise.all([snapshot, ...singles(0x43, 0x5c)].map(reader));
  const { header, batches } = compactLtx(readers);
  expect(header).toMatchObject({ minTxid: 1, maxTxid: 0x5c });
  const made = await encodeLtxFile(header, batches);
  const pages = await pagesOf(await LtxReader.open([made]));
  expect(pages.size).toBe(header.commit);
  expect(digestOf(Buffer.concat([...pages.values()]))).toBe(litestreamSha256);
});

test("what we write of their pages is the same file but for how pages are compressed", async () => {
  for (const file of [single(0x59), single(0x5c)]) {
    const theirs = read(file);
    const source = await LtxReader.open([theirs]);
    const ours = Buffer.from(await encodeLtxFile(source.header, source.batches()));
    const strip = (ltx: ReturnType<typeof plainLtx>) => ({ ...ltx, index: [] });
    expect(strip(plainLtx(ours))).toEqual(strip(plainLtx(theirs)));
    expect(ours.subarray(0, 100)).toEqual(theirs.subarray(0, 100));
  }
});

test("the order of transactions is watched over", async () => {
  const join = async (...files: LtxFile[]) => compactLtx(await Promise.all(files.map(reader)));
  await expect(join(single(0x43), single(0x45))).rejects.toMatchObject({ code: "LTX_GAP" });
  await expect(join(single(0x44), single(0x43))).rejects.toMatchObject({ code: "LTX_GAP" });
  await expect(join(snapshot, compacted, single(0x57))).resolves.toBeDefined();
});

test("keys are Litestream's", () => {
  expect(ltxKey(compacted, "plain")).toBe("ltx/1/0000000000000043-0000000000000056.ltx");
  expect(ltxKey(snapshot, "wide")).toBe("0009/0000000000000001-0000000000000042.ltx");
  for (const style of ["plain", "wide"] as const) {
    expect(parseLtxKey(ltxKey(snapshot, style))).toEqual(snapshot);
  }
  const wrong = [
    "ltx/0/1-2.ltx",
    "lock.json",
    "ltx/10/x",
    ltxKey(snapshot, "wide").replace("0009", "000a"),
    `ltx/${ltxKey(snapshot, "wide")}`,
    `ltx/0/${formatTxid(3)}-${formatTxid(2)}.ltx`,
  ];
  for (const key of [...wrong, `ltx/0/${"f".repeat(16)}-${"f".repeat(16)}.ltx`]) {
    expect(parseLtxKey(key)).toBeUndefined();
  }
});
