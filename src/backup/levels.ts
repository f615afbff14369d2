/** When to join files of a level into one of the next, and when to make a snapshot. Pure. */
import { snapshotLevel } from "../ltx/keys.ts";
import { type BackupFile, planTail } from "../restore/chain.ts";

/** A file with the time of its last transaction. */
export interface TimedFile extends BackupFile {
  readonly timestampMs: number;
  /** Of the database behind it, where whoever added the file knows it. */
  readonly checksum?: bigint;
}

export interface CompactionLevels {
  /**
   * Level 1 gets a file for each so many ms, level 2 for each of the next, and so on: rising, at
   * most eight. @default [30_000, 300_000, 3_600_000]
   */
  readonly intervalsMs?: readonly number[];
  /** A snapshot for each so many ms. @default 86_400_000 */
  readonly snapshotMs?: number;
}

/** Files to be joined, in their order, and the level of what that makes. */
export interface CompactionStep {
  readonly level: number;
  readonly inputs: readonly TimedFile[];
}

export const levelDefaults: Required<CompactionLevels> = {
  intervalsMs: [30_000, 300_000, 3_600_000],
  snapshotMs: 86_400_000,
};

/** Inputs at a time; what is left makes another file. */
export const filesJoinedMax = 256;

/** @throws `TypeError` */
export function checkLevels({
  intervalsMs = levelDefaults.intervalsMs,
  snapshotMs = levelDefaults.snapshotMs,
}: CompactionLevels): Required<CompactionLevels> {
  const rising = [0, ...intervalsMs, snapshotMs];
  const isRising = rising.every((ms, i) => {
    return i === 0 || (Number.isSafeInteger(ms) && ms > (rising[i - 1] ?? 0));
  });
  if (isRising && intervalsMs.length < snapshotLevel) return { intervalsMs, snapshotMs };
  throw new TypeError("intervalsMs, at most eight, and snapshotMs are rising whole numbers");
}

/**
 * The next step that is due, or `undefined`. Do it, put what it made among the files, and ask again.
 * Intervals are those of the clock (each hour on the hour), so that whoever goes on after a restart
 * goes on with the same ones.
 */
export function planCompaction(
  files: readonly TimedFile[],
  { nowMs, ...levels }: CompactionLevels & { readonly nowMs: number },
): CompactionStep | undefined {
  const { intervalsMs, snapshotMs } = checkLevels(levels);
  for (const [i, intervalMs] of intervalsMs.entries()) {
    const step = planLevel(files, { level: i + 1, intervalMs, nowMs });
    if (step !== undefined) return step;
  }
  return planSnapshot(files, { snapshotMs, nowMs });
}

/** Joins the oldest files of the level below that ended in one interval that is over. */
function planLevel(
  files: readonly TimedFile[],
  { level, intervalMs, nowMs }: { level: number; intervalMs: number; nowMs: number },
): CompactionStep | undefined {
  const done = files
    .filter((file) => file.level === level)
    .reduce((furthest, { maxTxid }) => Math.max(furthest, maxTxid), 0);
  const next = files
    // A snapshot is never joined into a level: that would write the whole database once a level.
    .filter((file) => file.level === level - 1 && file.maxTxid > done && file.minTxid > 1)
    .sort((a, b) => a.maxTxid - b.maxTxid);
  const intervalOf = ({ timestampMs }: TimedFile) => Math.floor(timestampMs / intervalMs);
  const inputs: TimedFile[] = [];
  for (const file of next) {
    const first = inputs[0] ?? file;
    const isOver = intervalOf(first) < Math.floor(nowMs / intervalMs);
    const follows = file.minTxid <= (inputs.at(-1)?.maxTxid ?? file.minTxid) + 1;
    // An interval ends with the first file of a later one: a clock that went back changes nothing.
    if (!isOver || !follows || intervalOf(file) > intervalOf(first)) break;
    inputs.push(file);
    if (inputs.length === filesJoinedMax) break;
  }
  return inputs.length === 0 ? undefined : { level, inputs };
}

/** From the newest snapshot and what follows it, without a look at the database. */
function planSnapshot(
  files: readonly TimedFile[],
  { snapshotMs, nowMs }: { snapshotMs: number; nowMs: number },
): CompactionStep | undefined {
  const base = newestSnapshot(files);
  if (base === undefined || snapshotDueMs(base, snapshotMs) > nowMs) return undefined;
  const byKey = new Map(files.map((file) => [file.key, file]));
  const tail = planTail(files, base.maxTxid).files.slice(0, filesJoinedMax - 1);
  const inputs = [base, ...tail.flatMap(({ key }) => byKey.get(key) ?? [])];
  return inputs.length === 1 ? undefined : { level: snapshotLevel, inputs };
}

export function newestSnapshot(files: readonly TimedFile[]): TimedFile | undefined {
  return files.reduce<TimedFile | undefined>((newest, file) => {
    if (file.minTxid > 1) return newest;
    return newest === undefined || file.maxTxid > newest.maxTxid ? file : newest;
  }, undefined);
}

/** One that was made in an interval counts for it, also where its last transaction is older. */
export function snapshotDueMs(base: TimedFile, snapshotMs: number): number {
  return intervalEnd(Math.max(base.timestampMs, base.modifiedMs), snapshotMs);
}

/** Where the interval ends that a moment is in. */
export function intervalEnd(ms: number, intervalMs: number): number {
  return (Math.floor(ms / intervalMs) + 1) * intervalMs;
}
