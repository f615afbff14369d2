/** What a command is, and how its arguments are read. */
import { parseArgs } from "node:util";
import { messageOf } from "../errors.ts";
import { usageFailure } from "./failure.ts";
import type { Output } from "./output.ts";

export interface OptionSpec {
  readonly type: "boolean" | "string";
  readonly multiple?: boolean;
  readonly short?: string;
  /** What the help calls the option's value. */
  readonly value?: string;
  readonly help: string;
}

export interface Command {
  readonly name: string;
  /** The arguments, as the help shows them. */
  readonly usage: string;
  /** One line, for the list of commands. */
  readonly summary: string;
  /** Paragraphs under the usage. */
  readonly description: string;
  readonly options: Readonly<Record<string, OptionSpec>>;
  /** How many arguments there must be: at least, at most. */
  readonly positionals: readonly [number, number];
  /** Resolves to the exit code. */
  run(input: CommandInput): number | Promise<number>;
}

export interface CommandInput {
  readonly arguments: readonly string[];
  readonly values: Values;
  readonly output: Output;
}

export const jsonOption: OptionSpec = { type: "boolean", help: "print JSON" };
export const jsonEventsOption: OptionSpec = {
  ...jsonOption,
  help: "print events as JSON, one a line",
};
export const clusterOption: OptionSpec = {
  type: "string",
  value: "NAME",
  help: "only replicas of one cluster talk to each other",
};

const helpOption: OptionSpec = { type: "boolean", short: "h", help: "show this help" };

/** Option values with their types and ranges checked. */
export class Values {
  readonly #values: Readonly<Record<string, unknown>>;

  constructor(values: Readonly<Record<string, unknown>>) {
    this.#values = values;
  }

  flag(name: string): boolean {
    return this.#values[name] === true;
  }

  text(name: string): string | undefined {
    const value = this.#values[name];
    return typeof value === "string" ? value : undefined;
  }

  texts(name: string): string[] {
    const value = this.#values[name];
    return Array.isArray(value) ? value.filter((item) => typeof item === "string") : [];
  }

  /** A number from `min` to `max`; whole unless `fraction`. */
  number(
    name: string,
    { min, max, fallback, fraction = false }: NumberRange & { fallback: number },
  ): number {
    const text = this.text(name);
    if (text === undefined) return fallback;
    const value = /^[0-9]+(\.[0-9]+)?$/.test(text) ? Number(text) : Number.NaN;
    if (value >= min && value <= max && (fraction || Number.isInteger(value))) return value;
    const kind = fraction ? "a number" : "a whole number";
    throw usageFailure(`--${name} must be ${kind} from ${min} to ${max}, not "${text}"`);
  }
}

export interface NumberRange {
  readonly min: number;
  readonly max: number;
  readonly fraction?: boolean;
}

export function parseArguments(
  command: Command,
  args: readonly string[],
): { arguments: string[]; values: Values; help: boolean } {
  const options: Record<string, OptionSpec> = { ...command.options, help: helpOption };
  let parsed: ReturnType<typeof parseStrictly>;
  try {
    parsed = parseStrictly(args, options);
  } catch (error) {
    // Node adds advice about `--` after the first sentence, which does not help here.
    const message = messageOf(error);
    const [sentence = message] = message.split(/[.\n] ?To /);
    throw usageFailure(sentence.replace(/\.$/, "").replace(/^[A-Z](?=[a-z])/, lower));
  }
  const { positionals, tokens } = parsed;
  const given = tokens.flatMap((token) => (token.kind === "option" ? [token.name] : []));
  const twice = given.find((name, i) => {
    const { type, multiple = false } = options[name] ?? helpOption;
    return type === "string" && !multiple && given.indexOf(name) < i;
  });
  const help = parsed.values.help === true;
  if (!help && twice !== undefined) throw usageFailure(`--${twice} is given twice`);
  const [least, most] = command.positionals;
  if (!help && (positionals.length < least || positionals.length > most)) {
    const problem = positionals.length < least ? "too few" : "too many";
    throw usageFailure(`${problem} arguments: mergelite ${command.name} ${command.usage}`);
  }
  return { arguments: positionals, values: new Values(parsed.values), help };
}

function parseStrictly(args: readonly string[], options: Record<string, OptionSpec>) {
  return parseArgs({
    args: [...args],
    options,
    allowPositionals: true,
    strict: true,
    tokens: true,
  });
}

export function helpOf(command: Command): string {
  const options = { ...command.options, help: helpOption };
  const rows = Object.entries(options).map(([name, spec]) => ({
    name: `--${name}${spec.value === undefined ? "" : ` ${spec.value}`}`,
    help: spec.help,
  }));
  const width = Math.max(...rows.map((row) => row.name.length));
  const lines = rows.map((row) => `  ${row.name.padEnd(width)}  ${row.help}`);
  const usage = `usage: mergelite ${command.name} ${command.usage}`.trimEnd();
  return `${usage}\n\n${command.description}\n\noptions:\n${lines.join("\n")}\n`;
}

function lower(letter: string): string {
  return letter.toLowerCase();
}
