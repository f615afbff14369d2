/**
 * Metrics as OpenMetrics text (the format of Prometheus, version 1.0.0 of the specification:
 * https://prometheus.io/docs/specs/om/open_metrics_spec/). Base units, `_total` for counters.
 */
import { checkNames } from "./arguments.ts";

export const openMetricsContentType = "application/openmetrics-text; version=1.0.0; charset=utf-8";

export type Labels = Readonly<Record<string, string>>;

export interface Sample {
  readonly value: number;
  readonly labels?: Labels;
  /** What the name ends in, for histograms. */
  readonly suffix?: string;
}

/** What is told of one number of some metrics, and by which name. */
export interface Family<Metrics> {
  /** Without what all names begin with. */
  readonly name: string;
  readonly type: "counter" | "gauge" | "histogram";
  readonly unit?: "seconds" | "bytes";
  readonly help: string;
  /** None where it is not known. */
  samples(metrics: Metrics): readonly Sample[];
}

/** Metrics of one thing, and what tells it from the others of its process. */
export interface Labelled<Metrics> {
  readonly metrics: Metrics;
  readonly labels?: Labels;
}

export interface FormatOptions {
  /** Of every sample. @default {} */
  readonly labels?: Labels;
}

/** @throws TypeError for a label whose name OpenMetrics does not allow */
export function formatFamilies<Metrics>(
  families: readonly Family<Metrics>[],
  of: Metrics | readonly Labelled<Metrics>[],
  options: FormatOptions = {},
): string {
  checkNames(options, ["labels"]);
  const { labels = {} } = options;
  const all = Array.isArray(of)
    ? (of as readonly Labelled<Metrics>[])
    : [{ metrics: of as Metrics }];
  const lines: string[] = [];
  for (const family of families) {
    const samples = all.flatMap((one: Labelled<Metrics>) =>
      family.samples(one.metrics).map((sample) => ({
        ...sample,
        labels: { ...labels, ...one.labels, ...sample.labels },
      })),
    );
    if (samples.length > 0) lines.push(...formatFamily(family, samples));
  }
  return `${lines.join("\n")}${lines.length === 0 ? "" : "\n"}${end}`;
}

const end = "# EOF\n";

/**
 * One text of several: of a replica, shippers, followers and primaries of one process.
 * @throws TypeError for a metric that two of them have: give what is of one kind as an array
 */
export function joinOpenMetrics(texts: readonly string[]): string {
  const seen = new Set<string>();
  const parts = texts.map((text) => {
    if (!text.endsWith(end)) throw new TypeError("not a whole OpenMetrics text");
    for (const [, name = ""] of text.matchAll(/^# TYPE (\S+) /gm)) {
      if (seen.has(name)) throw new TypeError(`${name} is in two texts`);
      seen.add(name);
    }
    return text.slice(0, -end.length);
  });
  return `${parts.join("")}${end}`;
}

function formatFamily(
  { name, type, unit, help }: Omit<Family<never>, "samples">,
  samples: readonly Sample[],
): string[] {
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

/** Of a number that only rises. */
export function counter<Metrics>(
  name: string,
  help: string,
  read: (metrics: Metrics) => number,
): Family<Metrics> {
  const unit = name.endsWith("_bytes") ? ({ unit: "bytes" } as const) : {};
  return { name, type: "counter", help, ...unit, samples: (metrics) => [{ value: read(metrics) }] };
}

/** Of a present reading. Its unit is what the name ends in: `_bytes`, `_seconds`, or none. */
export function gauge<Metrics>(
  name: string,
  help: string,
  read: (metrics: Metrics) => number,
): Family<Metrics> {
  const [, unit] = /_(bytes|seconds)$/.exec(name) ?? [];
  return {
    name,
    type: "gauge",
    help,
    ...(unit === "bytes" || unit === "seconds" ? { unit } : {}),
    samples: (metrics) => [{ value: read(metrics) }],
  };
}
