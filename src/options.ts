/** Options of `attach`: their defaults, and a clear error for what is not one. */
import { checkNames } from "./arguments.ts";
import { type Clock, type Random, systemClock } from "./clock.ts";
import { ReplicaError } from "./errors.ts";
import { type TrimPolicy, trimPolicies } from "./log/trim.ts";
import { type BackupOptions, checkBackupOptions } from "./snapshot/snapshots.ts";
import { linkDefaults } from "./sync/link.ts";

/** What pino and its like have. */
export interface Logger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface AttachOptions {
  /** Tables to replicate, besides those that are replicated already. @default [] */
  readonly tables?: readonly string[] | undefined;
  /**
   * Tables whose changes the change feed tells with the values they replaced: `true` for all, later
   * ones included, `false` for none. Kept in the file: it holds for every process that writes it
   * until it is given again. @default as the file has it, at first false
   */
  readonly oldValues?: boolean | readonly string[];
  /** Only replicas of one cluster talk to each other; at most 255 bytes. @default "" */
  readonly cluster?: string | undefined;
  /**
   * Longest time merging holds the event loop and the write lock at a stretch, in ms. @default 4
   */
  readonly mergeSliceMs?: number;
  /**
   * A changeset stamped further ahead of the local clock waits until its time comes. @default 60000
   */
  readonly driftMaxMs?: number;
  /** A quiet link says this often that it lives, in ms. @default 5000 */
  readonly heartbeatMs?: number;
  /** Bytes sent over a link that its other side has not acknowledged yet. @default 1 MiB */
  readonly windowBytes?: number;
  /**
   * What of the log may go: `age`, what is older than `retentionMs`; `held`, what every known peer
   * holds; `either` of the two; `never`. @default "age"
   */
  readonly trim?: TrimPolicy;
  /**
   * `drop`: tombstones go `retentionMs` after the delete, once every member of the cluster has passed
   * them; all members have to say so. `keep`: never. @default "keep"
   */
  readonly tombstones?: "keep" | "drop";
  /** How long changesets are kept at least when the log is trimmed by age, in ms. @default 25 h */
  readonly retentionMs?: number;
  /** See commits of other processes on the same file at once. @default true */
  readonly watchFile?: boolean;
  /**
   * Compare tables with a linked peer about so often, in ms, by itself: the event `verify` and the
   * metrics tell what differs. 0: never. @default 0
   */
  readonly verifyEveryMs?: number;
  /** Mend what those comparisons find, as `verify` with `repair: true` does. @default false */
  readonly verifyRepair?: boolean;
  /** How long the peers around must be the same before another one leads, in ms. @default 5 min */
  readonly leaderGraceMs?: number;
  /** Told what the events tell, without what users wrote. @default none: NODE_DEBUG=mergelite */
  readonly logger?: Logger | undefined;
  /** Snapshots by a schedule and at shutdown. @default none */
  readonly backup?: BackupOptions | undefined;
  /** For tests and simulations. @default the system's */
  readonly clock?: Clock;
  /** For tests and simulations. @default Math.random */
  readonly random?: Random;
}

type WithDefault = Omit<AttachOptions, "logger" | "backup" | "oldValues">;

export type Options = {
  readonly [Name in keyof WithDefault]-?: Exclude<WithDefault[Name], undefined>;
} & {
  readonly oldValues: boolean | readonly string[] | undefined;
  readonly logger: Logger | undefined;
  readonly backup: BackupOptions | undefined;
};

const ranges = {
  mergeSliceMs: { min: 1, max: 1000 },
  driftMaxMs: { min: 0, max: 365 * 24 * 3600 * 1000 },
  heartbeatMs: { min: 10, max: 3_600_000 },
  retentionMs: { min: 1000, max: 10 * 365 * 24 * 3600 * 1000 },
  windowBytes: { min: 64 * 1024, max: 64 * 1024 * 1024 },
  leaderGraceMs: { min: 0, max: 24 * 3600 * 1000 },
  verifyEveryMs: { min: 0, max: 365 * 24 * 3600 * 1000 },
} as const;

const defaults: Options = {
  tables: [],
  oldValues: undefined,
  cluster: "",
  mergeSliceMs: 4,
  driftMaxMs: 60_000,
  heartbeatMs: linkDefaults.heartbeatMs,
  windowBytes: linkDefaults.windowBytes,
  trim: "age",
  tombstones: "keep",
  retentionMs: 25 * 3600 * 1000,
  watchFile: true,
  leaderGraceMs: 5 * 60 * 1000,
  verifyEveryMs: 0,
  verifyRepair: false,
  logger: undefined,
  backup: undefined,
  clock: systemClock,
  random: Math.random,
};

/** @throws INVALID_OPTION */
export function readOptions(options: AttachOptions): Options {
  checkNames(options, Object.keys(defaults));
  const read: Options = { ...defaults, ...withoutUndefined(options) };
  for (const [name, { min, max }] of Object.entries(ranges)) {
    const value = read[name as keyof typeof ranges];
    if (typeof value === "number" && value >= min && value <= max) continue;
    throw invalid(`option ${name} must be a number from ${min} to ${max}`);
  }
  if (!isListOfNames(read.tables)) throw invalid("option tables must be an array of table names");
  if (!["boolean", "undefined"].includes(typeof read.oldValues) && !isListOfNames(read.oldValues)) {
    throw invalid("option oldValues must be a boolean or an array of table names");
  }
  if (typeof read.cluster !== "string" || Buffer.byteLength(read.cluster) > 255) {
    throw invalid("option cluster must be a string of at most 255 bytes");
  }
  if (!trimPolicies.includes(read.trim)) {
    throw invalid(`option trim must be one of ${trimPolicies.join(", ")}`);
  }
  if (read.tombstones !== "keep" && read.tombstones !== "drop") {
    throw invalid("option tombstones must be keep or drop");
  }
  for (const name of ["watchFile", "verifyRepair"] as const) {
    if (typeof read[name] !== "boolean") throw invalid(`option ${name} must be a boolean`);
  }
  if (read.backup !== undefined) checkBackupOptions(read.backup);
  if (read.logger !== undefined && !isLogger(read.logger)) {
    throw invalid("option logger must have the methods debug, info, warn and error");
  }
  return read;
}

function isListOfNames(names: unknown): boolean {
  return Array.isArray(names) && names.every((name) => typeof name === "string");
}

function isLogger(logger: unknown): boolean {
  if (typeof logger !== "object" || logger === null) return false;
  const levels = ["debug", "info", "warn", "error"] as const;
  return levels.every((level) => level in logger && isFunction((logger as Logger)[level]));
}

function isFunction(value: unknown): boolean {
  return typeof value === "function";
}

function withoutUndefined(options: AttachOptions): Partial<Options> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}

function invalid(message: string): ReplicaError {
  return new ReplicaError("INVALID_OPTION", message, { hint: "See docs/api.md." });
}
