/** Is a backup still the one that a copy follows? Others number their transactions alike. */
import type { LtxHeader } from "../ltx/header.ts";
import type { Storage, StorageCallOptions } from "../storage/storage.ts";
import type { BackupFile } from "./chain.ts";
import type { FollowPosition } from "./follow-state.ts";
import { readHeader } from "./inventory.ts";
import { UnusableObject, usingObject } from "./unusable.ts";

/** `unknown`: it has no file that could tell, as when all of its time were compacted and deleted. */
export type Sameness = "same" | "other" | "unknown";

/** Headers to read, at most: those of one position at different levels, and one before it. */
const headersMax = 4;

/**
 * The file that ends with the copy's transaction has its time. One that joins several transactions
 * may have that of the first of them, and where there is only one of an earlier position, it must
 * not be younger than the copy, as all files of a backup are that was begun after it.
 */
export async function samenessOf(
  storage: Storage,
  files: readonly BackupFile[],
  { txid, timestampMs, signal }: FollowPosition & StorageCallOptions,
): Promise<Sameness> {
  let sameness: Sameness = "unknown";
  for (const file of witnesses(files, txid)) {
    const header = await headerOf(storage, file, signal);
    if (header === undefined) continue;
    const isAlone = file.minTxid === txid;
    const isOld = header.timestampMs <= timestampMs;
    if (isAlone ? header.timestampMs === timestampMs : isOld) return "same";
    sameness = "other";
    if (isAlone) return sameness;
  }
  return sameness;
}

/** Of the file that a copy's position ends with, as a list has it. */
export function isSameObject(a: BackupFile | undefined, b: BackupFile | undefined): boolean {
  // Some servers know the minute only, or nothing: that tells too little.
  if (a === undefined || b === undefined || a.modifiedMs % 60_000 === 0) return false;
  return a.key === b.key && a.bytes === b.bytes && a.modifiedMs === b.modifiedMs;
}

/** Those that tell most come first. */
function witnesses(files: readonly BackupFile[], txid: number): readonly BackupFile[] {
  const ending = files.filter(({ maxTxid }) => maxTxid === txid);
  ending.sort((a, b) => b.minTxid - a.minTxid);
  const before = files.reduce<BackupFile | undefined>((best, file) => {
    if (file.maxTxid >= txid) return best;
    return best === undefined || file.maxTxid > best.maxTxid ? file : best;
  }, undefined);
  const few = ending.slice(0, headersMax - 1);
  return before === undefined ? few : [...few, before];
}

/** None of what is damaged, or gone by now. */
async function headerOf(
  storage: Storage,
  file: BackupFile,
  signal: AbortSignal | undefined,
): Promise<LtxHeader | undefined> {
  try {
    return await usingObject(file.key, () => readHeader(storage, file, { signal }));
  } catch (error) {
    if (error instanceof UnusableObject) return undefined;
    throw error;
  }
}
