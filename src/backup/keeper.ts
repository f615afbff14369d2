/** Keeps a backup small while it grows: compaction when it is due, then what may go. */
import { listBackup, readHeader } from "../restore/inventory.ts";
import type { Metadata, Storage, StorageCallOptions } from "../storage/storage.ts";
import { compact } from "./compact.ts";
import { type CompactionLevels, checkLevels, planCompaction, type TimedFile } from "./levels.ts";
import { checkRetention, planPrune, type Retention } from "./retention.ts";
import { type Verified, verifyFiles } from "./verify.ts";

export interface KeeperOptions extends CompactionLevels, Retention {
  /** Put with every object that is made. @default none */
  readonly metadata?: Metadata;
  /** Where backups are restored to for a proof, and deleted again. @default below `os.tmpdir()` */
  readonly folder?: string;
}

export interface TendOptions extends StorageCallOptions {
  /** In ms since 1970. */
  readonly nowMs: number;
}

export interface Tended {
  readonly compacted: readonly TimedFile[];
  readonly dropped: readonly TimedFile[];
  /** The proof that was made before snapshots were deleted. */
  readonly verified: Verified | undefined;
}

/**
 * Belongs to whoever writes the backup, and is told of every file: after the first one there are
 * no lists. One call at a time.
 */
export class BackupKeeper {
  readonly #storage: Storage;
  readonly #options: KeeperOptions;
  #files: TimedFile[];

  /**
   * Lists what is there, once.
   * @throws `TypeError` for options out of range, and the storage's errors
   */
  static async open(
    storage: Storage,
    options: KeeperOptions & StorageCallOptions = {},
  ): Promise<BackupKeeper> {
    checkLevels(options);
    checkRetention(retentionOf(options));
    const files: TimedFile[] = [];
    for (const file of await listBackup(storage, options)) {
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
  private constructor(storage: Storage, options: KeeperOptions, files: TimedFile[]) {
    this.#storage = storage;
    this.#options = options;
    this.#files = files;
  }

  get files(): readonly TimedFile[] {
    return this.#files;
  }

  /** Notes a file that its caller has put. */
  add(file: TimedFile): void {
    this.#files = [...this.#files.filter(({ key }) => key !== file.key), file];
  }

  /**
   * Does all that is due. When it fails, what has been done stays done and noted, and the next call
   * goes on. Snapshots are only deleted after what is left has been restored and checked.
   * @throws `LTX_CORRUPT`, `LTX_GAP`, `BACKUP_DAMAGED`, `BACKUP_GAP`, and the storage's errors
   */
  async tend({ nowMs, signal }: TendOptions): Promise<Tended> {
    const { metadata = {} } = this.#options;
    const compacted: TimedFile[] = [];
    for (;;) {
      const step = planCompaction(this.#files, { ...levelsOf(this.#options), nowMs });
      if (step === undefined) break;
      const made = await compact(this.#storage, step, { metadata, signal });
      this.add(made);
      compacted.push(made);
    }
    const plan = planPrune(this.#files, { ...retentionOf(this.#options), nowMs });
    const verified = plan.dropsSnapshots ? await this.#verify(plan.keep, signal) : undefined;
    for (const file of plan.drop) {
      await this.#storage.delete(file.key, { signal });
      this.#files = this.#files.filter((one) => one !== file);
    }
    return { compacted, dropped: plan.drop, verified };
  }

  async #verify(keep: readonly TimedFile[], signal: AbortSignal | undefined): Promise<Verified> {
    const { folder } = this.#options;
    const options = {
      ...(folder === undefined ? {} : { folder }),
      ...(signal === undefined ? {} : { signal }),
    };
    return await verifyFiles(this.#storage, options, () => Promise.resolve(keep));
  }
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
