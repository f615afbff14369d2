/**
 * Every call that native code makes of SQLite fails once, and every operation on its files: the
 * file stays sound, log and tables agree, and once SQLite works again the replica goes on and
 * converges with those that were not disturbed. `npm run faults` runs all, `npm run faults -- 500 7`
 * so many, chosen by a seed. FAULT_SCENARIO chooses one by its name, and with FAULT_TRACE every run is
 * announced before it begins: the last one is that which crashed.
 */
import { writeSync } from "node:fs";
import { afterAll, describe, expect, it } from "vitest";
import { replicaErrorCodes } from "../../src/errors.ts";
import { temporaryFolder } from "../support/folder.ts";
import { maintainAll, type RawReplica } from "../support/replica.ts";
import { type Fault, withFault } from "./injector.ts";
import { type Scenario, scenarios } from "./scenarios.ts";
import {
  attachSubject,
  closeForGood,
  dumpAll,
  expectConvergence,
  expectLogAndTablesAgree,
  makeStage,
  openSubject,
  type Stage,
  tables,
} from "./stage.ts";

const [busy, nomem, interrupt, ioerr, full] = [5, 7, 9, 10, 13] as const;
/** Kinds of faults: each is tried at every opportunity a scenario gives it. */
const plans: readonly (Omit<Fault, "at"> & { warm?: boolean })[] = [
  { kind: "call", code: nomem, sticky: false },
  { kind: "call", code: full, sticky: false },
  { kind: "call", code: ioerr, sticky: false, warm: true },
  { kind: "call", code: busy, sticky: false },
  { kind: "call", code: interrupt, sticky: false, warm: true },
  { kind: "interrupt", code: interrupt, sticky: false },
  { kind: "interrupt", code: interrupt, sticky: false, warm: true },
  { kind: "file", code: ioerr, sticky: false },
  { kind: "file", code: ioerr, sticky: true },
  { kind: "file", code: full, sticky: false },
  { kind: "file", code: full, sticky: true },
  { kind: "file", code: busy, sticky: false },
];

const folder = temporaryFolder();
const file = folder.file();
const stages = new Map<Scenario, Stage>();

function stageOf(scenario: Scenario): Stage {
  const known = stages.get(scenario);
  if (known !== undefined) return known;
  const { remotely = "", prepare = () => {}, journal = "WAL" } = scenario;
  const stage = makeStage({
    file: folder.file(),
    journal,
    remotely: (remote) => {
      if (typeof remotely === "string") remote.db.exec(remotely);
      else remotely(remote);
    },
    prepare,
  });
  stages.set(scenario, stage);
  return stage;
}

/** An error that a program can act on: SQLite's own, or one of ours that says what to do. */
function expectClear(error: unknown): void {
  if (error === undefined) return;
  expect(error).toBeInstanceOf(Error);
  const { code, message, hint } = error as Error & { code: string; hint?: string };
  expect(message).not.toBe("");
  expect(message).not.toContain("not an error");
  if (message.endsWith("is busy")) return;
  if (String(code).startsWith("SQLITE_")) return;
  expect(replicaErrorCodes).toContain(code);
  expect(String(hint)).not.toBe("");
}

function detached(db: RawReplica["db"]): boolean {
  const left = db
    .prepare("SELECT name FROM sqlite_schema WHERE name LIKE '\\_mergelite%' ESCAPE '\\'")
    .all();
  return left.length === 0;
}

function run(scenario: Scenario, fault: Fault, warm: boolean): { seen: number; fired: number } {
  const { image, remote, observe, early, after, between } = stageOf(scenario);
  let db = openSubject(file, image);
  const observer = observe();
  let what = "nothing";
  try {
    let replica = scenario.attached === false ? undefined : attachSubject(db);
    if (warm && replica !== undefined) {
      db.exec("UPDATE item SET c = 0.5 WHERE id = 1");
      maintainAll(replica);
    }
    if (process.env.FAULT_TRACE !== undefined) {
      writeSync(
        2,
        `${Math.round(performance.now())} ${scenario.name} ${JSON.stringify({ ...fault, warm })}\n`,
      );
    }
    const before = dumpAll(db, tables);
    const { error, report } = withFault(fault, () => scenario.act({ db, replica, remote }));
    what = `${report.what} -> ${String(error)}`;
    expectClear(error);
    expect(db.inTransaction).toBe(false);
    if (scenario.detaches === true && detached(db)) {
      expect(dumpAll(db, tables)).toEqual(before);
      closeForGood(db, file);
      return report;
    }
    replica ??= attachSubject(db);
    if (scenario.partial === undefined) expectLogAndTablesAgree(replica, observer);
    if (scenario.detaches !== true) {
      scenario.act({ db, replica, remote });
      maintainAll(replica);
      expectLogAndTablesAgree(replica, observer);
    }
    expectConvergence(replica, observer, [remote, early, after]);
    closeForGood(db, file);
    // Another connection knows what the file knows.
    db = openSubject(file, undefined);
    expectConvergence(attachSubject(db), observer, [between]);
    return report;
  } catch (error) {
    const how = JSON.stringify({ ...fault, warm });
    throw new Error(`${scenario.name}, ${how}, ${what}`, { cause: error });
  } finally {
    db.close();
    observer.db.close();
  }
}

const chosen = process.env.FAULT_SCENARIO;
const wanted = scenarios.filter(({ name }) => chosen === undefined || name === chosen);
const runsMax = Number(process.env.FAULT_RUNS || Number.POSITIVE_INFINITY);
const unlimited = 24 * 3_600_000;

/** Numbers below `limit` from a seed. */
function randomFrom(seed: number): (limit: number) => number {
  let state = seed | 0;
  return (limit) => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return (state >>> 8) % limit;
  };
}
const random = randomFrom(Number(process.env.FAULT_SEED ?? 1));

// The pages of a large transaction are much alike.
const opportunitiesMax = 250;

/** How many runs a plan gets: all there are, or the share that the seed gives it. */
function shareOfPlan(): number {
  const share = runsMax / (wanted.length * plans.length);
  return share === Number.POSITIVE_INFINITY
    ? share
    : Math.floor(share) + (random(1000) < (share % 1) * 1000 ? 1 : 0);
}

/** Which opportunities of `count` are tried. */
function choose(count: number, runs: number): number[] {
  const step = Math.ceil(count / opportunitiesMax);
  const all = Array.from({ length: count }, (_, i) => i + 1).filter((at) => at % step === 0);
  if (runs >= all.length) return all;
  return Array.from({ length: runs }, () => all[random(all.length)] ?? 1);
}

describe.each(wanted)("$name", (scenario) => {
  const seenOf = new Map<string, number>();
  it.each(plans)("$kind $code, sticky: $sticky, warm: $warm", { timeout: unlimited }, (plan) => {
    const { warm = false, ...fault } = plan;
    const runs = shareOfPlan();
    if (runs === 0) return;
    const failures: Error[] = [];
    const key = JSON.stringify([fault.kind, fault.code, warm]);
    let seen = seenOf.get(key);
    seen ??= run(scenario, { ...fault, at: 0 }, warm).seen;
    seenOf.set(key, seen);
    for (const at of choose(seen, runs)) {
      try {
        run(scenario, { ...fault, at }, warm);
      } catch (error) {
        failures.push(error as Error);
      }
    }
    const [first] = failures;
    if (first !== undefined) {
      const others = failures.slice(1, 40).map(({ message }) => message);
      throw new Error([first.message, String(first.cause), ...others].join("\n"), { cause: first });
    }
  });
});

afterAll(() => {
  for (const { remote, early, after, between } of stages.values()) {
    for (const { db } of [remote, early, after, between]) db.close();
  }
});
