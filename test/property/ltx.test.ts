/** Files of any pages, in any pieces, against a reader of another make; and damaged ones. */
import { open, writeFile } from "node:fs/promises";
import fc from "fast-check";
import { expect, test } from "vitest";
import { applyLtx } from "../../src/ltx/apply.ts";
import { compactLtx } from "../../src/ltx/compact.ts";
import { lockPageOf } from "../../src/ltx/header.ts";
import { type PageBatch, pageChecksums } from "../../src/ltx/pages.ts";
import { LtxReader } from "../../src/ltx/reader.ts";
import { encodeLtxFile } from "../../src/ltx/writer.ts";
import { native } from "../../src/native.ts";
import { temporaryFolder } from "../support/folder.ts";
import { batchOf, digestOf, ltxHeader, pagesOf, plainCrc64, plainLtx } from "../support/ltx.ts";

const folder = temporaryFolder();
const numRuns = Math.min(200, Number(process.env.PROPERTY_RUNS ?? 60));

const pageSizes = fc.constantFrom(512, 4096, 65_536);
/** Noise, runs, repeats of what came before, text: what an LZ4 compressor meets. */
const fragment = fc.oneof(
  fc.uint8Array({ maxLength: 300 }),
  fc.tuple(fc.nat(255), fc.nat(2000)).map(([byte, n]) => new Uint8Array(n).fill(byte)),
  fc
    .tuple(fc.uint8Array({ minLength: 1, maxLength: 24 }), fc.nat(200))
    .map(([unit, n]) => new Uint8Array(Buffer.concat(Array.from({ length: n }, () => unit)))),
  fc.string({ maxLength: 100 }).map((text) => new Uint8Array(Buffer.from(text))),
);

function pageOf(size: number): fc.Arbitrary<Uint8Array> {
  return fc.array(fragment, { maxLength: 12 }).map((fragments) => {
    const page = Buffer.alloc(size);
    Buffer.concat(fragments).copy(page);
    // What ends a page often repeats its beginning.
    page.copy(page, size - 64, 0, 64);
    return page;
  });
}

const files = pageSizes.chain((pageSize) =>
  fc.record({
    pageSize: fc.constant(pageSize),
    pages: fc
      .array(fc.tuple(fc.integer({ min: 1, max: 5000 }), pageOf(pageSize)), {
        minLength: 1,
        maxLength: pageSize === 65_536 ? 2 : 8,
      })
      .map((pairs) => new Map(pairs)),
    pieceBytes: fc.integer({ min: 7, max: 100_000 }),
    batchPages: fc.integer({ min: 1, max: 5 }),
  }),
);

const small = files.filter(({ pageSize }) => pageSize === 512);

const digestsOf = (pages: ReadonlyMap<number, Uint8Array>) =>
  new Map([...pages].sort(([a], [b]) => a - b).map(([page, data]) => [page, digestOf(data)]));

function* piecesOf(bytes: Uint8Array, size: number): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

function* inBatches(batch: PageBatch, pageSize: number, pages: number): Generator<PageBatch> {
  for (let at = 0; at < batch.numbers.length; at += pages) {
    yield {
      numbers: batch.numbers.slice(at, at + pages),
      data: batch.data.slice(at * pageSize, (at + pages) * pageSize),
    };
  }
}

test("what is written is read, by us and by another reader", async () => {
  await fc.assert(
    fc.asyncProperty(files, async ({ pageSize, pages, pieceBytes, batchPages }) => {
      const header = ltxHeader({ pageSize, commit: 5000 });
      const batches = inBatches(batchOf(pages), pageSize, batchPages);
      const file = Buffer.from(await encodeLtxFile(header, batches));
      const expected = digestsOf(pages);
      const plain = plainLtx(file, { checksum: pageSize < 65_536 });
      expect(plain.pages).toEqual(expected);
      for (const [page, offset] of plain.index) expect(file.readUInt32BE(offset)).toBe(page);
      const batchBytes = pageSize * batchPages;
      const reader = await LtxReader.open(piecesOf(file, pieceBytes), { batchBytes });
      expect(reader.header).toEqual({ ...header, nodeId: 0n });
      expect(digestsOf(await pagesOf(reader))).toEqual(expected);
    }),
    { numRuns },
  );
});

test("applied in pieces of any size it writes its pages and no other byte", async () => {
  const path = folder.file();
  await fc.assert(
    fc.asyncProperty(small, async ({ pageSize, pages, pieceBytes }) => {
      const commit = 5000;
      const last = Math.min(Math.max(...pages.keys()) + 1, commit);
      const file = await encodeLtxFile(ltxHeader({ pageSize, commit }), [batchOf(pages)]);
      const before = Buffer.alloc(last * pageSize, 0xa5);
      await writeFile(path, before);
      const target = await open(path, "r+");
      await applyLtx(await LtxReader.open(piecesOf(file, pieceBytes)), target);
      for (const [page, data] of pages) before.set(data, (page - 1) * pageSize);
      const after = Buffer.alloc(before.length);
      await target.read(after, 0, after.length, 0);
      expect(after.equals(before)).toBe(true);
      expect((await target.stat()).size).toBe(commit * pageSize);
      await target.close();
    }),
    { numRuns },
  );
});

test("a file that cannot be written says so", async () => {
  const path = folder.file();
  await writeFile(path, "");
  const file = await encodeLtxFile(ltxHeader(), [batchOf(new Map([[1, Buffer.alloc(512)]]))]);
  const target = await open(path, "r");
  const error = { code: "EBADF", syscall: "pwrite" };
  await expect(applyLtx(await LtxReader.open([file]), target)).rejects.toMatchObject(error);
  await target.close();
});

test("no damage goes unnoticed", async () => {
  await fc.assert(
    fc.asyncProperty(small, fc.nat(), fc.integer({ min: 1, max: 255 }), async (file, at, flip) => {
      const header = ltxHeader({ pageSize: file.pageSize, commit: 5000 });
      const good = Buffer.from(await encodeLtxFile(header, [batchOf(file.pages)]));
      const readAll = async (bytes: Uint8Array) => {
        return digestsOf(await pagesOf(await LtxReader.open(piecesOf(bytes, file.pieceBytes))));
      };
      const damaged = Buffer.from(good);
      const place = at % good.length;
      damaged[place] = (damaged[place] ?? 0) ^ flip;
      const corrupt = { code: "LTX_CORRUPT" };
      // A page may come out of two different LZ4 blocks: then nothing is wrong with it.
      const same = await readAll(damaged).catch((error: unknown) => error);
      if (same instanceof Error) expect(same).toMatchObject(corrupt);
      else expect(same).toEqual(digestsOf(file.pages));
      const applied = async (bytes: Uint8Array) => {
        const target = await open(folder.file(), "w");
        const reader = LtxReader.open(piecesOf(bytes, file.pieceBytes));
        await reader.then((each) => applyLtx(each, target)).finally(() => target.close());
      };
      const outcome = await applied(damaged).catch((error: unknown) => error);
      expect(outcome instanceof Error).toBe(same instanceof Error);
      await expect(applied(good.subarray(0, place))).rejects.toMatchObject(corrupt);
      await expect(readAll(good.subarray(0, place))).rejects.toMatchObject(corrupt);
      await expect(readAll(Buffer.concat([good, Buffer.of(flip)]))).rejects.toMatchObject(corrupt);
    }),
    { numRuns },
  );
});

test("compaction leaves of each page what was written last", async () => {
  const steps = fc.array(
    fc.record({
      commit: fc.integer({ min: 40, max: 60 }),
      pages: fc.uniqueArray(fc.integer({ min: 1, max: 60 }), { maxLength: 30 }),
    }),
    { minLength: 1, maxLength: 8 },
  );
  await fc.assert(
    fc.asyncProperty(steps, async (transactions) => {
      const expected = new Map<number, Buffer>();
      const readers: LtxReader[] = [];
      for (const [i, { commit, pages }] of transactions.entries()) {
        const kept = pages.filter((page) => page <= commit);
        const written = new Map(kept.map((page) => [page, Buffer.alloc(512, page * 7 + i)]));
        const header = ltxHeader({ commit, minTxid: i + 2, maxTxid: i + 2, timestampMs: i });
        readers.push(await LtxReader.open([await encodeLtxFile(header, [batchOf(written)])]));
        for (const [page, data] of written) expected.set(page, data);
        for (const page of expected.keys()) if (page > commit) expected.delete(page);
      }
      const { header, batches } = compactLtx(readers);
      expect(header.maxTxid).toBe(transactions.length + 1);
      const pages = await pagesOf({ header, batches: () => batches });
      // A page cut off and not written again is in neither: whoever ships writes it then.
      const kept = new Map([...pages].filter(([page]) => expected.has(page)));
      expect(digestsOf(kept)).toEqual(digestsOf(expected));
    }),
    { numRuns },
  );
});

test("a snapshot lacks no page", async () => {
  const encode = (...pages: number[]) => {
    const written = new Map(pages.map((page) => [page, Buffer.alloc(512)]));
    return encodeLtxFile(ltxHeader({ commit: 3, minTxid: 1 }), [batchOf(written)]);
  };
  await expect(encode(1, 2, 3)).resolves.toBeDefined();
  for (const pages of [[2, 3], [1, 3], [1, 2], [], [1, 2, 3, 4]]) {
    await expect(encode(...pages)).rejects.toMatchObject({ code: "LTX_CORRUPT" });
  }
});

test("a part of a database's checksum leaves out the page that SQLite locks", async () => {
  const pageSize = 65_536;
  const lockPage = lockPageOf(pageSize);
  const data = Buffer.alloc(3 * pageSize, "page");
  const numbers = Uint32Array.of(lockPage - 1, lockPage, lockPage + 1);
  const [before = 0n, , after = 0n] = await pageChecksums({ numbers, data }, pageSize);
  expect(await native.sumPages(pageSize, lockPage - 1, data)).toBe(before ^ after);
});

test("a database's checksum is made of its pages'", async () => {
  const data = Buffer.alloc(1024, "page");
  const checksums = await pageChecksums({ numbers: Uint32Array.of(3, 70_000), data }, 512);
  const expected = [3, 70_000].map((number) => {
    const head = Buffer.alloc(4);
    head.writeUInt32BE(number);
    return plainCrc64(Buffer.concat([head, data.subarray(0, 512)])) | (1n << 63n);
  });
  expect([...checksums]).toEqual(expected);
});
