/** What the commands about backups have in common: URLs, points in time, sizes. */
import type { BackupPoint, RestorePoint } from "../backup/index.ts";
import { formatTxid } from "../ltx/keys.ts";
import { parsePosition } from "../ship/position.ts";
import type { Storage } from "../storage/storage.ts";
import type { OptionSpec, Values } from "./command.ts";
import { usageFailure } from "./failure.ts";
import { formatCount, type Output } from "./output.ts";

export const atOption: OptionSpec = {
  type: "string",
  value: "TIME|POSITION",
  help: "not the newest state, but the one at a time (2026-01-31T12:00:00Z) or position",
};

/** Opens the storage of a URL, calls `use`, and lets go of it whatever happens. */
export async function withStorage<Result>(
  url: string,
  use: (storage: Storage) => Promise<Result>,
): Promise<Result> {
  const { openStorage } = await import("../storage/open.ts");
  const storage = await openStorage(url);
  try {
    return await use(storage);
  } finally {
    await storage.close();
  }
}

export function readAt(values: Values): { at?: RestorePoint } {
  const text = values.text("at");
  if (text === undefined) return {};
  const txid = parsePosition(text);
  if (txid !== undefined) return { at: { txid } };
  // Date.parse takes much else, and reads it in ways that surprise.
  const isTime = /^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?)?$/.test(text);
  const at = new Date(text);
  if (isTime && isDay(text.slice(0, 10)) && !Number.isNaN(at.getTime())) return { at };
  throw usageFailure(
    `--at must be a time (2026-01-31T12:00:00Z) or a position (hexadecimal), not "${text}"`,
  );
}

/** For `Date` the 30th of February is the 2nd of March. */
function isDay(text: string): boolean {
  const day = new Date(text);
  return !Number.isNaN(day.getTime()) && day.toISOString().startsWith(text);
}

/** A position and its time, as they are shown. */
export function pointOf({ txid, timestampMs }: Pick<BackupPoint, "txid" | "timestampMs">): {
  position: string;
  wallTime: string;
} {
  return { position: formatTxid(txid), wallTime: new Date(timestampMs).toISOString() };
}

export function formatBytes(bytes: number): string {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  let size = bytes;
  let unit = 0;
  for (; size >= 10_000 && unit < units.length - 1; unit++) size /= 1024;
  return `${formatCount(Math.round(size))} ${units[unit]}`;
}

/** Shows how far a restore is, on a terminal. */
export function showProgress(output: Output): (progress: { percent: number }) => void {
  return ({ percent }) => output.progress(`restoring: ${Math.floor(percent)} %`);
}

/** A warning for each object that there was a way around. */
export function warnOf(
  output: Output,
  avoided: readonly { readonly key: string; readonly problem: string }[],
): void {
  for (const { problem } of avoided) output.error(`warning: not used: ${problem}`);
}
