/** Wall time for people. */

/** `2026-01-31 23:59:59.999Z` */
export function formatTimestamp(wallMs: number | undefined): string {
  if (wallMs === undefined) return "before replication";
  return new Date(wallMs).toISOString().replace("T", " ");
}
