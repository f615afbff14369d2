/** What storages do on a network that fails: through a proxy in front of their servers. */
import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { bytesOf } from "../../src/storage/driver.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { TcpProxy } from "./tcp-proxy.ts";

export interface NetworkOptions {
  readonly attemptsMax: number;
  readonly pauseMs: number;
  readonly timeoutMs: number;
}

export interface NetworkSuite {
  /** The server's. */
  readonly port: number;
  /** The same server through another port, for whoever waits and tries as it is told. */
  open(port: number, options: NetworkOptions): Storage | Promise<Storage>;
  /** Whether data has connections of its own, which are cut as well. @default false */
  readonly hasDataConnections?: boolean;
  /** Connections are cut after so many bytes, at most. @default 2 MB */
  readonly cutBytesMax?: number;
}

const before = randomBytes(3_000_000);
const after = randomBytes(3_000_000);
const patient = { attemptsMax: 12, pauseMs: 1, timeoutMs: 10_000 };
const impatient = { attemptsMax: 2, pauseMs: 1, timeoutMs: 1500 };

/** An upload that was cut may end late, on the server, and put the same bytes there once more. */
async function read(storage: Storage, key: string, retries = 3): Promise<Buffer> {
  try {
    return Buffer.from(await bytesOf((await storage.get(key)).body));
  } catch (error) {
    if (retries === 0 || !String(error).includes("changed while it was read")) throw error;
    return await read(storage, key, retries - 1);
  }
}

export function describeNetwork(name: string, suite: NetworkSuite): void {
  describe(`${name}, when the network`, () => {
    let proxy: TcpProxy;
    beforeAll(async () => {
      proxy = await TcpProxy.start(suite.port);
      proxy.cutBytesMax = suite.cutBytesMax ?? proxy.cutBytesMax;
    });
    afterAll(() => proxy.close());

    test("breaks in the middle of everything, goes on", async () => {
      const storage = await suite.open(proxy.port, patient);
      const keys: string[] = [];
      for (let i = 0; i < 3; i++) {
        const key = `net/${i}`;
        keys.push(key);
        proxy.cuts = 3;
        await storage.put(key, i % 2 === 0 ? before : after);
        proxy.cuts = 3;
        expect((await read(storage, key)).equals(i % 2 === 0 ? before : after)).toBe(true);
        proxy.cuts = 2;
        const listed: string[] = [];
        for await (const object of storage.list("net/")) listed.push(object.key);
        expect(listed).toEqual(keys);
        proxy.cuts = 2;
        await storage.delete(`net/none-${i}`);
        // Of one caller each: whether it was put is known even if the answer was lost.
        proxy.cuts = 2;
        expect(await storage.putIfAbsent(`lease/${i}`, Buffer.from(`first ${i}`))).toBe(true);
        expect(await storage.putIfAbsent(`lease/${i}`, Buffer.from("second"))).toBe(false);
      }
      proxy.cuts = 0;
      expect(proxy.happened).toBeGreaterThan(0);
      expect(proxy.dataHappened > 0).toBe(suite.hasDataConnections === true);
      await storage.close();
    }, 120_000);

    test("breaks off an upload, leaves one object or the other, whole", async () => {
      const direct = await suite.open(suite.port, patient);
      const storage = await suite.open(proxy.port, { ...impatient, attemptsMax: 1 });
      for (let i = 0; i < 3; i++) {
        await direct.put("half", before);
        proxy.cuts = 1;
        const done = await storage.put("half", after).then(
          () => true,
          () => false,
        );
        const there = await read(direct, "half");
        expect(there.equals(after) || (!done && there.equals(before))).toBe(true);
      }
      proxy.cuts = 0;
      const listed: string[] = [];
      for await (const { key } of direct.list("half")) listed.push(key);
      expect(listed).toEqual(["half"]);
      await Promise.all([direct.close(), storage.close()]);
    }, 60_000);

    test("is silent, gives up, and is there again afterwards", async () => {
      const storage = await suite.open(proxy.port, impatient);
      await storage.put("silent", Buffer.from("before"));
      proxy.stalled = true;
      const unavailable = { code: "STORAGE_UNAVAILABLE" };
      await expect(storage.put("silent", Buffer.from("after"))).rejects.toMatchObject(unavailable);
      await expect(read(storage, "silent")).rejects.toMatchObject(unavailable);
      proxy.stalled = false;
      proxy.cut();
      await storage.put("silent", Buffer.from("later"));
      expect((await read(storage, "silent")).toString()).toBe("later");
      await storage.close();
    }, 60_000);

    test("is slow, waits", async () => {
      const storage = await suite.open(proxy.port, patient);
      proxy.slowMs = 5;
      await storage.put("slow", before);
      expect((await read(storage, "slow")).equals(before)).toBe(true);
      proxy.slowMs = 0;
      await storage.close();
    }, 60_000);
  });
}
