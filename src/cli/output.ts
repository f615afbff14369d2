/** Where a command writes: results to stdout, progress and errors to stderr. */

export interface OutputStream {
  readonly isTTY?: boolean;
  write(text: string): boolean;
}

export interface OutputOptions {
  readonly stdout: OutputStream;
  readonly stderr: OutputStream;
  readonly env: Readonly<Record<string, string | undefined>>;
}

const styles = {
  bold: [1, 22],
  dim: [2, 22],
  red: [31, 39],
  green: [32, 39],
  yellow: [33, 39],
  blue: [34, 39],
  magenta: [35, 39],
  cyan: [36, 39],
} as const;

export type Style = keyof typeof styles;

export class Output {
  readonly #stdout: OutputStream;
  readonly #stderr: OutputStream;
  readonly #hasColor: boolean;
  #progress = "";

  constructor({ stdout, stderr, env }: OutputOptions) {
    this.#stdout = stdout;
    this.#stderr = stderr;
    const refused = env.NO_COLOR !== undefined && env.NO_COLOR !== "";
    this.#hasColor = stdout.isTTY === true && !refused && env.TERM !== "dumb";
  }

  /** One line, or several. */
  line(text = ""): void {
    this.#clearProgress();
    this.#stdout.write(`${text}\n`);
  }

  json(value: unknown): void {
    this.line(JSON.stringify(value));
  }

  /** One JSON document a person can read, too. */
  document(value: unknown): void {
    this.line(JSON.stringify(value, null, 2));
  }

  error(text: string): void {
    this.#clearProgress();
    this.#stderr.write(`${text}\n`);
  }

  /** Shown until anything else is written, on a terminal only. */
  progress(text: string): void {
    if (this.#stderr.isTTY !== true || text === this.#progress) return;
    this.#clearProgress();
    this.#progress = text;
    this.#stderr.write(text);
  }

  paint(style: Style, text: string): string {
    if (!this.#hasColor) return text;
    const [on, off] = styles[style];
    return `\u001b[${on}m${text}\u001b[${off}m`;
  }

  #clearProgress(): void {
    if (this.#progress === "") return;
    this.#progress = "";
    this.#stderr.write("\r\u001b[K");
  }
}

/** Columns as wide as their widest cell; numbers to the right, texts to the left. */
export function alignRows(rows: readonly (readonly (string | number)[])[]): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    row.forEach((cell, i) => {
      widths[i] = Math.max(widths[i] ?? 0, cellText(cell).length);
    });
  }
  return rows.map((row) =>
    row
      .map((cell, i) => {
        const text = cellText(cell);
        const width = widths[i] ?? 0;
        return typeof cell === "number" ? text.padStart(width) : text.padEnd(width);
      })
      .join("  ")
      .trimEnd(),
  );
}

export function plural(count: number, one: string, many: string = `${one}s`): string {
  return `${formatCount(count)} ${count === 1 ? one : many}`;
}

export function formatCount(count: number): string {
  return count.toLocaleString("en-US");
}

function cellText(cell: string | number): string {
  return typeof cell === "number" ? formatCount(cell) : cell;
}

export interface ReportOptions {
  readonly output: Output;
  readonly isJson: boolean;
  /** The output is another program's: where they connect is said as an error. @default false */
  readonly isQuiet?: boolean;
}

const wherePhrases = { listening: "listening on", metrics: "metrics at" } as const;

/** Of a place where something is answered from now on. */
export function tellWhere(
  event: keyof typeof wherePhrases,
  url: string,
  { output, isJson, isQuiet = false }: ReportOptions,
): void {
  const text = `${wherePhrases[event]} ${url}`;
  if (isQuiet) output.error(text);
  else if (isJson) output.json({ event, url });
  else output.line(text);
}
