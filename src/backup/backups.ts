/** What there is to restore from. */
import { snapshotLevel } from "../ltx/keys.ts";
import { type BackupFile, oldestPosition, planChain } from "../restore/chain.ts";
import { listBackup, readHeader } from "../restore/inventory.ts";
import type { Storage, StorageCallOptions } from "../storage/storage.ts";

export interface BackupPoint {
  readonly txid: number;
  /** Of its transaction, in ms since 1970. */
  readonly timestampMs: number;
}

export interface BackupLevel {
  /** 0: as shipped; 1 to 8: compacted; 9: snapshots. */
  readonly level: number;
  readonly files: number;
  readonly bytes: number;
  readonly minTxid: number;
  readonly maxTxid: number;
}

export interface BackupList {
  readonly bytes: number;
  /** By level, from 0 on, those that have files. */
  readonly levels: readonly BackupLevel[];
  /** The files that hold the whole database, oldest first. */
  readonly snapshots: readonly (BackupPoint & { readonly bytes: number })[];
  /** How far back, and how far a restore reaches; `undefined` without a snapshot. */
  readonly oldest: BackupPoint | undefined;
  readonly newest: BackupPoint | undefined;
  /** The newest transaction of any file. Above `newest` when files between are missing. */
  readonly maxTxid: number;
}

/**
 * Lists a backup, and reads the headers of its snapshots and of its newest file.
 * @throws `LTX_CORRUPT`, and the storage's errors
 */
export async function backups(
  storage: Storage,
  options: StorageCallOptions = {},
): Promise<BackupList> {
  const files = await listBackup(storage, options);
  const pointOf = async (file: BackupFile | undefined) => {
    if (file === undefined) return undefined;
    const { timestampMs } = await readHeader(storage, file, options);
    return { txid: file.maxTxid, timestampMs };
  };
  const snapshots = files
    .filter(({ minTxid }) => minTxid === 1)
    .sort((a, b) => a.maxTxid - b.maxTxid || a.level - b.level);
  const points: (BackupPoint & { bytes: number })[] = [];
  for (const file of snapshots) {
    const { timestampMs } = await readHeader(storage, file, options);
    points.push({ txid: file.maxTxid, timestampMs, bytes: file.bytes });
  }
  return {
    bytes: files.reduce((sum, { bytes }) => sum + bytes, 0),
    levels: levelsOf(files),
    snapshots: points,
    oldest: await pointOf(snapshots.find(({ maxTxid }) => maxTxid === oldestPosition(files))),
    newest: await pointOf(planChain(files).files.at(-1)),
    maxTxid: files.reduce((last, { maxTxid }) => Math.max(last, maxTxid), 0),
  };
}

function levelsOf(files: readonly BackupFile[]): BackupLevel[] {
  const levels: BackupLevel[] = [];
  for (let level = 0; level <= snapshotLevel; level++) {
    const of = files.filter((file) => file.level === level);
    if (of.length === 0) continue;
    levels.push({
      level,
      files: of.length,
      bytes: of.reduce((sum, { bytes }) => sum + bytes, 0),
      minTxid: of.reduce((least, { minTxid }) => Math.min(least, minTxid), Infinity),
      maxTxid: of.reduce((most, { maxTxid }) => Math.max(most, maxTxid), 0),
    });
  }
  return levels;
}
