/** Keeps a backup small while it grows, and proves it: what is due is joined, restored, deleted. */
import { checkNames } from "../arguments.ts";
import { ReplicaError, type ReplicaErrorCode } from "../errors.ts";
import { snapshotLevel } from "../ltx/keys.ts";
import { type BackupFile, planChain } from "../restore/chain.ts";
import { listBackup, readHeader } from "../restore/inventory.ts";
import type { Metadata, Storage, StorageCallOptions } from "../storage/storage.ts";
import { compact, readThrough } from "./compact.ts";
import { nextDueMs } from "./due.ts";
import {
  type CompactionLevels,
  type CompactionStep,
  checkLevels,
  newestSnapshot,
  planCompaction,
  type TimedFile,
} from "./levels.ts";
import { checkRetention, type PrunePlan, planPrune, type Retention } from "./retention.ts";
import { type Verified, verifyFiles } from "./verify.ts";

export interface KeeperOptions extends CompactionLevels, Retention {
  /**
   * While there is something new, the backup is proved each so many ms: restored into a temporary
   * file, compared, checked. Besides, before snapshots are deleted. @default 86_400_000, a day
   */
  readonly verifyMs?: number;
  /** Put with every object that is made. @default none */
  readonly metadata?: Metadata;
  /** Where backups are restored to for a proof, and deleted again. @default below `os.tmpdir()` */
  readonly folder?: string;
}

/** The newest position that has been proved, and when. */
export interface Proof {
  readonly txid: number;
  readonly verifiedMs: number;
}

export interface OpenKeeperOptions extends KeeperOptions, StorageCallOptions {
  /** What there is, where the caller has just listed it. @default a listing */
  readonly files?: readonly BackupFile[];
  /** @default none */
  readonly proof?: Proof | undefined;
  /** Called before anything is put or deleted. Rejects when the backup is another one's to keep. */
  readonly confirm?: (options: StorageCallOptions) => Promise<void>;
  /** Called before a proof, which needs room for the database. Rejects when there is none. */
  readonly checkRoom?: () => Promise<void>;
  readonly onCompacted?: (made: TimedFile, inputs: readonly TimedFile[]) => void;
  readonly onVerified?: (verified: Verified) => void;
  readonly onDropped?: (file: TimedFile) => void;
}

export interface TendOptions extends StorageCallOptions {
  /** In ms since 1970. */
  readonly nowMs: number;
}

export interface Tended {
  readonly compacted: readonly TimedFile[];
  readonly dropped: readonly TimedFile[];
  /** The proof, if one was due. */
  readonly verified: Verified | undefined;
}

const names = [
  ...["intervalsMs", "snapshotMs", "retentionMs", "snapshotsMin", "level0Ms", "levelsMs"],
  ...["verifyMs", "metadata", "folder", "signal", "files", "proof", "confirm", "checkRoom"],
  ...["onCompacted", "onVerified", "onDropped"],
];

export const verifyMsDefault = 86_400_000;

/**
 * Belongs to whoever writes the backup, and is told of every file: after the first one there are
 * no lists. One call at a time.
 */
export class BackupKeeper {
  readonly #storage: Storage;
  readonly #options: OpenKeeperOptions;
  readonly #filesByKey = new Map<string, TimedFile>();
  /**
   * Compacted files that somebody else has put, and may have died before it read them back: it made
   * one at a time, so the newest of each level.
   */
  readonly #unread: Set<string>;
  /** Files that could not be read when they were to be joined: maybe only not yet. */
  readonly #suspects = new Set<string>();
  #proof: Proof;
  #newestTxid = 0;
  /** The snapshot that the last proof began with. */
  #provenSnapshot = "";

  /**
   * Lists what is there, once.
   * @throws `TypeError` for options out of range, and the storage's errors
   */
  static async open(storage: Storage, options: OpenKeeperOptions = {}): Promise<BackupKeeper> {
    checkNames(options, names);
    checkLevels(options);
    checkRetention(retentionOf(options));
    const { verifyMs = verifyMsDefault } = options;
    if (!Number.isSafeInteger(verifyMs) || verifyMs < 1) {
      throw new TypeError("verifyMs is a whole number from 1 on");
    }
    const files: TimedFile[] = [];
    for (const file of options.files ?? (await listBackup(storage, options))) {
      // When an object was put is near enough, where it is known: intervals are coarse.
      const timestampMs =
        file.modifiedMs > 0
          ? file.modifiedMs
          : (await readHeader(storage, file, options)).timestampMs;
      files.push({ ...file, timestampMs });
    }
    return new BackupKeeper(storage, options, files);
  }

  /** For `open`. */
  private constructor(storage: Storage, options: OpenKeeperOptions, files: readonly TimedFile[]) {
    this.#storage = storage;
    this.#options = options;
    this.#proof = options.proof ?? { txid: 0, verifiedMs: Number.NEGATIVE_INFINITY };
    const newestByLevel = new Map<number, TimedFile>();
    for (const file of files) {
      this.add(file);
      const { level, maxTxid } = file;
      if (level === 0 || level >= snapshotLevel) continue;
      if (maxTxid > (newestByLevel.get(level)?.maxTxid ?? 0)) newestByLevel.set(level, file);
    }
    this.#unread = new Set([...newestByLevel.values()].map(({ key }) => key));
  }

  get files(): readonly TimedFile[] {
    return [...this.#filesByKey.values()];
  }

  /** Notes a file that its caller has put. */
  add(file: TimedFile): void {
    this.#filesByKey.set(file.key, file);
    this.#newestTxid = Math.max(this.#newestTxid, file.maxTxid);
  }

  /** Whether the newest position cannot be restored: files are damaged or missing. */
  get isBroken(): boolean {
    return planChain(this.files).position < this.#newestTxid;
  }

  /** When `tend` will have something to do, in ms since 1970; `undefined`: not before the next file. */
  get dueMs(): number | undefined {
    const { files } = this;
    const dueMs = nextDueMs(files, levelsOf(this.#options), retentionOf(this.#options));
    if (this.#newestTxid <= this.#proof.txid) return dueMs;
    return Math.min(dueMs ?? Number.POSITIVE_INFINITY, this.#proofDueMs);
  }

  /**
   * Does all that is due. When it fails, what has been done stays done and noted, and the next call
   * goes on. Snapshots are only deleted after what is left has been restored and checked, and
   * nothing is while anything turns out damaged. What is damaged or missing for the second time is
   * forgotten: see `isBroken`.
   * @throws `LTX_CORRUPT`, `LTX_GAP`, `BACKUP_DAMAGED`, `BACKUP_GAP`, and the storage's errors
   */
  async tend({ nowMs, signal }: TendOptions): Promise<Tended> {
    const call = { signal };
    const compacted: TimedFile[] = [];
    for (;;) {
      const step = planCompaction(this.files, { ...levelsOf(this.#options), nowMs });
      if (step === undefined) break;
      compacted.push(await this.#compact(step, nowMs, call));
    }
    let plan = this.#planPrune(nowMs);
    let verified: Verified | undefined;
    let failure: unknown;
    if (this.#isProofDue(plan, nowMs)) {
      try {
        verified = await this.#verify(plan.keep, nowMs, call);
        if (verified.avoided.length > 0) plan = this.#planPrune(nowMs);
      } catch (error) {
        if (signal?.aborted || isDamage(error)) throw error;
        failure = error;
        // No snapshot then, but what has been compacted may go.
        plan = this.#planPrune(nowMs, { retentionMs: nowMs });
      }
    }
    const dropped = await this.#drop(plan, nowMs, call);
    if (failure !== undefined) throw failure;
    return { compacted, dropped, verified };
  }

  async #compact(
    step: CompactionStep,
    nowMs: number,
    call: StorageCallOptions,
  ): Promise<TimedFile> {
    const { metadata = {}, confirm, onCompacted } = this.#options;
    await confirm?.(call);
    try {
      const made = await compact(this.#storage, step, { metadata, nowMs, ...call });
      this.add(made);
      onCompacted?.(made, step.inputs);
      return made;
    } catch (error) {
      if (isUnusable(error)) await this.#suspect(step.inputs, call);
      throw error;
    }
  }

  async #suspect(inputs: readonly TimedFile[], call: StorageCallOptions): Promise<void> {
    for (const file of inputs) {
      if (await this.#isReadable(file, call)) this.#suspects.delete(file.key);
      else if (!this.#suspects.has(file.key)) this.#suspects.add(file.key);
      else this.#forget(file.key);
    }
  }

  async #isReadable(file: TimedFile, call: StorageCallOptions): Promise<boolean> {
    try {
      await readThrough(this.#storage, file, call);
      return true;
    } catch (error) {
      if (isUnusable(error)) return false;
      throw error;
    }
  }

  /** It stays where it is: a restore may still find a use for it. */
  #forget(key: string): void {
    this.#filesByKey.delete(key);
    this.#suspects.delete(key);
  }

  #planPrune(nowMs: number, retention: Retention = {}): PrunePlan {
    return planPrune(this.files, { ...retentionOf(this.#options), ...retention, nowMs });
  }

  get #proofDueMs(): number {
    return this.#proof.verifiedMs + (this.#options.verifyMs ?? verifyMsDefault);
  }

  #isProofDue({ keep, dropsSnapshots }: PrunePlan, nowMs: number): boolean {
    if (dropsSnapshots && this.#provenSnapshot !== newestSnapshot(keep)?.key) return true;
    return nowMs >= this.#proofDueMs && this.#newestTxid > this.#proof.txid && keep.length > 0;
  }

  async #verify(
    keep: readonly TimedFile[],
    nowMs: number,
    call: StorageCallOptions,
  ): Promise<Verified> {
    const { folder, checkRoom, onVerified } = this.#options;
    await checkRoom?.();
    const { signal } = call;
    const options = {
      ...(folder === undefined ? {} : { folder }),
      ...(signal === undefined ? {} : { signal }),
    };
    const verified = await verifyFiles(this.#storage, options, () => Promise.resolve(keep));
    this.#proof = { txid: verified.txid, verifiedMs: nowMs };
    // What there was a way around is not to be relied on: then that way must stay.
    for (const { key } of verified.avoided) this.#forget(key);
    this.#provenSnapshot = newestSnapshot(this.files)?.key ?? "";
    onVerified?.(verified);
    return verified;
  }

  async #drop(plan: PrunePlan, nowMs: number, call: StorageCallOptions): Promise<TimedFile[]> {
    const { confirm, onDropped } = this.#options;
    const isSound = plan.drop.length === 0 || (await this.#readUnread(call));
    const kept = new Set(plan.keep);
    const drop = isSound ? plan.drop : this.#planPrune(nowMs).drop;
    const dropped: TimedFile[] = [];
    for (const file of drop) {
      if (kept.has(file)) continue;
      await confirm?.(call);
      await this.#storage.delete(file.key, call);
      this.#filesByKey.delete(file.key);
      dropped.push(file);
      onDropped?.(file);
    }
    return dropped;
  }

  /** False when there was a damaged one, which is forgotten then. */
  async #readUnread(call: StorageCallOptions): Promise<boolean> {
    let isSound = true;
    for (const key of this.#unread) {
      const file = this.#filesByKey.get(key);
      if (file !== undefined && !(await this.#isReadable(file, call))) {
        this.#forget(key);
        isSound = false;
      }
      this.#unread.delete(key);
    }
    return isSound;
  }
}

const unusable: readonly ReplicaErrorCode[] = [
  "LTX_CORRUPT",
  "STORAGE_MISSING",
  "ENCRYPTION_DAMAGED",
];
const damage: readonly ReplicaErrorCode[] = [...unusable, "BACKUP_DAMAGED", "BACKUP_GAP"];

function isUnusable(error: unknown): boolean {
  return error instanceof ReplicaError && unusable.includes(error.code);
}

function isDamage(error: unknown): boolean {
  return error instanceof ReplicaError && damage.includes(error.code);
}

function levelsOf({ intervalsMs, snapshotMs }: CompactionLevels): CompactionLevels {
  return {
    ...(intervalsMs === undefined ? {} : { intervalsMs }),
    ...(snapshotMs === undefined ? {} : { snapshotMs }),
  };
}

function retentionOf({ retentionMs, snapshotsMin, level0Ms, levelsMs }: Retention): Retention {
  return {
    ...(retentionMs === undefined ? {} : { retentionMs }),
    ...(snapshotsMin === undefined ? {} : { snapshotsMin }),
    ...(level0Ms === undefined ? {} : { level0Ms }),
    ...(levelsMs === undefined ? {} : { levelsMs }),
  };
}
