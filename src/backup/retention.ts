/** What of a backup may go. Pure. */
import type { TimedFile } from "./levels.ts";

export interface Retention {
  /** Every moment of the last so many ms can be restored to. @default 604_800_000, a week */
  readonly retentionMs?: number;
  /** At least so many snapshots are kept, however old. @default 2 */
  readonly snapshotsMin?: number;
  /**
   * So long, in ms, every file as shipped can be restored to: all of level 0 that a compacted file
   * has is kept until the last of it is that old. @default 3_600_000
   */
  readonly level0Ms?: number;
  /** The same for compacted files that have been compacted again. @default 86_400_000 */
  readonly levelsMs?: number;
}

export const retentionDefaults: Required<Retention> = {
  retentionMs: 604_800_000,
  snapshotsMin: 2,
  level0Ms: 3_600_000,
  levelsMs: 86_400_000,
};

/** @throws `TypeError` */
export function checkRetention(retention: Retention): Required<Retention> {
  const checked = { ...retentionDefaults, ...retention };
  const { snapshotsMin, ...ages } = checked;
  const isRight = Object.values(ages).every((ms) => Number.isSafeInteger(ms) && ms >= 0);
  if (isRight && Number.isSafeInteger(snapshotsMin) && snapshotsMin >= 1) return checked;
  throw new TypeError("ages in ms are whole numbers, and snapshotsMin is at least 1");
}

export interface PrunePlan {
  readonly drop: readonly TimedFile[];
  readonly keep: readonly TimedFile[];
  /** Snapshots are among them: what is left has to be proved first. */
  readonly dropsSnapshots: boolean;
}

export function planPrune(
  files: readonly TimedFile[],
  { nowMs, ...retention }: Retention & { readonly nowMs: number },
): PrunePlan {
  const { retentionMs, snapshotsMin, level0Ms, levelsMs } = checkRetention(retention);
  const snapshots = snapshotsIn(files);
  // The window begins inside what follows the newest snapshot that is older than it.
  const older = snapshots.findIndex(({ timestampMs }) => timestampMs <= nowMs - retentionMs);
  const kept = older < 0 ? snapshots.length : Math.max(older + 1, snapshotsMin);
  const oldest = snapshots[Math.min(kept, snapshots.length) - 1];
  const coverOf = coversIn(files);
  const isDropped = (file: TimedFile) => {
    if (oldest === undefined) return false;
    if (file.minTxid === 1) return file.maxTxid < oldest.maxTxid;
    if (file.maxTxid <= oldest.maxTxid) return true;
    const cover = coverOf(file);
    const ageMs = file.level === 0 ? level0Ms : levelsMs;
    return cover !== undefined && cover.timestampMs < nowMs - ageMs;
  };
  const drop = files.filter(isDropped);
  const dropped = new Set(drop);
  const keep = files.filter((file) => !dropped.has(file));
  return { drop, keep, dropsSnapshots: drop.some(({ minTxid }) => minTxid === 1) };
}

/** Newest first, one for each position. */
export function snapshotsIn(files: readonly TimedFile[]): readonly TimedFile[] {
  return files
    .filter(({ minTxid }) => minTxid === 1)
    .sort((a, b) => b.maxTxid - a.maxTxid || a.level - b.level)
    .filter(({ maxTxid }, i, sorted) => maxTxid !== sorted[i - 1]?.maxTxid);
}

/**
 * Of a file that files of higher levels have all of, without a gap, the one that has its end. All
 * files below one are needed together: without the first, the others lead nowhere.
 */
export function coversIn(files: readonly TimedFile[]): (file: TimedFile) => TimedFile | undefined {
  const aboveByLevel = new Map<number, { covers: TimedFile[]; reaches: readonly Reach[] }>();
  const above = (level: number) => {
    const known = aboveByLevel.get(level);
    if (known !== undefined) return known;
    const higher = files.filter((file) => file.level > level && file.minTxid > 1);
    const covers = higher.sort((a, b) => a.maxTxid - b.maxTxid || a.level - b.level);
    const found = { covers, reaches: reachesOf(covers) };
    aboveByLevel.set(level, found);
    return found;
  };
  return ({ level, minTxid, maxTxid }) => {
    const { covers, reaches } = above(level);
    const reach = reaches[firstWhere(reaches, (each) => each.minTxid > minTxid) - 1];
    if (reach === undefined || reach.maxTxid < maxTxid) return undefined;
    const first = firstWhere(covers, (each) => each.maxTxid >= maxTxid);
    for (let i = first; i < covers.length; i++) {
      const cover = covers[i];
      if (cover !== undefined && cover.minTxid <= maxTxid) return cover;
    }
    return undefined;
  };
}

/** Transactions without a gap. */
interface Reach {
  readonly minTxid: number;
  maxTxid: number;
}

/** In the order of their beginnings; none touches the next. */
function reachesOf(files: readonly TimedFile[]): readonly Reach[] {
  const reaches: Reach[] = [];
  for (const { minTxid, maxTxid } of [...files].sort((a, b) => a.minTxid - b.minTxid)) {
    const last = reaches.at(-1);
    if (last === undefined || minTxid > last.maxTxid + 1) reaches.push({ minTxid, maxTxid });
    else last.maxTxid = Math.max(last.maxTxid, maxTxid);
  }
  return reaches;
}

/** The first of those that `isBehind` is true of, which are the last ones. */
function firstWhere<T>(sorted: readonly T[], isBehind: (each: T) => boolean): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const each = sorted[middle];
    if (each !== undefined && !isBehind(each)) low = middle + 1;
    else high = middle;
  }
  return low;
}
