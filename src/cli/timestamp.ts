/** Timestamps as wall time, for people. */

/** 2025-01-01T00:00:00Z: what the 40 bits of milliseconds in a timestamp count from. */
const epochMs = 1_735_689_600_000;
const counterValues = 2 ** 13;

/** Undefined for rows from before replication began: nobody knows when they were made. */
export function wallMsOf(timestamp: number): number | undefined {
  const ms = Math.floor(timestamp / counterValues);
  return ms === 0 ? undefined : ms + epochMs;
}

/** `2026-01-31 23:59:59.999Z` */
export function formatTimestamp(wallMs: number | undefined): string {
  if (wallMs === undefined) return "before replication";
  return new Date(wallMs).toISOString().replace("T", " ");
}
