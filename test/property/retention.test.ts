/** Years of shipping, compaction and pruning in no time: what can be restored to afterwards. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { nextDueMs } from "../../src/backup/due.ts";
import { planCompaction, type TimedFile } from "../../src/backup/levels.ts";
import { planPrune } from "../../src/backup/retention.ts";
import { ltxKey } from "../../src/ltx/keys.ts";
import { planChain } from "../../src/restore/chain.ts";

const numRuns = Math.min(300, Number(process.env.PROPERTY_RUNS ?? 60));

const levels = { intervalsMs: [10, 50, 200], snapshotMs: 1000 };
const keeping = { retentionMs: 3000, snapshotsMin: 2, level0Ms: 100, levelsMs: 500 };

function fileOf(level: number, minTxid: number, maxTxid: number, timestampMs: number): TimedFile {
  const key = ltxKey({ level, minTxid, maxTxid }, "plain");
  return { level, minTxid, maxTxid, key, bytes: 1, modifiedMs: 0, timestampMs };
}

/** Commits: how long after the last one, how many transactions in its file; and the clock's jumps. */
const commits = fc.array(
  fc.record({
    afterMs: fc.oneof(fc.nat(5), fc.nat(60), fc.nat(3000)),
    transactions: fc.integer({ min: 1, max: 4 }),
    tends: fc.boolean(),
  }),
  { minLength: 1, maxLength: 150 },
);

test("what is kept is enough for every moment, and not much more", () => {
  fc.assert(
    fc.property(commits, (history) => {
      let files: TimedFile[] = [fileOf(0, 1, 1, 0)];
      const ends = [{ txid: 1, timestampMs: 0 }];
      let nowMs = 0;
      let txid = 1;
      for (const { afterMs, transactions, tends } of history) {
        nowMs += afterMs;
        files.push(fileOf(0, txid + 1, txid + transactions, nowMs));
        txid += transactions;
        ends.push({ txid, timestampMs: nowMs });
        if (!tends) continue;
        files = tend(files, nowMs);
        expect(planChain(files).position).toBe(txid);
        checkMoments(files, ends, nowMs);
        checkDue(files);
      }
      nowMs += 10_000;
      files = tend(files, nowMs);
      // Snapshots that are kept, and the levels after the oldest of them.
      expect(files.length).toBeLessThan(2 * history.length + 4);
      expect(planChain(files).position).toBe(txid);
      expect(tend(files, nowMs)).toEqual(files);
    }),
    { numRuns },
  );
});

function tend(before: readonly TimedFile[], nowMs: number): TimedFile[] {
  const files = [...before];
  for (;;) {
    const step = planCompaction(files, { ...levels, nowMs });
    if (step === undefined) break;
    const [first] = step.inputs;
    const last = step.inputs.at(-1);
    if (first === undefined || last === undefined) throw new Error("a step has inputs");
    step.inputs.forEach((file, i) => {
      const end = step.inputs[i - 1]?.maxTxid;
      if (end !== undefined) expect(file.minTxid).toBeLessThanOrEqual(end + 1);
    });
    files.push(fileOf(step.level, first.minTxid, last.maxTxid, last.timestampMs));
  }
  const { keep, drop, dropsSnapshots } = planPrune(files, { ...keeping, nowMs });
  expect(keep.length + drop.length).toBe(files.length);
  expect(dropsSnapshots).toBe(drop.some(({ minTxid }) => minTxid === 1));
  return [...keep];
}

/** The younger a moment, the nearer to it a restore comes. */
function checkMoments(
  files: readonly TimedFile[],
  ends: readonly { txid: number; timestampMs: number }[],
  nowMs: number,
): void {
  for (const { txid, timestampMs } of ends.slice(-40)) {
    const ageMs = nowMs - timestampMs;
    if (ageMs > keeping.retentionMs) continue;
    const { position } = planChain(files, { upTo: txid });
    const reached = ends.find((end) => end.txid === position);
    expect(reached).toBeDefined();
    if (ageMs <= keeping.level0Ms) expect(position).toBe(txid);
    const coarsestMs = ageMs <= keeping.levelsMs ? levels.intervalsMs[0] : levels.intervalsMs[2];
    expect(timestampMs - (reached?.timestampMs ?? 0)).toBeLessThanOrEqual(
      gapBefore(ends, txid) + 2 * (coarsestMs ?? 0),
    );
  }
}

/** Nothing to do before it is due, and something then. Deletions may wait for a whole interval. */
function checkDue(files: readonly TimedFile[]): void {
  const stepMs = 10;
  const drops = (nowMs: number) => planPrune(files, { ...keeping, nowMs }).drop.length;
  const joins = (nowMs: number) => planCompaction(files, { ...levels, nowMs });
  const dueMs = nextDueMs(files, levels, keeping);
  const beforeMs = dueMs ?? 1e12;
  expect(joins(beforeMs - 1)).toBeUndefined();
  expect(drops(beforeMs - stepMs)).toBe(0);
  if (dueMs !== undefined) expect(joins(dueMs) !== undefined || drops(dueMs) > 0).toBe(true);
}

/** How long nothing was committed before a transaction. */
function gapBefore(ends: readonly { txid: number; timestampMs: number }[], txid: number): number {
  const i = ends.findIndex((end) => end.txid === txid);
  let gap = 0;
  for (let at = Math.max(1, i - 12); at <= i; at++) {
    gap = Math.max(gap, (ends[at]?.timestampMs ?? 0) - (ends[at - 1]?.timestampMs ?? 0));
  }
  return gap;
}

test("options out of range are mistakes", () => {
  const plan = (intervalsMs: number[]) => planCompaction([], { intervalsMs, nowMs: 0 });
  expect(() => plan([10, 10])).toThrow(TypeError);
  expect(() => plan([1, 2, 3, 4, 5, 6, 7, 8, 9])).toThrow(TypeError);
  expect(() => plan([100_000_000])).toThrow(TypeError);
  expect(() => planPrune([], { snapshotsMin: 0, nowMs: 0 })).toThrow(TypeError);
  expect(() => planPrune([], { retentionMs: -1, nowMs: 0 })).toThrow(TypeError);
});
