/**
 * Metrics as OpenMetrics text (the format of Prometheus, version 1.0.0 of the specification:
 * https://prometheus.io/docs/specs/om/open_metrics_spec/). Base units, `_total` for counters.
 */
import { type Family, families, type Labels, type Sample } from "./metric-families.ts";
import type { Metrics } from "./metrics.ts";

export const openMetricsContentType = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/** One replica's metrics, and what tells it from the others of its process. */
export interface LabelledMetrics {
  readonly metrics: Metrics;
  readonly labels?: Labels;
}

/**
 * The text that a scrape is answered with, as {@link openMetricsContentType}.
 * @throws TypeError for a label whose name OpenMetrics does not allow
 */
export function formatOpenMetrics(
  of: Metrics | readonly LabelledMetrics[],
  { labels = {} }: { labels?: Labels } = {},
): string {
  const replicas = Array.isArray(of)
    ? (of as readonly LabelledMetrics[])
    : [{ metrics: of as Metrics }];
  const lines: string[] = [];
  for (const family of families) {
    const samples = replicas.flatMap((one) =>
      family.samples(one.metrics).map((sample) => ({
        ...sample,
        labels: { ...labels, ...one.labels, ...sample.labels },
      })),
    );
    if (samples.length > 0) lines.push(...formatFamily(family, samples));
  }
  return `${lines.join("\n")}\n# EOF\n`;
}

function formatFamily({ name, type, unit, help }: Family, samples: readonly Sample[]): string[] {
  const full = `mergelite_${name}`;
  return [
    `# TYPE ${full} ${type}`,
    ...(unit === undefined ? [] : [`# UNIT ${full} ${unit}`]),
    `# HELP ${full} ${escapeText(help)}`,
    ...samples.map(({ suffix = type === "counter" ? "_total" : "", labels = {}, value }) => {
      const text = Object.entries(labels).map((label) => formatLabel(...label));
      return `${full}${suffix}${text.length === 0 ? "" : `{${text.join(",")}}`} ${number(value)}`;
    }),
  ];
}

function formatLabel(name: string, value: string): string {
  if (!/^[a-zA-Z_][a-zA-Z0-9_]*$/.test(name)) {
    throw new TypeError(`not a label's name: ${JSON.stringify(name)}`);
  }
  return `${name}="${escapeText(value).replaceAll('"', '\\"')}"`;
}

function escapeText(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
}

function number(value: number): string {
  if (Number.isInteger(value)) return String(value);
  // Thousandths that were divided: 0.1 and not 0.1000000000000000055.
  return String(Number(value.toPrecision(15)));
}
