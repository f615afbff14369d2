/** What is to be restored, and from which objects: or why that cannot be. */
import { ReplicaError } from "../errors.ts";
import { formatTxid } from "../ltx/keys.ts";
import type { Storage, StorageCallOptions } from "../storage/storage.ts";
import { type BackupFile, type Chain, oldestPosition, planChain } from "./chain.ts";
import { readHeader } from "./inventory.ts";
import { positionAt } from "./times.ts";

/** A moment, or a position: what the database was then, or after that transaction. */
export type RestorePoint = Date | { readonly txid: number };

/** Objects that proved unusable, by key, with what was wrong. */
export type Damage = ReadonlyMap<string, ReplicaError>;

/** @throws `TypeError` */
export function checkPoint(at: RestorePoint | undefined): void {
  if (at === undefined) return;
  const isRight =
    at instanceof Date ? !Number.isNaN(at.getTime()) : Number.isSafeInteger(at.txid) && at.txid > 0;
  if (!isRight) throw new TypeError("`at` is a valid Date, or a position with a `txid` from 1 on");
}

/**
 * @throws `BACKUP_EMPTY`, `BACKUP_GAP`, `BACKUP_DAMAGED`, and `UnusableObject` for a header that was
 * read in vain
 */
export async function planRestore(
  storage: Storage,
  files: readonly BackupFile[],
  { at, damage, signal }: StorageCallOptions & { at: RestorePoint | undefined; damage: Damage },
): Promise<Chain> {
  const without = new Set(damage.keys());
  const oldest = oldestPosition(files);
  if (oldest === 0) throw empty(storage, files);
  const usable = files.filter(({ key }) => !without.has(key));
  const goal = await goalOf(storage, { files, usable, at, signal });
  if (goal < oldest) throw await tooOld(storage, usable, { at, oldest, signal });
  const chain = planChain(files, { upTo: goal, without });
  if (chain.position === goal) return chain;
  const whole = planChain(files, { upTo: goal });
  if (whole.position === goal) throw damaged(storage, damage, { goal, chain });
  throw gap(storage, { goal, chain, files });
}

async function goalOf(
  storage: Storage,
  {
    files,
    usable,
    at,
    signal,
  }: {
    files: readonly BackupFile[];
    usable: readonly BackupFile[];
    at: RestorePoint | undefined;
    signal: AbortSignal | undefined;
  },
): Promise<number> {
  if (at instanceof Date) return await positionAt(storage, usable, at.getTime(), { signal });
  return at?.txid ?? files.reduce((last, { maxTxid }) => Math.max(last, maxTxid), 0);
}

function empty(storage: Storage, files: readonly BackupFile[]): ReplicaError {
  const what = files.length === 0 ? "has no backup" : "has no snapshot to begin with";
  return new ReplicaError("BACKUP_EMPTY", `${storage.name} ${what}`, {
    hint: "Check the URL: it is the one that was shipped to, without `ltx` at its end.",
  });
}

async function tooOld(
  storage: Storage,
  files: readonly BackupFile[],
  { at, oldest, signal }: StorageCallOptions & { at: RestorePoint | undefined; oldest: number },
): Promise<ReplicaError> {
  const wanted = at instanceof Date ? at.toISOString() : formatTxid(at?.txid ?? 0);
  const first = files.find(({ minTxid, maxTxid }) => minTxid === 1 && maxTxid === oldest);
  // Who asked for a moment wants to know which one there is; the position will do without.
  const header = first && (await readHeader(storage, first, { signal }).catch(() => undefined));
  const time = new Date(header?.timestampMs ?? Number.NaN);
  const since = Number.isNaN(time.getTime()) ? "" : ` of ${time.toISOString()}`;
  return new ReplicaError("BACKUP_GAP", `${storage.name} does not reach back to ${wanted}`, {
    hint: `The oldest position that can be restored is ${formatTxid(oldest)}${since}.`,
  });
}

function damaged(
  storage: Storage,
  damage: Damage,
  { goal, chain }: { goal: number; chain: Chain },
): ReplicaError {
  const keys = [...damage.keys()];
  const [cause] = damage.values();
  const what = `${keys.join(", ")} cannot be used (${cause?.message ?? "unknown"})`;
  return new ReplicaError(
    "BACKUP_DAMAGED",
    `${storage.name} cannot be restored to ${formatTxid(goal)}: ${what}`,
    { cause, hint: offer(chain) },
  );
}

function gap(
  storage: Storage,
  { goal, chain, files }: { goal: number; chain: Chain; files: readonly BackupFile[] },
): ReplicaError {
  const starts = files.map(({ minTxid }) => minTxid).filter((start) => start > chain.position + 1);
  const next = starts.reduce((least, start) => Math.min(least, start), goal + 1);
  const from = formatTxid(chain.position + 1);
  const missing = next - 1 > chain.position + 1 ? `${from} to ${formatTxid(next - 1)}` : from;
  return new ReplicaError(
    "BACKUP_GAP",
    `${storage.name} cannot be restored to ${formatTxid(goal)}: it has no way past transaction ${missing}`,
    { hint: offer(chain) },
  );
}

function offer({ position }: Chain): string {
  if (position === 0) return "No position before it can be restored either.";
  return `The newest position before it that can be restored is ${formatTxid(position)}.`;
}
