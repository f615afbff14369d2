/** A lease on a place: taken, kept, waited for, given back, lost. */
import { describe, expect, test } from "vitest";
import { acquireLease, type LeaseWait, unguardedLease } from "../../../src/ship/lease.ts";
import {
  decodeLease,
  encodeLease,
  leaseKey,
  leaseNumberOf,
  standingOf,
} from "../../../src/ship/lease-rules.ts";
import { ManagedStorage } from "../../../src/storage/managed.ts";
import { Chance } from "../../simulation/random.ts";
import { Faults, faultStorage } from "../../support/fault-storage.ts";
import { MemoryDriver } from "../../support/memory-storage.ts";
import { textOf } from "../../support/source.ts";
import { VirtualClock } from "../transport/virtual-clock.ts";

const ttlMs = 10_000;

function place() {
  const clock = new VirtualClock();
  const faults = new Faults({ random: new Chance(1).next, clock });
  const driver = new MemoryDriver();
  const storage = faultStorage(new ManagedStorage(driver), faults, { attemptsMax: 2, pauseMs: 1 });
  const acquire = (options = {}) => acquireLease(storage, { ttlMs, clock, ...options });
  const count = () => Object.values(faults.requests).reduce((sum, each) => sum + each);
  const row = () =>
    [...driver.objects.keys()].filter((key) => key.startsWith("mergelite/lease/")).sort();
  return { clock, faults, driver, storage, acquire, count, row };
}

const lost = { code: "LEASE_LOST" };

describe("a lease", () => {
  test("costs nothing while nobody asks, and one put when half of it is over", async () => {
    const { clock, acquire, count, faults } = place();
    const lease = await acquire();
    expect(lease).toMatchObject({ fence: 1, before: "none", leftMs: ttlMs });
    const before = count();
    await clock.advance(ttlMs * 0.49);
    for (let i = 0; i < 100; i++) await lease.confirm();
    expect(count()).toBe(before);
    await clock.advance(ttlMs * 0.02);
    const { put } = faults.requests;
    for (let i = 0; i < 100; i++) await lease.confirm();
    expect(faults.requests.put).toBe(put + 1);
    expect(count()).toBe(before + 1);
    expect(lease.leftMs).toBe(ttlMs);
    // Idle for a day: it ends, and goes on, since nobody wanted it.
    await clock.advance(24 * 3600 * 1000);
    expect(count()).toBe(before + 1);
    expect(lease.leftMs).toBe(0);
    await lease.confirm();
    expect(lease).toMatchObject({ fence: 1, leftMs: ttlMs });
  });

  test("is waited for, taken over after its end, and lost by who had it", async () => {
    const { clock, acquire } = place();
    const first = await acquire({ label: "first" });
    const waits: LeaseWait[] = [];
    let second: Awaited<ReturnType<typeof acquire>> | undefined;
    void acquire({ onWait: (wait: LeaseWait) => waits.push(wait) }).then((lease) => {
      second = lease;
    });
    await clock.advance(ttlMs * 0.6);
    await first.confirm();
    await clock.advance(ttlMs * 0.9);
    expect(second).toBeUndefined();
    expect(waits.map(({ label }) => label)).toEqual(["first", "first"]);
    await clock.advance(ttlMs * 0.5);
    expect(second).toMatchObject({ fence: 3, before: "expired" });
    expect(first.signal.aborted).toBe(false);
    await expect(first.confirm()).rejects.toMatchObject(lost);
    expect(first.signal.reason).toMatchObject(lost);
    await expect(first.renew()).rejects.toMatchObject(lost);
    await second?.confirm();
  });

  test("that is given back is free at once", async () => {
    const { acquire, clock } = place();
    const first = await acquire();
    await expect(acquire({ wait: false })).rejects.toMatchObject({ code: "LEASE_HELD" });
    await first.release();
    await first.release();
    await expect(first.confirm()).rejects.toMatchObject({ code: "CLOSED" });
    const waiting = acquire();
    await clock.advance(0);
    expect(await waiting).toMatchObject({ fence: 3, before: "released" });
  });

  test("of the same holder is taken over at once", async () => {
    const { acquire } = place();
    const first = await acquire({ holder: "h" });
    const second = await acquire({ holder: "h" });
    expect(second).toMatchObject({ fence: 2, before: "own" });
    await expect(first.renew()).rejects.toMatchObject(lost);
  });

  test("stays valid while the storage is away, and not longer", async () => {
    const { clock, acquire, faults } = place();
    const lease = await acquire();
    faults.down = true;
    await clock.advance(ttlMs * 0.9);
    await lease.confirm();
    await clock.advance(ttlMs * 0.2);
    const confirmed = lease.confirm();
    confirmed.catch(() => {});
    await clock.advance(100);
    await expect(confirmed).rejects.toMatchObject({ code: "STORAGE_UNAVAILABLE" });
    faults.heal();
    await lease.confirm();
    expect(lease.leftMs).toBe(ttlMs);
  });

  test("counts from the put that others saw when answers are lost", async () => {
    const { clock, acquire, faults } = place();
    const lease = await acquire();
    await clock.advance(ttlMs * 0.6);
    faults.lostAnswer = 1;
    const renewed = lease.renew();
    renewed.catch(() => {});
    await clock.advance(100);
    await expect(renewed).rejects.toMatchObject({ code: "STORAGE_UNAVAILABLE" });
    // Number 2 is there. What the next renewal gives must not count as number 2's.
    await clock.advance(ttlMs * 0.2);
    faults.heal();
    const other = acquire({ wait: false });
    await expect(other).rejects.toMatchObject({ code: "LEASE_HELD" });
    await lease.renew();
    expect(await acquire({ wait: false }).catch(() => "held")).toBe("held");
    expect(lease.leftMs).toBe(ttlMs);
    const { fence } = lease;
    await lease.release();
    expect((await acquire()).fence).toBe(fence + 4);
  });

  test("leaves few objects behind", async () => {
    const { acquire, row } = place();
    for (let holding = 0; holding < 40; holding++) {
      const lease = await acquire();
      for (let i = 0; i < 12; i++) await lease.renew();
      await lease.release();
    }
    expect(row().length).toBeLessThan(80);
  });

  test("stops waiting when told to", async () => {
    const { acquire, clock } = place();
    await acquire();
    const reason = new Error("enough");
    const controller = new AbortController();
    const waiting = acquire({ signal: controller.signal });
    waiting.catch(() => {});
    await clock.advance(100);
    controller.abort(reason);
    await expect(waiting).rejects.toBe(reason);
  });

  test("is not taken where conditions are ignored, unless the caller answers for it", async () => {
    const { driver, clock } = place();
    const put = driver.put.bind(driver);
    driver.put = (key, body, options) => put(key, body, { ...options, ifAbsent: false });
    const storage = new ManagedStorage(driver);
    const unsafe = { code: "STORAGE_UNSAFE" };
    await expect(acquireLease(storage, { clock })).rejects.toMatchObject(unsafe);
    const lease = unguardedLease();
    await lease.confirm();
    expect(lease.fence).toBe(0);
    await lease.release();
    await expect(lease.confirm()).rejects.toMatchObject({ code: "CLOSED" });
  });

  test("is written as the format says", () => {
    const text =
      '{"format":1,"holder":"a","holding":"b","fence":17,"ttlMs":60000,"released":false,' +
      '"label":"host, process 7","nonce":"c"}\n';
    const record = decodeLease(Buffer.from(text), "k");
    expect(record).toMatchObject({ holder: "a", holding: "b", fence: 17, nonce: "c" });
    const { nonce, ...rest } = record;
    expect(Buffer.from(encodeLease({ ...rest, nonce })).toString()).toBe(text);
    expect(textOf("docs/format.md")).toContain(text);
  });

  test("that nobody can read is nobody's to take", async () => {
    const { acquire, storage } = place();
    const failed = { code: "STORAGE_FAILED" };
    const record = { format: 1, holder: "h", holding: "i", nonce: "n", fence: 1, label: "" };
    const full = { ...record, ttlMs: 1000, released: false };
    expect(decodeLease(Buffer.from(JSON.stringify(full)), "k")).toMatchObject({ fence: 1 });
    for (const change of [{ format: 2 }, { ttlMs: 1e12 }, { fence: 0 }, { released: 1 }]) {
      const bytes = Buffer.from(JSON.stringify({ ...full, ...change }));
      expect(() => decodeLease(bytes, "k")).toThrow(expect.objectContaining(failed));
    }
    await storage.put(leaseKey("mergelite/", 7), Buffer.from("null"));
    await expect(acquire()).rejects.toMatchObject(failed);
  });

  test("takes sensible options only", async () => {
    const { acquire } = place();
    for (const options of [{ ttlMs: 10 }, { ttlMs: Number.NaN }, { holder: "x".repeat(201) }]) {
      await expect(acquire(options)).rejects.toThrow(TypeError);
    }
    expect(leaseNumberOf("a/", leaseKey("a/", 255))).toBe(255);
    expect(leaseNumberOf("", "lease/00000000000000zz")).toBeUndefined();
    expect(leaseNumberOf("", "lease/ffffffffffffffff")).toBeUndefined();
  });

  test("is waited for a tenth longer than it lasts", () => {
    const record = { holder: "h", holding: "i", nonce: "n", fence: 1, label: "", released: false };
    const seen = { number: 1, record: { ...record, ttlMs: 1000 }, sinceMs: 500 };
    const at = (steadyMs: number) => standingOf(seen, { holder: "other", steadyMs });
    expect(at(1500)).toEqual({ type: "held", leftMs: 100 });
    expect(at(1600)).toEqual({ type: "free", before: "expired" });
  });
});
