/** Shippers that want the same place: one ships, the others wait, and nothing is mixed. */
import { cpSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { type Clock, systemClock } from "../../src/clock.ts";
import { Place } from "../../src/ship/place.ts";
import { bytesOf } from "../../src/storage/driver.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { churn } from "../support/backup.ts";
import { temporaryFolder } from "../support/folder.ts";
import { memoryStorage } from "../support/memory-storage.ts";
import { eager, expectSame, openWal, ship, watchShipper } from "../support/ship.ts";

const folder = temporaryFolder();
const options = { ...eager, leaseTtlMs: 1000 };
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const keysOf = async (storage: Storage, prefix: string) => {
  const keys = [];
  for await (const { key } of storage.list(prefix)) keys.push(key);
  return keys;
};

/** However long the disk of a busy machine takes: no lease ends by itself. */
const stillClock: Clock = { ...systemClock, now: () => 1_800_000_000_000, steady: () => 0 };

/** No faster than this process gets its turns: a lease that is renewed in time does not end. */
function turnClock(): Clock & Disposable {
  let nowMs = 1_800_000_000_000;
  const ticks = setInterval(() => {
    nowMs += 10;
  }, 10);
  const now = () => nowMs;
  return { ...systemClock, now, steady: now, [Symbol.dispose]: () => clearInterval(ticks) };
}

function started(storage: Storage, clock: Clock = systemClock) {
  const file = folder.file();
  const db = openWal(file);
  const shipper = ship(db, storage, { ...options, clock });
  return { file, db, shipper, seen: watchShipper(shipper) };
}

describe("two shippers on one place", () => {
  test("the second waits until the first has closed, and ships all it has", async () => {
    const storage = memoryStorage();
    const first = started(storage, stillClock);
    first.db.exec(churn(1));
    await first.shipper.flush();
    const second = started(storage, stillClock);
    second.db.exec(churn(2));
    const labels: string[] = [];
    second.shipper.on("waiting", ({ label }) => labels.push(label));
    const flushed = second.shipper.flush();
    first.db.exec(churn(3));
    await sleep(300);
    await first.shipper.flush();
    await expectSame(storage, first.db, `${first.file}.copy`);
    expect(labels.length).toBeGreaterThan(0);
    await first.shipper.close();
    await flushed;
    await expectSame(storage, second.db, `${second.file}.copy`);
    expect(second.seen.rebases.map(({ reason }) => reason)).toEqual(["storage"]);
    expect(first.seen.failures).toEqual([]);
    await second.shipper.close();
    // It was another one's in between: what its folder knows of the place is not true any more.
    const again = ship(first.db, storage, { ...options, clock: stillClock });
    first.db.exec(churn(4));
    await again.flush();
    await expectSame(storage, first.db, `${first.file}.copy`);
    await again.close();
  });

  test("the second takes over from one that is silent, which notices before it says so", async () => {
    const storage = memoryStorage();
    const first = started(storage);
    first.db.exec(churn(1));
    const { txid } = await first.shipper.flush();
    const second = started(storage);
    second.db.exec(churn(2));
    await second.shipper.flush();
    // The first was idle for longer than its lease lasts.
    first.db.exec(churn(3));
    const lost = { code: "LEASE_LOST" };
    await expect(first.shipper.flush()).rejects.toMatchObject(lost);
    expect(first.shipper.failure).toMatchObject(lost);
    await expect(first.shipper.flush()).rejects.toMatchObject(lost);
    await expect(first.shipper.close()).rejects.toMatchObject(lost);
    // A file of the first one that was still on its way does no harm.
    const name = (txid + 1).toString(16).padStart(16, "0");
    await storage.put(`ltx/0/${name}-${name}.ltx`, Buffer.from("late"));
    second.db.exec(churn(4));
    await second.shipper.flush();
    await expectSame(storage, second.db, `${second.file}.copy`);
    await second.shipper.close();
  });

  test("one that holds its place does so in idle hours, and hears when it is lost", async () => {
    const storage = memoryStorage();
    const file = folder.file();
    using clock = turnClock();
    const first = ship(openWal(file), storage, { ...options, clock, holdLease: true });
    await first.flush();
    const second = started(storage, clock);
    const endMs = clock.now() + 2500;
    while (clock.now() < endMs) await sleep(50);
    expect(second.shipper.metrics().files).toBe(0);
    expect(first.failure).toBeUndefined();
    const lost = new Promise<void>((resolve) => {
      first.on("failed", ({ error }) => {
        expect(error).toMatchObject({ code: "LEASE_LOST" });
        resolve();
      });
    });
    // Somebody else has put the numbers that it would put next.
    const next = (await keysOf(storage, "mergelite/lease/")).at(-1) ?? "";
    const number = Number.parseInt(next.slice(-16), 16);
    const record = Buffer.from(await bytesOf((await storage.get(next)).body)).toString();
    const foreign = Buffer.from(record.replace(/"holding":"[^"]*"/, '"holding":"other"'));
    for (let ahead = 1; ahead <= 3; ahead++) {
      const key = `mergelite/lease/${(number + ahead).toString(16).padStart(16, "0")}`;
      await storage.putIfAbsent(key, foreign);
    }
    await lost;
    expect(first.failure).toMatchObject({ code: "LEASE_LOST" });
    await first.close().catch(() => {});
    await second.shipper.close().catch(() => {});
  });

  test("one that waits can be closed", async () => {
    const storage = memoryStorage();
    const first = started(storage, stillClock);
    await first.shipper.flush();
    const second = started(storage, stillClock);
    await new Promise<void>((resolve) => second.shipper.on("waiting", () => resolve()));
    await expect(second.shipper.close()).rejects.toMatchObject({ code: "LEASE_HELD" });
    first.db.exec(churn(1));
    await first.shipper.flush();
    await first.shipper.close();
  });
});

test("objects carry the number of the lease", async () => {
  const storage = memoryStorage();
  const { db, shipper } = started(storage);
  db.exec(churn(1));
  await shipper.flush();
  const [key = ""] = await keysOf(storage, "ltx/");
  expect((await storage.get(key)).metadata["mergelite-fence"]).toBe("1");
  await shipper.close();
});

test("without a lease nothing is asked for", async () => {
  const storage = memoryStorage();
  const db = openWal(folder.file());
  const shipper = ship(db, storage, { ...options, unsafeNoLease: true });
  await shipper.flush();
  await shipper.close();
  expect(await keysOf(storage, "mergelite/lease/")).toEqual([]);
});

test("who comes back after a crash is known, and nobody else", async () => {
  const storage = memoryStorage();
  const state = join(folder.path, "state");
  // What a shipper has locked.
  mkdirSync(state);
  writeFileSync(join(state, "lock"), "");
  const lease = { leaseTtlMs: 60_000, unsafeNoLease: false, holdLease: false };
  const settings = { ...lease, clock: systemClock, onLost: () => {} };
  const place = (name = state) => {
    return new Place(storage, { ...settings, folder: name, onWait: () => {} });
  };
  const first = place();
  await first.take({});
  await first.remember();
  expect(first).toMatchObject({ isOurs: true, skipped: 0, fence: 1 });
  const again = place();
  await again.take({});
  expect(again).toMatchObject({ isOurs: true, skipped: 0, fence: 2 });
  // It crashed before it remembered: then it is not sure.
  const third = place();
  await third.take({});
  expect(third).toMatchObject({ isOurs: false, skipped: 0, fence: 3 });
  // Neither one with another folder, nor one with a copy of it.
  cpSync(state, `${state}-copy`, { recursive: true });
  for (const name of [`${state}-other`, `${state}-copy`]) {
    const signal = AbortSignal.timeout(50);
    await expect(place(name).take({ signal })).rejects.toThrow(/timeout/);
  }
});
