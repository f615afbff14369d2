/** Which objects make the database at a position. Pure: knows names and sizes only. */
import type { LtxFile } from "../ltx/keys.ts";

/** An LTX file that is in a storage. */
export interface BackupFile extends LtxFile {
  readonly key: string;
  readonly bytes: number;
  /** When it was put there, in ms since 1970, by the storage's clock; 0 where that is not known. */
  readonly modifiedMs: number;
}

/** Files to apply one after the other, a snapshot first. */
export interface Chain {
  readonly files: readonly BackupFile[];
  /** The transaction that the last of them ends with; 0 when there is no snapshot to begin with. */
  readonly position: number;
}

export interface ChainOptions {
  /** Nothing after this transaction. @default no limit */
  readonly upTo?: number;
  /** Keys of files that must not be used. @default none */
  readonly without?: ReadonlySet<string>;
}

/**
 * The chain that reaches furthest. Files may overlap and be there more than once: applied to any
 * state that a file's beginning follows, it makes the state of its end, for it has every page that
 * changed in between. So the newest snapshot is the best beginning, and the file that reaches
 * furthest the best next one.
 */
export function planChain(files: readonly BackupFile[], options: ChainOptions = {}): Chain {
  const usable = usableOf(files, options);
  const snapshot = furthest(usable.filter(({ minTxid }) => minTxid === 1));
  if (snapshot === undefined) return { files: [], position: 0 };
  return follow({ files: [snapshot], position: snapshot.maxTxid }, usable);
}

/** The files that bring a copy from `position` as far as possible. */
export function planTail(
  files: readonly BackupFile[],
  position: number,
  options: ChainOptions = {},
): Chain {
  return follow({ files: [], position }, usableOf(files, options));
}

/** The oldest transaction that a chain reaches; 0 if none does. */
export function oldestPosition(files: readonly BackupFile[]): number {
  const ends = files.filter(({ minTxid }) => minTxid === 1).map(({ maxTxid }) => maxTxid);
  return ends.reduce((oldest, end) => (oldest === 0 ? end : Math.min(oldest, end)), 0);
}

function usableOf(
  files: readonly BackupFile[],
  { upTo = Number.MAX_SAFE_INTEGER, without = new Set() }: ChainOptions,
): BackupFile[] {
  return files.filter(({ key, maxTxid }) => maxTxid <= upTo && !without.has(key));
}

function follow(chain: Chain, files: readonly BackupFile[]): Chain {
  const byStart = [...files].sort((a, b) => a.minTxid - b.minTxid);
  const chosen = [...chain.files];
  let { position } = chain;
  let best: BackupFile | undefined;
  for (let i = 0; ; ) {
    for (
      let file = byStart[i];
      file !== undefined && file.minTxid <= position + 1;
      file = byStart[++i]
    ) {
      best = better(best, file);
    }
    if (best === undefined || best.maxTxid <= position) return { files: chosen, position };
    chosen.push(best);
    position = best.maxTxid;
  }
}

function furthest(files: readonly BackupFile[]): BackupFile | undefined {
  return files.reduce<BackupFile | undefined>(better, undefined);
}

/** The one that reaches further; of equals the smaller, for less has to be read. */
function better(a: BackupFile | undefined, b: BackupFile): BackupFile {
  if (a === undefined || b.maxTxid > a.maxTxid) return b;
  return b.maxTxid === a.maxTxid && b.bytes < a.bytes ? b : a;
}
