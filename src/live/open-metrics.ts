/** A primary's metrics as OpenMetrics text. */
import {
  type Family,
  type FormatOptions,
  formatFamilies,
  gauge,
  type Labelled,
} from "../metrics-text.ts";
import { readingFamilies } from "../ship/open-metrics.ts";
import type { WalServerMetrics } from "./primary.ts";

const families: readonly Family<WalServerMetrics>[] = [
  gauge("live_followers", "Connected followers.", ({ followers }) => followers),
  gauge("live_position", "The newest transaction read.", ({ txid }) => txid),
  gauge("live_shown_position", "The newest one that all of them show.", (m) => m.shownTxid),
  gauge("live_queue_bytes", "On disk, waiting for slow followers.", (m) => m.queuedBytes),
  gauge("live_wal_bytes", "The WAL when it was last read.", ({ walBytes }) => walBytes),
  ...readingFamilies("live"),
];

/**
 * What a scrape is answered with, as `openMetricsContentType`: of one primary, or of several with
 * labels that tell them apart.
 * @throws TypeError for a label whose name OpenMetrics does not allow
 */
export function formatWalServerMetrics(
  of: WalServerMetrics | readonly Labelled<WalServerMetrics>[],
  options: FormatOptions = {},
): string {
  return formatFamilies(families, of, options);
}
