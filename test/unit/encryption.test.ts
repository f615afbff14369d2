/** Storages that keep what goes there from those who run them. */
import { createCipheriv, createHmac, hkdfSync, randomBytes } from "node:crypto";
import { describe, expect, test } from "vitest";
import { acquireLease } from "../../src/ship/lease.ts";
import { bytesOf } from "../../src/storage/driver.ts";
import { encryptedStorage, plainStorage } from "../../src/storage/encrypted.ts";
import {
  type EncryptionKeys,
  encryptedBytesOf,
  encryptedHeaderBytes,
  KeyRing,
  parseEncryptionKeys,
  plainBytesOf,
  sealedSegmentBytes,
  segmentBytes,
} from "../../src/storage/encryption.ts";
import { openStorage } from "../../src/storage/open.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { temporaryFolder } from "../support/folder.ts";
import { memoryStorage } from "../support/memory-storage.ts";
import { textOf } from "../support/source.ts";
import { describeStorage } from "../support/storage-suite.ts";

const folder = temporaryFolder();
const newKey = () => new Uint8Array(randomBytes(32));
const keys: EncryptionKeys = [newKey()];
const read = async (storage: Storage, key: string, range?: { offset: number; length: number }) =>
  Buffer.from(await bytesOf((await storage.get(key, range ? { range } : {})).body));

describeStorage("encrypted", {
  open: () => encryptedStorage(memoryStorage(), keys),
  objects: 50,
});

const damaged = { code: "ENCRYPTION_DAMAGED" };

async function sealed(bytes: number) {
  const inner = memoryStorage();
  const storage = encryptedStorage(inner, keys);
  const plain = randomBytes(bytes);
  await storage.put("a", plain);
  return { inner, storage, plain, raw: await read(inner, "a") };
}

describe("an encrypted object", () => {
  test("has its length and its ranges, whatever they are", async () => {
    const sizes = [0, 1, segmentBytes - 1, segmentBytes, segmentBytes + 1, 3 * segmentBytes + 5];
    for (const bytes of sizes) {
      const { storage, inner, plain, raw } = await sealed(bytes);
      expect(raw.length).toBe(encryptedBytesOf(bytes));
      expect(plainBytesOf(raw.length)).toBe(bytes);
      if (bytes > 20) expect(raw.includes(plain.subarray(0, 20))).toBe(false);
      for await (const object of storage.list("")) expect(object.bytes).toBe(bytes);
      for (let i = 0; i < 60; i++) {
        const offset = Math.floor(Math.random() * (bytes + 2));
        const length = Math.floor(Math.random() * (bytes + 2 - offset)) + (i % 2);
        const content = await storage.get("a", { range: { offset, length } });
        expect(content.bytes).toBe(bytes);
        const got = Buffer.from(await bytesOf(content.body));
        expect(got.equals(plain.subarray(offset, offset + length)), `${offset}+${length}`).toBe(
          true,
        );
      }
      expect((await read(storage, "a")).equals(plain)).toBe(true);
      await inner.close();
    }
  });

  test("shows when any of its bytes is another, and when any are missing or added", async () => {
    const { inner, storage, raw } = await sealed(2 * segmentBytes + 100);
    const expectDamaged = async (bytes: Uint8Array, code = "ENCRYPTION_DAMAGED") => {
      await inner.put("a", bytes);
      await expect(read(storage, "a")).rejects.toMatchObject({ code });
    };
    const places = [16, 47, 48, 5000, encryptedHeaderBytes + sealedSegmentBytes, raw.length - 1];
    for (const at of places) {
      const copy = Buffer.from(raw);
      copy.writeUInt8(copy.readUInt8(at) ^ 1, at);
      await expectDamaged(copy);
    }
    const border = encryptedHeaderBytes + sealedSegmentBytes;
    for (const end of [raw.length - 1, border, border * 2 - 48, border + 16, 64, 50]) {
      await expectDamaged(raw.subarray(0, end));
    }
    await expectDamaged(raw.subarray(0, 3), "ENCRYPTION_PLAIN");
    await expectDamaged(Buffer.concat([raw, raw.subarray(-16)]));
    await expectDamaged(Buffer.concat([raw, Buffer.alloc(100)]));
    // Segments in another order.
    const [head, one, two] = [0, 48, border].map((at, i) =>
      raw.subarray(at, i === 0 ? 48 : at + sealedSegmentBytes),
    );
    const rest = raw.subarray(border + sealedSegmentBytes);
    await expectDamaged(Buffer.concat([head, two, one, rest].map((each) => each ?? raw)));
    // The end of a range is authentic only with the object's; its bytes are always.
    await inner.put("a", raw.subarray(0, border));
    const toTheEnd = read(storage, "a", { offset: 10, length: segmentBytes });
    await expect(toTheEnd).rejects.toMatchObject(damaged);
  });

  test("is nobody else's", async () => {
    const { inner, storage, raw } = await sealed(1000);
    await inner.put("b", raw);
    await expect(read(storage, "b")).rejects.toMatchObject(damaged);
    const other = encryptedStorage(inner, [newKey()]);
    await expect(read(other, "a")).rejects.toMatchObject({ code: "ENCRYPTION_KEY" });
    await expect(read(plainStorage(inner), "a")).rejects.toMatchObject({ code: "ENCRYPTION_KEY" });
  });

  test("never looks the same, also when an upload is begun again", async () => {
    const { inner, storage, plain, raw } = await sealed(1000);
    await storage.put("a", plain);
    const again = await read(inner, "a");
    expect(again.equals(raw)).toBe(false);
    expect(again.subarray(16, 48).equals(raw.subarray(16, 48))).toBe(false);
  });

  test("is not what is not encrypted", async () => {
    const { inner, storage } = await sealed(1);
    const plain = { code: "ENCRYPTION_PLAIN" };
    for (const bytes of [0, 5, 64, 1000]) {
      await inner.put("plain", Buffer.alloc(bytes, 7));
      await expect(read(storage, "plain")).rejects.toMatchObject(plain);
    }
    await inner.put("plain", Buffer.alloc(200_000, 7));
    const middle = read(storage, "plain", { offset: 100_000, length: 5 });
    await expect(middle).rejects.toMatchObject(plain);
    // And the reverse: nothing stops who has no key from reading what is plain.
    const unkeyed = plainStorage(inner);
    expect((await read(unkeyed, "plain")).length).toBe(200_000);
    await inner.put("plain", Buffer.from("abc"));
    expect((await read(unkeyed, "plain")).toString()).toBe("abc");
  });

  test("is read with old keys after a rotation, and written with the new one", async () => {
    const { inner, plain } = await sealed(1000);
    const fresh = newKey();
    const rotated = encryptedStorage(inner, [fresh, keys[0]]);
    expect((await read(rotated, "a")).equals(plain)).toBe(true);
    await rotated.put("a", plain);
    expect((await read(encryptedStorage(inner, [fresh]), "a")).equals(plain)).toBe(true);
  });

  test("leaves no body unread when its header cannot be read", async () => {
    const { inner, storage } = await sealed(3 * segmentBytes);
    let begun = 0;
    let ended = 0;
    const get = inner.get.bind(inner);
    inner.get = async (key, options) => {
      if (options?.range?.offset === 0) throw new Error("no header");
      const content = await get(key, options);
      async function* body() {
        begun++;
        try {
          yield* content.body;
        } finally {
          ended++;
        }
      }
      return { ...content, body: body() };
    };
    const range = { offset: segmentBytes, length: 10 };
    await expect(read(storage, "a", range)).rejects.toThrow("no header");
    expect([begun, ended]).toEqual([1, 1]);
  });

  test("may be a lease", async () => {
    const inner = memoryStorage();
    const lease = await acquireLease(encryptedStorage(inner, keys));
    await lease.renew();
    const second = acquireLease(encryptedStorage(inner, keys), { wait: false });
    await expect(second).rejects.toMatchObject({ code: "LEASE_HELD" });
  });
});

describe("encryption keys", () => {
  test("come from the environment or the options, and are never ignored", async () => {
    const url = `file://${folder.file()}`;
    const text = Buffer.from(keys[0]).toString("base64");
    const env = { MERGELITE_ENCRYPTION_KEYS: ` ${text}, ${Buffer.from(newKey()).toString("hex")}` };
    const storage = await openStorage(url, { env });
    await storage.put("a", Buffer.from("secret"));
    expect(
      (await read(await openStorage(url, { encryptionKeys: keys, env: {} }), "a")).length,
    ).toBe(6);
    const without = await openStorage(url, { env: {} });
    await expect(read(without, "a")).rejects.toMatchObject({ code: "ENCRYPTION_KEY" });
    for (const wrong of ["", "abc", `${text},`, text.slice(1), `${text}=`]) {
      const error: unknown = await openStorage(url, {
        env: { MERGELITE_ENCRYPTION_KEYS: wrong },
      }).catch((reason: unknown) => reason);
      expect(error).toMatchObject({ code: "INVALID_OPTION" });
      if (wrong !== "") expect(String(error)).not.toContain(wrong);
    }
  });

  test("are 32 bytes, and at most 64", () => {
    expect(() => new KeyRing([new Uint8Array(31)])).toThrow(TypeError);
    const [first, ...rest] = Array.from({ length: 65 }, newKey);
    expect(() => new KeyRing([first ?? newKey(), ...rest])).toThrow(TypeError);
    expect(parseEncryptionKeys("00".repeat(32))).toEqual([Buffer.alloc(32)]);
  });
});

/** The format, written from its description alone. */
test("is written as the format says", () => {
  const key = Buffer.from(Array.from({ length: 32 }, (_, i) => i));
  const salt = Buffer.from(Array.from({ length: 32 }, (_, i) => 255 - i));
  const id = createHmac("sha256", key).update("mergelite key id").digest().subarray(0, 8);
  const header = Buffer.concat([Buffer.from("6d676c6372707401", "hex"), id, salt]);
  const own = Buffer.from(hkdfSync("sha256", key, salt, "mergelite object", 32));
  const cipher = createCipheriv("aes-256-gcm", own, Buffer.from("000000000000000000000001", "hex"));
  cipher.setAAD(Buffer.concat([header, Buffer.from("ltx/0/a")]));
  const body = Buffer.concat([cipher.update("golden"), cipher.final(), cipher.getAuthTag()]);
  const golden = Buffer.concat([header, body]).toString("hex");
  const made = new KeyRing([key]).seal({ key: "ltx/0/a", name: "" }, salt);
  const segment = made.segments.seal(0, Buffer.from("golden"), true);
  expect(Buffer.concat([made.header, segment]).toString("hex")).toBe(golden);
  expect(textOf("docs/format.md").replace(/\s/g, "")).toContain(golden);
  const opened = new KeyRing([newKey(), key]).open({ key: "ltx/0/a", name: "" }, made.header);
  expect(Buffer.from(opened.open(0, segment, true)).toString()).toBe("golden");
  expect(() => opened.open(0, segment, false)).toThrow(expect.objectContaining(damaged));
  expect(() => opened.open(1, segment, true)).toThrow(expect.objectContaining(damaged));
});
