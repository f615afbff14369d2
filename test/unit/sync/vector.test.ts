import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ByteReader, ByteWriter } from "../../../src/log/bytes.ts";
import { scanRecords } from "../../../src/log/records.ts";
import {
  covers,
  mergeVector,
  missingRanges,
  readVector,
  vectorPages,
  writeVector,
} from "../../../src/log/vector.ts";
import { vectorArbitrary } from "./messages.ts";
import { record } from "./world.ts";

describe("version vectors", () => {
  it("come back as they were", () => {
    fc.assert(
      fc.property(vectorArbitrary, (vector) => {
        const writer = new ByteWriter(1_000_000);
        writeVector(writer, vector);
        const reader = new ByteReader(writer.finish());
        expect(readVector(reader)).toEqual(vector);
        expect(reader.remaining).toBe(0);
      }),
      { seed: 1 },
    );
  });

  it("lack nothing once the missing ranges are added", () => {
    fc.assert(
      fc.property(vectorArbitrary, vectorArbitrary, (held, wanted) => {
        const ranges = missingRanges(held, wanted);
        expect(ranges.length === 0).toBe(covers(held, wanted));
        for (const { origin, first, last } of ranges) {
          expect(first).toBe((held.get(origin) ?? 0) + 1);
          held.set(origin, last);
        }
        expect(covers(held, wanted)).toBe(true);
        expect(missingRanges(held, wanted)).toEqual([]);
      }),
      { seed: 2 },
    );
  });

  it("merge to the least vector that covers both", () => {
    fc.assert(
      fc.property(vectorArbitrary, vectorArbitrary, (left, right) => {
        const merged = new Map(left);
        expect(mergeVector(merged, right)).toBe(!covers(left, right));
        expect(covers(merged, left) && covers(merged, right)).toBe(true);
        for (const [origin, sequence] of merged) {
          expect([left.get(origin), right.get(origin)]).toContain(sequence);
        }
      }),
      { seed: 3 },
    );
  });

  it("larger than a message are split into pages", () => {
    const vector = new Map(Array.from({ length: 65_537 }, (_, index) => [index + 1, 1]));
    expect(vectorPages(vector).map((page) => page.size)).toEqual([65_536, 1]);
    expect(vectorPages(new Map()).map((page) => page.size)).toEqual([0]);
  });
});

describe("changeset records", () => {
  it("are scanned into runs", () => {
    const records = Buffer.concat([
      record({ origin: 7, sequence: 1 }),
      record({ origin: 7, sequence: 2 }),
      record({ origin: 7, sequence: 4 }),
      record({ origin: 2 ** 52 + 1, sequence: 2 ** 39 }),
    ]);
    expect(scanRecords(records)).toEqual([
      { origin: 7, first: 1, last: 2 },
      { origin: 7, first: 4, last: 4 },
      { origin: 2 ** 52 + 1, first: 2 ** 39, last: 2 ** 39 },
    ]);
    expect(scanRecords(new Uint8Array(0))).toEqual([]);
  });

  it("of more runs than a message may have are refused", () => {
    // Origin, sequence, timestamp and no payload; each begins another run.
    const one = [1, 1, 0, 0, 2, 1, 0, 0];
    const bytes = Uint8Array.from({ length: 4 * 65_537 }, (_, index) => one[index % 8] ?? 0);
    expect(scanRecords(bytes.subarray(4))).toHaveLength(65_536);
    expect(() => scanRecords(bytes)).toThrow(
      expect.objectContaining({ code: "PROTOCOL_MALFORMED" }),
    );
  });

  it("cut short are malformed", () => {
    const bytes = record({ origin: 300, sequence: 300 });
    for (let length = 1; length < bytes.byteLength; length++) {
      expect(() => scanRecords(bytes.subarray(0, length))).toThrow(
        expect.objectContaining({ code: "PROTOCOL_MALFORMED" }),
      );
    }
  });

  it("of random or damaged bytes are runs within limits, or malformed", () => {
    const sound = fc.array(
      fc.record({
        origin: fc.integer({ min: 1, max: 2 ** 53 - 1 }),
        sequence: fc.integer({ min: 1, max: 2 ** 40 - 1 }),
      }),
      { maxLength: 4 },
    );
    const damaged = fc.tuple(sound, fc.nat(), fc.nat(255)).map(([records, at, byte]) => {
      const bytes = Uint8Array.from(Buffer.concat(records.map(record)));
      if (bytes.byteLength > 0) bytes[at % bytes.byteLength] = byte;
      return bytes;
    });
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 60 }), damaged), (bytes) => {
        try {
          for (const { origin, first, last } of scanRecords(bytes)) {
            expect(Number.isSafeInteger(origin) && origin > 0 && first > 0).toBe(true);
            expect(last).toBeGreaterThanOrEqual(first);
            expect(last).toBeLessThan(2 ** 40);
          }
        } catch (error) {
          expect(error).toMatchObject({ code: "PROTOCOL_MALFORMED" });
        }
      }),
      { numRuns: 3000, seed: 3 },
    );
  });
});
