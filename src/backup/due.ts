/** When a backup wants looking after next. Pure: a keeper sleeps until then. */
import {
  type CompactionLevels,
  checkLevels,
  intervalEnd,
  newestSnapshot,
  snapshotDueMs,
  type TimedFile,
} from "./levels.ts";
import { checkRetention, coversIn, type Retention, snapshotsIn } from "./retention.ts";

/**
 * When something will be due, in ms since 1970. What is due already and could not be done counts,
 * too. `undefined`: not before another file comes.
 */
export function nextDueMs(
  files: readonly TimedFile[],
  levels: CompactionLevels,
  retention: Retention,
): number | undefined {
  const { intervalsMs, snapshotMs } = checkLevels(levels);
  const times = intervalsMs.flatMap((intervalMs, i) => joinDueMs(files, i + 1, intervalMs));
  const base = newestSnapshot(files);
  const isTail = base !== undefined && files.some(({ maxTxid }) => maxTxid > base.maxTxid);
  if (isTail) times.push(snapshotDueMs(base, snapshotMs));
  times.push(...dropDueMs(files, checkRetention(retention), intervalsMs[0] ?? snapshotMs));
  return times.length === 0 ? undefined : Math.min(...times);
}

/** When the oldest file of the level below that waits for its level may be joined. */
function joinDueMs(files: readonly TimedFile[], level: number, intervalMs: number): number[] {
  let done = 0;
  for (const file of files) if (file.level === level) done = Math.max(done, file.maxTxid);
  let oldest: TimedFile | undefined;
  for (const file of files) {
    if (file.level !== level - 1 || file.maxTxid <= done || file.minTxid === 1) continue;
    if (oldest === undefined || file.maxTxid < oldest.maxTxid) oldest = file;
  }
  return oldest === undefined ? [] : [intervalEnd(oldest.timestampMs, intervalMs)];
}

/** When the first file becomes too old. Files go together, once each `stepMs`. */
function dropDueMs(
  files: readonly TimedFile[],
  { retentionMs, snapshotsMin, level0Ms, levelsMs }: Required<Retention>,
  stepMs: number,
): number[] {
  const coverOf = coversIn(files);
  let first = Number.POSITIVE_INFINITY;
  for (const file of files) {
    const cover = file.minTxid === 1 ? undefined : coverOf(file);
    if (cover === undefined) continue;
    first = Math.min(first, cover.timestampMs + (file.level === 0 ? level0Ms : levelsMs));
  }
  const snapshots = snapshotsIn(files);
  const next = snapshots.length > snapshotsMin ? snapshots.at(-2) : undefined;
  // The last one goes when the one after it is older than the window.
  if (next !== undefined) first = Math.min(first, next.timestampMs + retentionMs);
  return first === Number.POSITIVE_INFINITY ? [] : [intervalEnd(first, stepMs)];
}
