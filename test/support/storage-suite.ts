/** What every kind of storage has to do, whatever is behind it. */
import { randomBytes, randomUUID } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { probeConditions } from "../../src/storage/probe.ts";
import type { Body, Storage } from "../../src/storage/storage.ts";

export interface StorageSuite {
  /** Storages of one place: a prefix of their own each, so that runs do not meet. */
  open(prefix: string): Storage | Promise<Storage>;
  /** The same place with credentials that are wrong. */
  openDenied?(prefix: string): Storage | Promise<Storage>;
  /** Bytes of the object that has to go in pieces. @default 24 MiB and a bit */
  readonly largeBytes?: number;
  /** Objects to list. @default 1200 */
  readonly objects?: number;
  /** Puts them there by a shorter way; one byte each. @default they are put, one by one */
  fill?(prefix: string, keys: readonly string[]): void;
  /** Whether all goes with the server, so that nothing has to be deleted. @default false */
  readonly isThrownAway?: boolean;
}

/** Objects, where a storage keeps each in a file. */
export function fillFolder(folder: string, keys: readonly string[]): void {
  for (const key of keys) {
    const path = join(folder, key);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, "x");
  }
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

const bytesOf = async (storage: Storage, key: string, range?: { offset: number; length: number }) =>
  Buffer.concat(await collect((await storage.get(key, range === undefined ? {} : { range })).body));
const keysOf = async (storage: Storage, prefix: string, after = "") =>
  (await collect(storage.list(prefix, { after }))).map(({ key }) => key);

export function describeStorage(name: string, suite: StorageSuite): void {
  describe(name, () => {
    const prefix = `test/${randomUUID()}`;
    let storage: Storage;
    beforeAll(async () => {
      storage = await suite.open(prefix);
    });
    afterAll(async () => {
      const keys: string[] = [];
      const isToBeDeleted = suite.isThrownAway !== true;
      if (isToBeDeleted) for await (const { key } of storage.list("")) keys.push(key);
      while (keys.length > 0) {
        await Promise.all(keys.splice(0, 32).map((key) => storage.delete(key)));
      }
      await storage.close();
    }, 180_000);

    test("gives back what was put, and overwrites", async () => {
      for (const size of [0, 1, 1000, 300_000]) {
        const body = randomBytes(size);
        await storage.put("a/b.bin", body);
        const content = await storage.get("a/b.bin");
        expect(content.bytes).toBe(size);
        expect(Buffer.concat(await collect(content.body)).equals(body)).toBe(true);
      }
    });

    test("reads ranges", async () => {
      const body = randomBytes(70_000);
      await storage.put("range", body);
      const ranges = [
        { offset: 0, length: 1 },
        { offset: 69_999, length: 1 },
        { offset: 100, length: 65_000 },
        { offset: 69_000, length: 5000 },
        { offset: 70_000, length: 10 },
        { offset: 80_000, length: 10 },
      ];
      for (const range of ranges) {
        const expected = body.subarray(range.offset, range.offset + range.length);
        expect((await bytesOf(storage, "range", range)).equals(expected)).toBe(true);
      }
      const content = await storage.get("range", { range: { offset: 5, length: 5 } });
      expect(content.bytes).toBe(70_000);
      await collect(content.body);
    });

    test("says what is missing, and deletes it all the same", async () => {
      await expect(storage.get("no/such")).rejects.toMatchObject({ code: "STORAGE_MISSING" });
      await storage.delete("no/such");
      await storage.put("gone", Buffer.from("x"));
      await storage.delete("gone");
      await expect(storage.get("gone")).rejects.toMatchObject({ code: "STORAGE_MISSING" });
      await storage.put("going", Buffer.from("x"));
      const { body } = await storage.get("going");
      await storage.delete("going");
      // What was asked for before may still come; if it does not, the answer is the same.
      await collect(body).catch((error: unknown) => {
        expect(error).toMatchObject({ code: "STORAGE_MISSING" });
      });
      expect(await keysOf(storage, "no/")).toEqual([]);
    });

    test("puts on the condition that nothing is there, for one of many callers", async () => {
      await probeConditions(storage);
      const bodies = Array.from({ length: 8 }, () => randomBytes(40));
      const won = await Promise.all(bodies.map((body) => storage.putIfAbsent("lease/1", body)));
      expect(won.filter((each) => each)).toHaveLength(1);
      const there = await bytesOf(storage, "lease/1");
      expect(there.equals(bodies[won.indexOf(true)] ?? Buffer.of())).toBe(true);
      expect(await storage.putIfAbsent("lease/1", Buffer.from("late"))).toBe(false);
      expect((await bytesOf(storage, "lease/1")).equals(there)).toBe(true);
    });

    test("keeps metadata where it says so", async () => {
      const metadata = { "litestream-timestamp": "2026-11-21T06:00:00.000Z", fence: "17" };
      await storage.put("metadata", Buffer.from("x"), { metadata });
      const content = await storage.get("metadata");
      await collect(content.body);
      expect(content.metadata).toEqual(storage.keepsMetadata ? metadata : {});
    });

    test("lists by prefix, in order, from any key on", async () => {
      const keys = ["l/a-b", "l/a.b", "l/a/b", "l/a/c/d", "l/aa", "l/b/0001", "m/a"];
      for (const key of keys) await storage.put(key, Buffer.from(key));
      const sorted = keys.slice(0, -1).sort();
      expect(await keysOf(storage, "l/")).toEqual(sorted);
      expect(await keysOf(storage, "l/a")).toEqual(sorted.filter((key) => key.startsWith("l/a")));
      expect(await keysOf(storage, "l/a/")).toEqual(["l/a/b", "l/a/c/d"]);
      for (const [i, key] of sorted.entries()) {
        expect(await keysOf(storage, "l/", key)).toEqual(sorted.slice(i + 1));
      }
      const [first] = await collect(storage.list("l/a"));
      expect(first).toMatchObject({ key: "l/a-b", bytes: 5 });
      expect(Math.abs((first?.modifiedMs ?? 0) - Date.now())).toBeLessThan(24 * 3600 * 1000);
    });

    test("lists more than a page", async () => {
      const count = suite.objects ?? 1200;
      const keys = Array.from({ length: count }, (_, i) => `many/${String(i).padStart(6, "0")}`);
      const left = [...keys];
      const put = async () => {
        for (let key = left.pop(); key !== undefined; key = left.pop()) {
          await storage.put(key, Buffer.from("x"));
        }
      };
      if (suite.fill === undefined) await Promise.all(Array.from({ length: 8 }, put));
      else suite.fill(prefix, keys);
      expect(await keysOf(storage, "many/")).toEqual(keys);
      expect(await keysOf(storage, "many/", keys[count - 3])).toEqual(keys.slice(-2));
    }, 120_000);

    test("carries a large object in pieces, in bounded memory", async () => {
      const bytes = suite.largeBytes ?? 24 * 1024 * 1024 + 12_345;
      const piece = randomBytes(100_000);
      async function* pieces() {
        for (let at = 0; at < bytes; at += piece.length) {
          yield piece.subarray(0, Math.min(piece.length, bytes - at));
        }
      }
      const body: Body = pieces;
      await storage.put("large", body);
      const content = await storage.get("large");
      expect(content.bytes).toBe(bytes);
      let at = 0;
      for await (const got of content.body) {
        for (let done = 0; done < got.length; ) {
          const expected = piece
            .subarray((at + done) % piece.length)
            .subarray(0, got.length - done);
          expect(Buffer.compare(got.subarray(done, done + expected.length), expected)).toBe(0);
          done += expected.length;
        }
        at += got.length;
      }
      expect(at).toBe(bytes);
      const middle = await bytesOf(storage, "large", { offset: 9_000_000, length: 10 });
      expect(Buffer.compare(middle, piece.subarray(0, 10))).toBe(0);
    }, 120_000);

    test("leaves the object as it was when what is put fails half-way", async () => {
      await storage.put("half", Buffer.from("before"));
      const broken = async function* () {
        for (let i = 0; i < 20; i++) yield randomBytes(1_000_000);
        throw new RangeError("the disk is gone");
      };
      await expect(storage.put("half", broken)).rejects.toThrow("the disk is gone");
      expect((await bytesOf(storage, "half")).toString()).toBe("before");
      expect(await keysOf(storage, "half")).toEqual(["half"]);
    });

    test("reads many objects at a time, and stops reading when asked to", async () => {
      const body = randomBytes(1_000_000);
      await storage.put("shared", body);
      const contents = await Promise.all(
        Array.from({ length: 20 }, () => storage.get("shared", {})),
      );
      for (const [i, content] of contents.entries()) {
        if (i % 2 === 0) expect(Buffer.concat(await collect(content.body)).equals(body)).toBe(true);
        else for await (const _ of content.body) break;
      }
      expect((await bytesOf(storage, "shared")).equals(body)).toBe(true);
    });

    test("ends when the signal says so", async () => {
      const reason = new Error("enough");
      const signal = AbortSignal.abort(reason);
      await expect(storage.put("signal", Buffer.from("x"), { signal })).rejects.toBe(reason);
      await expect(storage.get("signal", { signal })).rejects.toBe(reason);
      await expect(collect(storage.list("", { signal }))).rejects.toBe(reason);
    });

    test("takes no keys that mean something else somewhere", async () => {
      for (const key of ["", "/a", "a/", "a//b", "../a", "a/../b", ".a", "a b", "a\\b", "ä"]) {
        await expect(storage.put(key, Buffer.from("x"))).rejects.toThrow(TypeError);
        await expect(storage.get(key)).rejects.toThrow(TypeError);
      }
    });

    test.skipIf(suite.openDenied === undefined)("says when it is not let in", async () => {
      const denied = await suite.openDenied?.(prefix);
      if (denied === undefined) return;
      const error = { code: "STORAGE_DENIED" };
      await expect(denied.put("denied", Buffer.from("x"))).rejects.toMatchObject(error);
      await expect(denied.get("shared")).rejects.toMatchObject(error);
      await expect(collect(denied.list(""))).rejects.toMatchObject(error);
      await denied.close();
    });

    test("tells no secrets", async () => {
      expect(storage.name).toMatch(/^[a-z0-9]+:\/\//);
      expect(storage.name).not.toMatch(/secret|pass|key=|@.*@/i);
    });
  });
}
