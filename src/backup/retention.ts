/** What of a backup may go. Pure. */
import type { TimedFile } from "./levels.ts";

export interface Retention {
  /** Every moment of the last so many ms can be restored to. @default 604_800_000, a week */
  readonly retentionMs?: number;
  /** At least so many snapshots are kept, however old. @default 2 */
  readonly snapshotsMin?: number;
  /**
   * So long, in ms, every file as shipped can be restored to: level 0 is kept that long also where
   * it has been compacted. @default 3_600_000
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
  const snapshots = files
    .filter(({ minTxid }) => minTxid === 1)
    .sort((a, b) => b.maxTxid - a.maxTxid || a.level - b.level);
  // The window begins inside what follows the newest snapshot that is older than it.
  const older = snapshots.findIndex(({ timestampMs }) => timestampMs <= nowMs - retentionMs);
  const kept = older < 0 ? snapshots.length : Math.max(older + 1, snapshotsMin);
  const oldest = snapshots[Math.min(kept, snapshots.length) - 1];
  const compacted = files.filter(({ level, minTxid }) => level > 0 && minTxid > 1);
  const isDropped = (file: TimedFile) => {
    if (oldest === undefined) return false;
    if (file.minTxid === 1) return file.maxTxid < oldest.maxTxid;
    if (file.maxTxid <= oldest.maxTxid) return true;
    const isOld = file.timestampMs < nowMs - (file.level === 0 ? level0Ms : levelsMs);
    return isOld && isCompacted(file, compacted);
  };
  const drop = files.filter(isDropped);
  const dropped = new Set(drop);
  const keep = files.filter((file) => !dropped.has(file));
  return { drop, keep, dropsSnapshots: drop.some(({ minTxid }) => minTxid === 1) };
}

/** Whether files of higher levels have all of it, and hang together. */
function isCompacted(file: TimedFile, compacted: readonly TimedFile[]): boolean {
  let position = file.minTxid - 1;
  for (;;) {
    const reach = compacted
      .filter(({ level, minTxid }) => level > file.level && minTxid <= position + 1)
      .reduce((furthest, { maxTxid }) => Math.max(furthest, maxTxid), position);
    if (reach >= file.maxTxid) return true;
    if (reach === position) return false;
    position = reach;
  }
}
