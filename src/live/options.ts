/** Options of `serveWal`: their defaults, and a clear error for what is not one. */
import { ReplicaError } from "../errors.ts";
import { heartbeatMsRange } from "../restore/live-protocol.ts";
import { readShipOptions, type ShipOptions, type ShipSettings } from "../ship/options.ts";

export interface ServeWalOptions
  extends Pick<ShipOptions, "checkpointBytes" | "walBytesMax" | "retryMs" | "clock"> {
  /** Commits are gathered for so long, in ms, then sent as one file. @default 10 */
  readonly intervalMs?: number;
  /**
   * How often to look for commits of other processes and connections, in ms, where the file system
   * does not say that the WAL was written. @default 200
   */
  readonly pollMs?: number;
  /**
   * The primary's own folder: its position, page checksums and what waits for followers.
   * @default beside the database: `<file>-live`
   */
  readonly stateDir?: string;
  /**
   * What may wait for slow followers, in bytes on disk. One that falls further behind gets all
   * pages that changed meanwhile as one transaction. @default 64 MiB
   */
  readonly queueBytesMax?: number;
  /** More are sent away. @default 100 */
  readonly followersMax?: number;
  /** How often each side says that it lives, in ms; silent for three, it is gone. @default 5000 */
  readonly heartbeatMs?: number;
}

export interface ServeWalSettings
  extends Pick<
    ShipSettings,
    | "intervalMs"
    | "pollMs"
    | "checkpointBytes"
    | "walBytesMax"
    | "queueBytesMax"
    | "retryMs"
    | "clock"
    | "stateDir"
  > {
  readonly followersMax: number;
  readonly heartbeatMs: number;
}

const mebibyte = 1024 * 1024;
const shippers = ["checkpointBytes", "walBytesMax"];
const names = [
  "intervalMs",
  "pollMs",
  "stateDir",
  "queueBytesMax",
  "retryMs",
  "clock",
  ...shippers,
];

/** @throws INVALID_OPTION */
export function readServeWalOptions(
  options: ServeWalOptions,
  { isShared }: { isShared: boolean },
): ServeWalSettings {
  const { followersMax = 100, heartbeatMs = 5000, ...rest } = options;
  // What is undefined is not given, and the defaults are not those of shipping.
  const given = Object.entries(rest).filter(([, value]) => value !== undefined);
  for (const [name] of given) {
    if (!names.includes(name)) {
      throw new ReplicaError("INVALID_OPTION", `there is no option "${name}"`);
    }
    if (isShared && shippers.includes(name)) {
      throw new ReplicaError("INVALID_OPTION", `${name} is an option of the shipper`);
    }
  }
  const defaults = { intervalMs: 10, pollMs: 200, queueBytesMax: 64 * mebibyte };
  const settings = readShipOptions({ ...defaults, ...Object.fromEntries(given) });
  checkWhole("followersMax", followersMax, { min: 1, max: 10_000 });
  checkWhole("heartbeatMs", heartbeatMs, heartbeatMsRange);
  return { ...settings, followersMax, heartbeatMs };
}

function checkWhole(name: string, value: number, { min, max }: { min: number; max: number }): void {
  if (Number.isSafeInteger(value) && value >= min && value <= max) return;
  const message = `${name} must be a whole number from ${min} to ${max}`;
  throw new ReplicaError("INVALID_OPTION", message);
}
