/**
 * Whose transaction numbers are whose. Each time a primary starts, a new run begins: a folder that
 * was restored to an earlier time uses numbers again for other transactions, and followers that
 * know these as another run's are told apart from those that may go on.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { replaceFile } from "../durable.ts";

export interface Run {
  /** 16 hexadecimal digits. */
  readonly source: string;
  /** The last transaction before it. */
  readonly after: number;
}

const fileName = "runs.json";
const runsMax = 100;

export class Runs {
  #runs: readonly Run[];

  constructor(runs: readonly Run[]) {
    this.#runs = runs;
  }

  /** Those of a state folder that are known; none where the file says nothing of use. */
  static async read(folder: string): Promise<Runs> {
    try {
      return new Runs(parse(await readFile(join(folder, fileName), "utf8")));
    } catch (error) {
      if (error instanceof SyntaxError || (error as NodeJS.ErrnoException).code === "ENOENT") {
        return new Runs([]);
      }
      throw error;
    }
  }

  get source(): string {
    return this.#runs.at(-1)?.source ?? "";
  }

  /** Durable when it resolves. With `after` 0 nothing that was before goes on. */
  async begin(folder: string, { source, after }: Run): Promise<void> {
    const before = after === 0 ? [] : this.#runs.slice(-(runsMax - 1));
    this.#runs = [...before, { source, after }];
    const text = JSON.stringify({ format: 1, runs: this.#runs });
    await replaceFile(folder, fileName, Buffer.from(`${text}\n`));
  }

  /** Whether a copy that may hold transactions up to `reach` of `source` holds what we call so. */
  knows({ source, reach }: { source: string; reach: number }, newest: number): boolean {
    const at = this.#runs.findIndex((run) => run.source === source);
    if (at < 0) return false;
    // Not only the next one: what a power cut took from the state may be before that, too.
    return reach <= Math.min(newest, ...this.#runs.slice(at + 1).map(({ after }) => after));
  }
}

function parse(text: string): Run[] {
  const { format, runs } = JSON.parse(text) as { format?: unknown; runs?: unknown };
  if (format !== 1 || !Array.isArray(runs) || runs.length > runsMax) return [];
  return runs.every(isRun) ? runs : [];
}

function isRun(value: unknown): value is Run {
  if (typeof value !== "object" || value === null) return false;
  const { source, after }: Record<string, unknown> = { ...value };
  const isId = typeof source === "string" && /^[0-9a-f]{16}$/.test(source);
  return isId && Number.isSafeInteger(after) && Number(after) >= 0;
}
