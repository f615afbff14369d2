/** The storage that misbehaves keeps the promises of storages, and does what it says. */
import { randomBytes } from "node:crypto";
import { describe, expect, test } from "vitest";
import { bytesOf } from "../../src/storage/driver.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { Chance } from "../simulation/random.ts";
import { Faults, faultStorage } from "../support/fault-storage.ts";
import { memoryStorage } from "../support/memory-storage.ts";
import { describeStorage } from "../support/storage-suite.ts";

const read = async (storage: Storage, key: string) => bytesOf((await storage.get(key)).body);
const quick = { pauseMs: 0.1, pauseMsMax: 0.1, attemptsMax: 30 };

describe("with errors all the time", () => {
  const options = { error: 0.1, lostAnswer: 0.1, torn: 0.1, brokenRead: 0.02 };
  const faults = new Faults({ random: new Chance(1).next, ...options });
  describeStorage("faults", {
    open: () => faultStorage(memoryStorage(), faults, quick),
    largeBytes: 10_000_000,
    objects: 1100,
  });
  test("there were faults", () => expect(faults.happened).toBeGreaterThan(100));
});

test("what is down answers nothing, and heals", async () => {
  const faults = new Faults({ random: new Chance(1).next });
  const storage = faultStorage(memoryStorage(), faults, { ...quick, attemptsMax: 2 });
  faults.down = true;
  const unavailable = { code: "STORAGE_UNAVAILABLE" };
  await expect(storage.put("a", Buffer.from("x"))).rejects.toMatchObject(unavailable);
  await expect(read(storage, "a")).rejects.toMatchObject(unavailable);
  faults.heal();
  await storage.put("a", Buffer.from("x"));
  expect(Buffer.from(await read(storage, "a")).toString()).toBe("x");
});

test("a torn put leaves nothing, or a part of it with a bad server", async () => {
  const inner = memoryStorage();
  const faults = new Faults({ random: new Chance(3).next, torn: 1 });
  const storage = faultStorage(inner, faults, { ...quick, attemptsMax: 1 });
  const bytes = randomBytes(1000);
  await expect(storage.put("a", bytes)).rejects.toMatchObject({ code: "STORAGE_UNAVAILABLE" });
  await expect(read(inner, "a")).rejects.toMatchObject({ code: "STORAGE_MISSING" });
  faults.tears = 1;
  await expect(storage.put("a", bytes)).rejects.toMatchObject({ code: "STORAGE_UNAVAILABLE" });
  const torn = await read(inner, "a");
  expect(torn.length).toBeLessThan(1000);
  expect(Buffer.compare(torn, bytes.subarray(0, torn.length))).toBe(0);
});

test("a put arrives once more, and what is new is seen late", async () => {
  const { VirtualClock } = await import("./transport/virtual-clock.ts");
  const clock = new VirtualClock();
  const inner = memoryStorage();
  const faults = new Faults({ random: () => 0.5, clock, duplicate: 1, lateMs: 4000 });
  const storage = faultStorage(inner, faults, quick);
  await storage.put("a", Buffer.from("old"));
  await expect(read(storage, "a")).rejects.toMatchObject({ code: "STORAGE_MISSING" });
  await inner.put("a", Buffer.from("new"));
  await clock.advance(3000);
  expect(Buffer.from(await read(storage, "a")).toString()).toBe("old");
});
