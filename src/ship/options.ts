/** Options of `ship`: their defaults, and a clear error for what is not one. */
import { type Clock, type Random, systemClock } from "../clock.ts";
import { ReplicaError } from "../errors.ts";
import { type KeepOptions, type KeepSettings, readKeepOptions } from "./keep-options.ts";
import { leaseTtlMsMax, leaseTtlMsMin } from "./lease-rules.ts";

export interface ShipOptions {
  /**
   * Commits are gathered for so long, in ms, then shipped as one file; for less when they make the
   * WAL longer by `checkpointBytes`. @default 1000
   */
  readonly intervalMs?: number;
  /**
   * How often to look for commits of other processes and connections, in ms: a look at memory
   * that SQLite shares between processes. @default intervalMs
   */
  readonly pollMs?: number;
  /**
   * The shipper's own folder: its position, page checksums and what waits for the storage.
   * @default beside the database: `<file>-ship`
   */
  readonly stateDir?: string;
  /**
   * The WAL is written back into the database at this size, in bytes. At four times of it (or half
   * of `walBytesMax`) the checkpoint keeps writers out for a moment, so that the WAL can begin anew
   * under a load without any pause; at eight times of it for as long as it takes. @default 4 MiB
   */
  readonly checkpointBytes?: number;
  /**
   * At this size of the WAL, in bytes, a commit of this connection gives up reading it, so that it
   * can begin anew, and pages are compared later: JavaScript has not had its turn for so long, or
   * all pages of a large database are read, which is begun again then. @default 256 MiB
   */
  readonly walBytesMax?: number;
  /**
   * What may wait for the storage, in bytes on disk. Beyond it the files are given up, and once the
   * storage is back all pages changed meanwhile are shipped at once (event `rebase`).
   * @default 1 GiB
   */
  readonly queueBytesMax?: number;
  /**
   * How long after its last sign of life another shipper may take this one's place in a storage, in
   * ms. One that finds the place taken waits. @default 60000
   */
  readonly leaseTtlMs?: number;
  /**
   * Ship without a lease: for storages that ignore conditional writes, where nobody else writes.
   * @default false
   */
  readonly unsafeNoLease?: boolean;
  /**
   * How the backup is kept: files are joined, and made into snapshots, which are proved by a
   * restore, and what is old is deleted. `false`: somebody else does that, or nobody. @default {}
   */
  readonly keep?: KeepOptions | false;
  /**
   * Keep the place in a storage in idle hours, too, at the cost of a request each third of
   * `leaseTtlMs`: else another shipper may take it when nothing is written for so long.
   * @default false
   */
  readonly holdLease?: boolean;
  /** The first pause after a failed upload, in ms; it doubles up to a minute. @default 1000 */
  readonly retryMs?: number;
  /** For tests and simulations. @default the system's */
  readonly clock?: Clock;
  /** For tests and simulations. @default Math.random */
  readonly random?: Random;
}

export type ShipSettings = Required<Omit<ShipOptions, "stateDir" | "keep">> & {
  readonly stateDir: string | undefined;
  readonly keep: KeepSettings | false;
};

const mebibyte = 1024 * 1024;
const ranges = {
  intervalMs: { min: 0, max: 3_600_000 },
  pollMs: { min: 1, max: 3_600_000 },
  checkpointBytes: { min: 64 * 1024, max: 1024 * mebibyte },
  walBytesMax: { min: 64 * 1024, max: 64 * 1024 * mebibyte },
  queueBytesMax: { min: 64 * 1024, max: 1024 * 1024 * mebibyte },
  leaseTtlMs: { min: leaseTtlMsMin, max: leaseTtlMsMax },
  retryMs: { min: 1, max: 60_000 },
} as const;

/** @throws INVALID_OPTION */
export function readShipOptions(options: ShipOptions): ShipSettings {
  const intervalMs = options.intervalMs ?? 1000;
  const settings: ShipSettings = {
    intervalMs,
    pollMs: options.pollMs ?? Math.max(intervalMs, 1),
    stateDir: options.stateDir,
    checkpointBytes: options.checkpointBytes ?? 4 * mebibyte,
    walBytesMax: options.walBytesMax ?? 256 * mebibyte,
    queueBytesMax: options.queueBytesMax ?? 1024 * mebibyte,
    leaseTtlMs: options.leaseTtlMs ?? 60_000,
    unsafeNoLease: options.unsafeNoLease ?? false,
    holdLease: options.holdLease ?? false,
    keep: options.keep === false ? false : readKeepOptions(options.keep ?? {}),
    retryMs: options.retryMs ?? 1000,
    clock: options.clock ?? systemClock,
    random: options.random ?? Math.random,
  };
  for (const name of Object.keys(options)) {
    if (!Object.hasOwn(settings, name)) throw invalid(`there is no option "${name}"`);
  }
  for (const [name, { min, max }] of Object.entries(ranges)) {
    const value = settings[name as keyof typeof ranges];
    if (!Number.isSafeInteger(value) || value < min || value > max) {
      throw invalid(`${name} must be a whole number from ${min} to ${max}`);
    }
  }
  if (settings.walBytesMax < settings.checkpointBytes) {
    throw invalid("walBytesMax must not be below checkpointBytes");
  }
  const { stateDir, unsafeNoLease, holdLease } = settings;
  if (typeof unsafeNoLease !== "boolean") throw invalid("unsafeNoLease must be true or false");
  if (typeof holdLease !== "boolean") throw invalid("holdLease must be true or false");
  if (stateDir !== undefined && (typeof stateDir !== "string" || stateDir === "")) {
    throw invalid("stateDir must be the name of a folder");
  }
  return settings;
}

function invalid(message: string): ReplicaError {
  return new ReplicaError("INVALID_OPTION", message);
}
