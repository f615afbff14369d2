/** Makes a database file again from a backup, as it was at a moment or after a transaction. */
import type { FileHandle } from "node:fs/promises";
import { checkNames } from "../arguments.ts";
import type { ReplicaError } from "../errors.ts";
import { applyLtx } from "../ltx/apply.ts";
import type { LtxHeader } from "../ltx/header.ts";
import { LtxReader } from "../ltx/reader.ts";
import { checkStorage, type Storage } from "../storage/storage.ts";
import type { BackupFile } from "./chain.ts";
import { type Fetched, type FetchOptions, fetchInOrder } from "./fetch.ts";
import { checkHeader, checkPageSize, listBackup } from "./inventory.ts";
import { checkPoint, type Damage, planRestore, type RestorePoint } from "./plan.ts";
import { exists, Target } from "./target.ts";
import { UnusableObject, usingObject } from "./unusable.ts";

export interface RestoreProgress {
  /** Of objects read so far, and of all. */
  readonly bytes: number;
  readonly bytesTotal: number;
  readonly percent: number;
}

export interface RestoreIntoOptions {
  /** A moment, or a position. @default the newest position */
  readonly at?: RestorePoint;
  readonly onProgress?: (progress: RestoreProgress) => void;
  /** Ends the work; it rejects with `signal.reason`, and the target is as it was. */
  readonly signal?: AbortSignal | undefined;
}

/** Of {@link RestoreIntoOptions}. */
export const restoreNames: readonly string[] = ["at", "onProgress", "signal"];

export interface RestoreOptions extends RestoreIntoOptions {
  /** Do nothing when the file exists. @default false */
  readonly ifMissing?: boolean;
  /** Put the restored file in place of one that exists and that nobody uses. @default false */
  readonly force?: boolean;
}

export interface Restored {
  /** The last transaction that is in the file. */
  readonly txid: number;
  /** When it was committed, in ms since 1970. */
  readonly timestampMs: number;
  /** Of the file. */
  readonly bytes: number;
  readonly pageSize: number;
  /** Damaged objects of the backup that there was a way around. */
  readonly avoided: readonly { readonly key: string; readonly problem: string }[];
}

/**
 * Restores into `file`: whole, or it leaves there what there was. Where an object of the backup is
 * damaged or missing and others hold the same, it takes these.
 *
 * Resolves to `undefined` when `ifMissing` and the file exists.
 * @throws `BACKUP_EMPTY`, `BACKUP_GAP`, `BACKUP_DAMAGED`, `FILE_EXISTS`, `FILE_IN_USE`, the storage's
 * errors, and those of the file system
 */
export async function restore(
  storage: Storage,
  file: string,
  options: RestoreOptions = {},
): Promise<Restored | undefined> {
  const { ifMissing = false, force = false, ...rest } = options;
  checkStorage(storage);
  checkNames(options, [...restoreNames, "ifMissing", "force"]);
  checkPoint(options.at);
  if (ifMissing && (await exists(file))) return undefined;
  const mustBeNew = !force;
  const target = await Target.open(file, { mustBeNew });
  try {
    const restored = await restoreInto(storage, target.file, rest, { hurries: true });
    options.signal?.throwIfAborted();
    await target.install({ mustBeNew });
    return restored;
  } finally {
    await target.abandon();
  }
}

export interface RestoreReading extends Pick<FetchOptions, "hurries"> {
  /** Which objects there are. @default those of the storage */
  readonly list?: () => Promise<readonly BackupFile[]>;
}

/** Into a new file that nobody else has open; syncing it is the caller's. */
export async function restoreInto(
  storage: Storage,
  file: FileHandle,
  options: RestoreIntoOptions = {},
  { list = () => listBackup(storage, options), hurries = false }: RestoreReading = {},
): Promise<Restored> {
  const damage = new Map<string, ReplicaError>();
  for (;;) {
    // Each time anew: what is missing now may have been compacted into another file.
    const files = await list();
    try {
      const restored = await attempt(storage, file, { files, damage, options, hurries });
      const listed = new Set(files.map(({ key }) => key));
      const avoided = [...damage]
        .filter(([key]) => listed.has(key))
        .map(([key, { message }]) => ({ key, problem: message }));
      return { ...restored, avoided };
    } catch (error) {
      if (!(error instanceof UnusableObject) || damage.has(error.key)) throw error;
      damage.set(error.key, error.cause);
    }
  }
}

interface Attempt {
  readonly files: readonly BackupFile[];
  readonly damage: Damage;
  readonly options: RestoreIntoOptions;
  readonly hurries: boolean;
}

/** @throws `UnusableObject`, and what cannot be avoided */
async function attempt(
  storage: Storage,
  file: FileHandle,
  { files, damage, hurries, options: { at, onProgress = () => {}, signal } }: Attempt,
): Promise<Omit<Restored, "avoided">> {
  const chain = await planRestore(storage, files, { at, damage, signal });
  const told = progressOf(chain.files, onProgress);
  let last: LtxHeader | undefined;
  await file.truncate(0);
  for await (const fetched of fetchInOrder(storage, chain.files, { signal, hurries })) {
    const before = last;
    last = await usingObject(fetched.file.key, async () => {
      const reader = await openFetched(fetched, before, told);
      await applyLtx(reader, file);
      return reader.header;
    });
  }
  if (last === undefined) throw new Error("a chain has at least one file");
  const { pageSize, commit, timestampMs } = last;
  return { txid: chain.position, timestampMs, pageSize, bytes: commit * pageSize };
}

/** Hears of pieces as they are read, and tells of them. */
function progressOf(
  files: readonly BackupFile[],
  onProgress: (progress: RestoreProgress) => void,
): (pieceBytes: number) => void {
  const bytesTotal = files.reduce((sum, file) => sum + file.bytes, 0);
  let bytes = 0;
  return (pieceBytes) => {
    bytes += pieceBytes;
    // What is read of an encrypted object is a little less than what is kept.
    onProgress({ bytes, bytesTotal, percent: Math.min(100, (100 * bytes) / bytesTotal) });
  };
}

async function openFetched(
  { file, body }: Fetched,
  before: LtxHeader | undefined,
  onPiece: (bytes: number) => void,
): Promise<LtxReader> {
  const reader = await LtxReader.open(counted(body, onPiece), { name: file.key });
  try {
    checkHeader(reader.header, file);
    checkPageSize(reader, before);
    return reader;
  } catch (error) {
    await reader.close();
    throw error;
  }
}

async function* counted(
  body: AsyncIterable<Uint8Array>,
  onPiece: (bytes: number) => void,
): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const piece of body) {
    yield piece;
    onPiece(piece.length);
  }
}
