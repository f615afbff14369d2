/** A strict reader of OpenMetrics text: it throws at whatever the specification does not allow. */

export interface ReadFamily {
  type: string;
  unit?: string;
  help?: string;
  samples: { name: string; labels: Record<string, string>; value: number }[];
}

const suffixes: Record<string, readonly string[]> = {
  counter: ["_total"],
  gauge: [""],
  histogram: ["_bucket", "_count", "_sum"],
};

export function parseOpenMetrics(text: string): Map<string, ReadFamily> {
  if (!text.endsWith("# EOF\n")) throw new Error("no # EOF at the end");
  const families = new Map<string, ReadFamily>();
  let current: [string, ReadFamily] | undefined;
  const seen = new Set<string>();
  for (const line of text.slice(0, -"# EOF\n".length).split("\n").slice(0, -1)) {
    const [, keyword, name = "", rest = ""] = /^# (TYPE|UNIT|HELP) (\S+) (.*)$/.exec(line) ?? [];
    if (keyword === undefined) {
      if (current === undefined) throw new Error(`a sample before a family: ${line}`);
      addSample(current, line, seen);
      continue;
    }
    if (current?.[0] !== name) {
      if (families.has(name)) throw new Error(`${name} is interleaved`);
      current = [name, { type: "unknown", samples: [] }];
      families.set(...current);
    }
    const [, family] = current;
    if (family.samples.length > 0) throw new Error(`${keyword} after samples of ${name}`);
    if (keyword === "TYPE") family.type = rest;
    if (keyword === "HELP") family.help = rest;
    if (keyword === "UNIT") {
      if (!name.endsWith(`_${rest}`)) throw new Error(`${name} does not end in its unit`);
      family.unit = rest;
    }
  }
  for (const [name, family] of families) checkHistogram(name, family);
  return families;
}

function addSample([name, family]: [string, ReadFamily], line: string, seen: Set<string>): void {
  const pattern = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$/;
  const [, full = "", labelText = "", valueText = ""] = pattern.exec(line) ?? [];
  const allowed = (suffixes[family.type] ?? []).map((suffix) => name + suffix);
  if (!allowed.includes(full)) throw new Error(`not a sample of ${name}: ${line}`);
  const value = Number(valueText);
  if (Number.isNaN(value)) throw new Error(`not a value: ${line}`);
  if (family.type === "counter" && value < 0) throw new Error(`a negative counter: ${line}`);
  const id = `${full}{${labelText}}`;
  if (seen.has(id)) throw new Error(`twice: ${id}`);
  seen.add(id);
  family.samples.push({ name: full, labels: parseLabels(labelText), value });
}

function parseLabels(text: string): Record<string, string> {
  const labels: Record<string, string> = {};
  let rest = text;
  while (rest !== "") {
    const [whole, name = "", value = ""] =
      /^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,(?=.)|$)/.exec(rest) ?? [];
    if (whole === undefined) throw new Error(`not labels: ${text}`);
    if (name in labels) throw new Error(`label ${name} twice`);
    labels[name] = value.replace(/\\(.)/g, (_, char: string) => (char === "n" ? "\n" : char));
    rest = rest.slice(whole.length);
  }
  return labels;
}

function checkHistogram(name: string, { type, samples }: ReadFamily): void {
  if (type !== "histogram") return;
  let last = 0;
  for (const sample of samples.filter((one) => one.name.endsWith("_bucket"))) {
    if (sample.value < last) throw new Error(`${name} is not cumulative`);
    if (!/^(\d+\.\d+|\+Inf)$/.test(sample.labels.le ?? "")) throw new Error(`${name}: le`);
    last = sample.value;
  }
  const count = samples.find((one) => one.name.endsWith("_count"))?.value;
  if (count !== last) throw new Error(`${name}: _count is not the bucket +Inf`);
}

/** The same metrics with every number another one, none of them 0; and what each is now, by path. */
export function numbered<Metrics>(metrics: Metrics): {
  metrics: Metrics;
  numbers: Map<string, number>;
} {
  let next = 1000;
  const numbers = new Map<string, number>();
  const renumber = (value: unknown, path: string): unknown => {
    if (typeof value === "number") {
      next += 1000;
      numbers.set(path, next);
      return next;
    }
    if (Array.isArray(value)) return value.map((one, at) => renumber(one, `${path}.${at}`));
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(
      Object.entries(value).map(([name, one]) => [name, renumber(one, `${path}.${name}`)]),
    );
  };
  return { metrics: renumber(metrics, "metrics") as Metrics, numbers };
}

/** The paths of those numbers that a text tells neither as they are nor in thousandths. */
export function untoldOf(text: string, numbers: ReadonlyMap<string, number>): string[] {
  const told = new Set(
    text.split("\n").flatMap((line) => {
      const value = Number(/ ([0-9.]+)$/.exec(line)?.[1]);
      return [value, Math.round(value * 1000)];
    }),
  );
  return [...numbers].flatMap(([path, number]) => (told.has(number) ? [] : [path]));
}
