/** Storages that fail: nothing that was flushed is lost, and shipping recovers by itself. */
import { expect, test, vi } from "vitest";
import { churn } from "../support/backup.ts";
import { Faults, faultStorage } from "../support/fault-storage.ts";
import { temporaryFolder } from "../support/folder.ts";
import { memoryStorage } from "../support/memory-storage.ts";
import { eager, expectSame, openWal, ship, watchShipper } from "../support/ship.ts";

const folder = temporaryFolder();
const impatient = { attemptsMax: 2, pauseMs: 1 };

/** A flush fails when an upload does; the next one may not. */
async function flushed(shipper: ReturnType<typeof ship>): Promise<void> {
  for (let tries = 0; ; tries++) {
    try {
      await shipper.flush();
      return;
    } catch (error) {
      expect(error).toMatchObject({ code: expect.stringMatching(/^STORAGE_/) });
      if (tries === 200) throw error;
    }
  }
}

test("errors, lost answers, torn and repeated uploads", async () => {
  const file = folder.file();
  const db = openWal(file);
  const inner = memoryStorage();
  const faults = new Faults({
    random: Math.random,
    error: 0.2,
    lostAnswer: 0.2,
    torn: 0.2,
    duplicate: 0.2,
    duplicateMs: 20,
  });
  const shipper = ship(db, faultStorage(inner, faults, impatient), eager);
  for (let i = 0; i < 15; i++) {
    db.exec(churn(i));
    await flushed(shipper);
    if (i % 4 === 3) await expectSame(inner, db, `${file}.copy`);
  }
  expect(faults.happened).toBeGreaterThan(0);
  faults.heal();
  await shipper.close();
  db.close();
});

test("a storage that is away for long gets what has changed, and no other one waits", async () => {
  const file = folder.file();
  const db = openWal(file);
  const [away, there] = [memoryStorage(), memoryStorage()];
  const faults = new Faults({ random: Math.random });
  const storages = [faultStorage(away, faults, impatient), there];
  const shipper = ship(db, storages, { ...eager, queueBytesMax: 65_536 });
  const seen = watchShipper(shipper);
  const recovered = new Promise((resolve) => shipper.on("recovered", resolve));
  db.exec(churn(0));
  await shipper.flush();
  faults.down = true;
  for (let i = 1; i < 30; i++) {
    db.exec(churn(i));
    await expect(shipper.flush()).rejects.toMatchObject({ code: "STORAGE_UNAVAILABLE" });
    expect(shipper.metrics().queuedBytes).toBeLessThan(2 * 65_536);
  }
  // A flush rejects as soon as one storage fails, and the other one may be under way then.
  await vi.waitFor(() => expectSame(there, db, `${file}.there`), 10_000);
  expect(seen.rebases.map(({ reason }) => reason)).toContain("queue");
  faults.heal();
  await flushed(shipper);
  await recovered;
  await expectSame(away, db, `${file}.away`);
  await expectSame(there, db, `${file}.there`);
  expect(shipper.metrics()).toMatchObject({ queuedFiles: 0, queuedBytes: 0 });
  await shipper.close();
  db.close();
});

test("a storage that is away at the start, and one that is new", async () => {
  const file = folder.file();
  const db = openWal(file);
  const first = memoryStorage();
  const faults = new Faults({ random: Math.random });
  faults.down = true;
  db.exec(churn(0));
  const shipper = ship(db, faultStorage(first, faults, impatient), eager);
  await expect(shipper.flush()).rejects.toMatchObject({ code: "STORAGE_UNAVAILABLE" });
  faults.heal();
  await flushed(shipper);
  await expectSame(first, db, `${file}.copy`);
  await shipper.close();
  const second = memoryStorage();
  db.exec(churn(1));
  const both = ship(db, [first, second], eager);
  await both.flush();
  await expectSame(first, db, `${file}.copy`);
  await expectSame(second, db, `${file}.copy`);
  await both.close();
  db.close();
});
