/** When snapshots are made, and by whom. The copying itself: test/integration/snapshot.test.ts. */
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import {
  type BackupOptions,
  checkBackupOptions,
  type SnapshotEvent,
  Snapshots,
} from "../../src/snapshot/snapshots.ts";
import { temporaryFolder } from "../support/folder.ts";
import { VirtualClock } from "./transport/virtual-clock.ts";

const folder = temporaryFolder();
const dayMs = 24 * 3600 * 1000;

function setUp(options: BackupOptions | undefined, { fails = false } = {}) {
  const clock = new VirtualClock();
  const events: SnapshotEvent[] = [];
  const state = { leads: true, copies: 0, atOnce: 0, atOnceMax: 0 };
  const snapshots = new Snapshots(
    {
      file: "",
      clock,
      isLeader: () => state.leads,
      onEvent: (event) => events.push(event),
      copyInto: (target) => {
        state.copies += 1;
        state.atOnce += 1;
        state.atOnceMax = Math.max(state.atOnceMax, state.atOnce);
        const copy = async () => {
          await new Promise((resolve) => setImmediate(resolve));
          state.atOnce -= 1;
          if (fails) throw new Error("disk full");
          writeFileSync(target, "a database");
        };
        return { done: copy(), progress: () => ({ done: 1, pages: 1 }), stop: () => {} };
      },
    },
    options,
  );
  const states = () => events.map(({ kind, state: what }) => `${kind} ${what}`);
  return { clock, snapshots, events, state, states };
}

/** Until what was begun is over. */
async function settled(snapshots: Snapshots): Promise<void> {
  await snapshots.demand(join(folder.path, "last.db")).catch(() => undefined);
}

it("makes one every time that the schedule says", async () => {
  const path = folder.file();
  const { clock, snapshots, state, states } = setUp({ schedule: "0 1 * * *", path: () => path });
  await clock.advance(dayMs);
  await settled(snapshots);
  expect(state.copies).toBe(2);
  expect(states().slice(0, 3)).toEqual([
    "scheduled started",
    "scheduled progress",
    "scheduled completed",
  ]);
  expect(existsSync(path)).toBe(true);
  await clock.advance(2 * dayMs);
  await settled(snapshots);
  expect(state.copies).toBe(5);
  await snapshots.close(new Error("closed"));
  await clock.advance(2 * dayMs);
  expect(state.copies).toBe(5);
});

it("tells of a path that cannot be told, and goes on with its schedule", async () => {
  const error = new Error("no disk");
  const paths = [folder.file()];
  const path = () => {
    const [last] = paths;
    if (last === undefined) throw error;
    return last;
  };
  const { clock, snapshots, events, state } = setUp({ schedule: "@daily", path });
  await clock.advance(dayMs);
  await settled(snapshots);
  const copies = state.copies;
  const [only] = paths.splice(0);
  await clock.advance(dayMs);
  await expect(snapshots.atShutdown(undefined)).rejects.toBe(error);
  await expect(snapshots.demand(undefined)).rejects.toBe(error);
  expect(events.slice(-3)).toEqual(
    ["scheduled", "shutdown", "demand"].map((kind) => ({ kind, path: "", state: "failed", error })),
  );
  expect(snapshots.counts.snapshotFailures).toBe(3);
  expect(state.copies).toBe(copies);
  paths.push(only ?? "");
  await clock.advance(dayMs);
  await settled(snapshots);
  expect(state.copies).toBe(copies + 2);
  await snapshots.close(new Error("closed"));
});

it("leaves it to the leader, unless every replica makes its own", async () => {
  for (const [only, copies] of [
    ["leader", 0],
    ["every", 1],
  ] as const) {
    const { clock, snapshots, state } = setUp({
      schedule: "@daily",
      path: () => folder.file(),
      only,
    });
    state.leads = false;
    await clock.advance(dayMs);
    expect((await snapshots.atShutdown(undefined)) === undefined).toBe(only === "leader");
    expect(state.copies).toBe(copies * 2);
    await snapshots.close(new Error("closed"));
  }
});

it("asks each time where to, and makes none without an answer", async () => {
  const asked: string[] = [];
  const { clock, snapshots, state } = setUp({
    schedule: "@daily",
    path: (kind) => {
      asked.push(kind);
      return undefined;
    },
  });
  await clock.advance(dayMs);
  expect(await snapshots.atShutdown(undefined)).toBe(undefined);
  await expect(snapshots.demand(undefined)).rejects.toMatchObject({ code: "INVALID_OPTION" });
  expect(asked).toEqual(["scheduled", "shutdown", "demand"]);
  expect(state.copies).toBe(0);
});

it("makes one at a time, and goes on after one that failed", async () => {
  const { snapshots, state, events } = setUp({ path: () => folder.file() }, { fails: true });
  const all = await Promise.allSettled([1, 2, 3].map(() => snapshots.demand(undefined)));
  expect(all.map(({ status }) => status)).toEqual(["rejected", "rejected", "rejected"]);
  expect([state.copies, state.atOnceMax]).toEqual([3, 1]);
  expect(events.filter(({ state: what }) => what === "failed")).toHaveLength(3);
  expect(snapshots.counts).toEqual({ snapshots: 0, snapshotFailures: 3, lastSnapshot: null });
});

it("refuses options that are none", () => {
  const path = () => undefined;
  const wrong = [{ path, schedule: "every night" }, { path, when: 1 }, { path, only: "me" }, {}];
  for (const options of wrong) {
    expect(() => checkBackupOptions(options as BackupOptions)).toThrow(
      expect.objectContaining({ code: "INVALID_OPTION" }),
    );
  }
  checkBackupOptions({ path, schedule: "0 1 * * *", only: "every" });
});
