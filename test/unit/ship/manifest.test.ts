import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  decodeManifest,
  encodeManifest,
  formatPosition,
  metadataOf,
  parseChecksum,
  parsePosition,
} from "../../../src/ship/index.ts";
import { readShipOptions } from "../../../src/ship/options.ts";

const whole = (min: number) => fc.integer({ min, max: Number.MAX_SAFE_INTEGER });
const manifests = fc.record({
  pageSize: fc.integer({ min: 9, max: 16 }).map((bits) => 2 ** bits),
  head: fc.record({
    txid: whole(1),
    timestampMs: whole(0),
    pages: whole(1),
    checksum: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  }),
  fence: whole(0),
});

describe("the manifest", () => {
  test("comes back as it was", () => {
    fc.assert(
      fc.property(manifests, (manifest) => {
        expect(decodeManifest(encodeManifest(manifest))).toEqual(manifest);
      }),
    );
  });

  test("has these bytes", () => {
    const head = { txid: 26, timestampMs: 1_700_000_000_123, pages: 3, checksum: 1n << 63n };
    const bytes = encodeManifest({ pageSize: 4096, head, fence: 7 });
    expect(Buffer.from(bytes).toString()).toBe(
      `{"format":1,"pageSize":4096,"head":{"txid":"000000000000001a","timestampMs":1700000000123,` +
        `"pages":3,"checksum":"8000000000000000"},"fence":7}\n`,
    );
  });

  test("anything else is refused by name", () => {
    const wrong = ["", "{", "null", "[]", '{"format":1}', '{"format":2,"pageSize":4096}'];
    for (const text of wrong) {
      const decode = () => decodeManifest(Buffer.from(text));
      expect(decode).toThrow(expect.objectContaining({ code: "BACKUP_DAMAGED" }));
    }
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        expect(() => decodeManifest(bytes)).toThrow("manifest");
      }),
    );
  });
});

test("metadata of an object is plain text", () => {
  const at = { txid: 1, timestampMs: 1_700_000_000_123, pages: 1, checksum: 0xabcn };
  expect(metadataOf(at, 0)).toEqual({
    "litestream-timestamp": "2023-11-14T22:13:20.123Z",
    "mergelite-checksum": "0000000000000abc",
  });
  expect(metadataOf(at, 4)).toHaveProperty("mergelite-fence", "4");
  expect(parseChecksum("0000000000000abc")).toBe(0xabcn);
  expect(parseChecksum("abc")).toBeUndefined();
});

test("positions are written as in the names of the files", () => {
  expect(formatPosition({ txid: 255 })).toBe("00000000000000ff");
  expect(parsePosition("ff")).toBe(255);
  expect(parsePosition("00000000000000FF")).toBe(255);
  for (const text of ["", "0", "g", "-1", "20000000000000", "00000000000000001"]) {
    expect(parsePosition(text)).toBeUndefined();
  }
});

describe("options", () => {
  test("what is not one is an error", () => {
    const wrong: object[] = [
      { intervalMs: -1 },
      { intervalMs: 1.5 },
      { pollMs: 0 },
      { stateDir: "" },
      { walBytesMax: 65_536 },
      { interval: 5 },
    ];
    for (const options of wrong) {
      const read = () => readShipOptions(options);
      expect(read).toThrow(expect.objectContaining({ code: "INVALID_OPTION" }));
    }
  });

  test("commits of others are looked for as often as files are shipped", () => {
    expect(readShipOptions({ intervalMs: 250 }).pollMs).toBe(250);
    expect(readShipOptions({ intervalMs: 0 }).pollMs).toBe(1);
  });
});
