/** A replica's metrics as OpenMetrics text. */
import { families } from "./metric-families.ts";
import type { Metrics } from "./metrics.ts";
import { type FormatOptions, formatFamilies, type Labelled } from "./metrics-text.ts";

/** One replica's metrics, and what tells it from the others of its process. */
export type LabelledMetrics = Labelled<Metrics>;

/**
 * The text that a scrape is answered with, as `openMetricsContentType`.
 * @throws TypeError for a label whose name OpenMetrics does not allow
 */
export function formatOpenMetrics(
  of: Metrics | readonly LabelledMetrics[],
  options: FormatOptions = {},
): string {
  return formatFamilies(families, of, options);
}
