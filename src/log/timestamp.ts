/** Timestamps as wall time. */

/** 2025-01-01T00:00:00Z: what the 40 bits of milliseconds in a timestamp count from. */
const epochMs = 1_735_689_600_000;
const counterValues = 2 ** 13;

/** Undefined for rows from before replication began: nobody knows when they were made. */
export function wallMsOf(timestamp: number): number | undefined {
  const ms = Math.floor(timestamp / counterValues);
  return ms === 0 ? undefined : ms + epochMs;
}
