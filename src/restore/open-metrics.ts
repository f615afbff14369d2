/** A follower's metrics as OpenMetrics text. */
import {
  counter,
  type Family,
  type FormatOptions,
  formatFamilies,
  gauge,
  type Labelled,
} from "../metrics-text.ts";
import type { FollowMetrics } from "./follow.ts";

const families: readonly Family<FollowMetrics>[] = [
  gauge("follow_position", "The transaction that readers of the copy see.", ({ txid }) => txid),
  gauge(
    "follow_position_timestamp_seconds",
    "When it was committed; 0 for none.",
    ({ timestampMs }) => timestampMs / 1000,
  ),
  counter("follow_commits", "Transactions written into the copy.", ({ commits }) => commits),
  counter("follow_files", "Objects read for them.", ({ files }) => files),
  counter("follow_bytes", "Bytes of those.", ({ bytes }) => bytes),
  counter("follow_failures", "Looks and writes that failed.", ({ failures }) => failures),
];

/**
 * What a scrape is answered with, as `openMetricsContentType`: of one follower, or of several with
 * labels that tell them apart.
 * @throws TypeError for a label whose name OpenMetrics does not allow
 */
export function formatFollowerMetrics(
  of: FollowMetrics | readonly Labelled<FollowMetrics>[],
  options: FormatOptions = {},
): string {
  return formatFamilies(families, of, options);
}
