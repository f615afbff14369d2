/** Everything that a storage may do to a shipper at once, over restarts and lost folders. */
import { rmSync } from "node:fs";
import { expect, test } from "vitest";
import { verifyBackup } from "../../src/backup/verify.ts";
import type { Shipper } from "../../src/ship/index.ts";
import { churn } from "../support/backup.ts";
import { Faults, faultStorage } from "../support/fault-storage.ts";
import { temporaryFolder } from "../support/folder.ts";
import { memoryStorage } from "../support/memory-storage.ts";
import { eager, openWal, restored, ship } from "../support/ship.ts";

const folder = temporaryFolder({ inMemory: true });
const rounds = Number(process.env.WEATHER_ROUNDS ?? 2);
const impatient = { attemptsMax: 3, pauseMs: 1, pauseMsMax: 5 };

/** Errors, time-outs, lost answers, torn and repeated uploads, objects that are seen late. */
function weather(): Faults {
  const part = () => 0.15 * Math.random();
  return new Faults({
    random: Math.random,
    error: part(),
    lostAnswer: part(),
    torn: part(),
    brokenRead: part(),
    hang: part() / 3,
    hangMs: 30,
    duplicate: part(),
    duplicateMs: 50,
    slowMs: 3,
    lateMs: 40,
  });
}

/** Nothing but a storage's failure is allowed to stop it, and none of them for good. */
async function tried(shipper: Shipper): Promise<number | undefined> {
  try {
    return (await shipper.flush()).txid;
  } catch (error) {
    expect(error).toMatchObject({ code: expect.stringMatching(/^STORAGE_UNAVAILABLE$/) });
    return undefined;
  }
}

test(
  "what was flushed is there in any weather",
  async () => {
    for (let round = 0; round < rounds; round++) {
      const file = folder.file();
      const db = openWal(file, { pageSize: 1024 });
      const places = [memoryStorage(), memoryStorage()];
      const faults = [weather(), weather()];
      const storages = places.map((place, i) => {
        return faultStorage(place, faults[i] ?? weather(), impatient);
      });
      const known = new Map<number, Buffer>();
      for (let life = 0; life < 3; life++) {
        const shipper = ship(db, storages, { ...eager, leaseTtlMs: 1000 });
        for (let i = 0; i < 6; i++) {
          db.exec(churn(life * 6 + i));
          const image = db.serialize();
          const txid = await tried(shipper);
          if (txid !== undefined) known.set(txid, image);
        }
        await shipper.close().catch((error: unknown) => {
          expect(error).toMatchObject({ code: "STORAGE_UNAVAILABLE" });
        });
        // Its folder is lost, and all that it knew.
        if (life === 1) rmSync(`${file}-ship`, { recursive: true });
      }
      for (const each of faults) each.heal();
      const last = ship(db, storages, { ...eager, leaseTtlMs: 1000 });
      let txid: number | undefined;
      // What was put a moment ago may still be nowhere to be seen.
      for (let tries = 0; txid === undefined && tries < 100; tries++) txid = await tried(last);
      if (txid === undefined) throw new Error("shipping has not recovered");
      known.set(txid, db.serialize());
      await last.close();
      for (const place of places) {
        for (const [position, image] of known) {
          const copy = await restored(place, `${file}.copy`, position);
          expect(image.equals(copy), `position ${position}`).toBe(true);
        }
        expect(await verifyBackup(place)).toMatchObject({ txid });
      }
      db.close();
    }
  },
  60_000 * rounds,
);
