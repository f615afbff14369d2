/** Timestamps as the native core makes them: 40 bits of milliseconds, 13 of a counter. */

/** What the milliseconds count from. */
export const timestampEpochMs: number = Date.UTC(2025, 0, 1);
const counterValues = 2 ** 13;

/** Undefined for rows from before replication began: nobody knows when they were made. */
export function wallMsOf(timestamp: number): number | undefined {
  const ms = Math.floor(timestamp / counterValues);
  return ms === 0 ? undefined : ms + timestampEpochMs;
}

/** The first timestamp of a millisecond; 0 for all before the epoch. */
export function timestampOf(wallMs: number): number {
  return Math.max(wallMs - timestampEpochMs, 0) * counterValues;
}
