/** Options of how a shipper keeps its backups. */
import { type CompactionLevels, checkLevels, levelDefaults } from "../backup/levels.ts";
import { checkRetention, type Retention, retentionDefaults } from "../backup/retention.ts";
import { ReplicaError } from "../errors.ts";

/** Every time in ms. */
export interface KeepOptions extends CompactionLevels, Retention {
  /**
   * While there is something new, each backup is proved once in so many ms: restored into a
   * temporary file, compared with the checksum of all pages, and checked by SQLite. Besides, before
   * snapshots are deleted. @default 86_400_000, a day
   */
  readonly verifyMs?: number;
  /** Where backups are restored to for a proof, and deleted again. @default `stateDir` */
  readonly verifyDir?: string;
}

export type KeepSettings = Required<Omit<KeepOptions, "verifyDir">> & {
  readonly verifyDir: string | undefined;
};

const yearMs = 366 * 86_400_000;

/** @throws INVALID_OPTION */
export function readKeepOptions(options: KeepOptions): KeepSettings {
  if (typeof options !== "object" || options === null) throw invalid("is an object, or false");
  const settings: KeepSettings = {
    intervalsMs: options.intervalsMs ?? levelDefaults.intervalsMs,
    snapshotMs: options.snapshotMs ?? levelDefaults.snapshotMs,
    retentionMs: options.retentionMs ?? retentionDefaults.retentionMs,
    snapshotsMin: options.snapshotsMin ?? retentionDefaults.snapshotsMin,
    level0Ms: options.level0Ms ?? retentionDefaults.level0Ms,
    levelsMs: options.levelsMs ?? retentionDefaults.levelsMs,
    verifyMs: options.verifyMs ?? 86_400_000,
    verifyDir: options.verifyDir,
  };
  for (const name of Object.keys(options)) {
    if (!Object.hasOwn(settings, name)) throw invalid(`has no option "${name}"`);
  }
  const { intervalsMs, snapshotMs, verifyMs, verifyDir } = settings;
  if (!Array.isArray(intervalsMs) || intervalsMs.length === 0) {
    throw invalid("wants one interval at least in intervalsMs");
  }
  if (!Number.isSafeInteger(verifyMs) || verifyMs < 1000 || verifyMs > yearMs) {
    throw invalid(`wants verifyMs to be a whole number from 1000 to ${yearMs}`);
  }
  if (verifyDir !== undefined && (typeof verifyDir !== "string" || verifyDir === "")) {
    throw invalid("wants verifyDir to be the name of a folder");
  }
  try {
    checkLevels({ intervalsMs, snapshotMs });
    checkRetention(retentionOf(settings));
  } catch (error) {
    throw error instanceof TypeError ? invalid(`says: ${error.message}`) : error;
  }
  return settings;
}

function retentionOf({ retentionMs, snapshotsMin, level0Ms, levelsMs }: KeepSettings) {
  return { retentionMs, snapshotsMin, level0Ms, levelsMs };
}

function invalid(message: string): ReplicaError {
  return new ReplicaError("INVALID_OPTION", `keep ${message}`);
}
