/** What `mergelite ship` is to ship where: from its arguments, or from a file. */
import { readFileSync, realpathSync } from "node:fs";
import { basename, dirname, resolve } from "node:path";
import { parse, TomlError } from "smol-toml";
import { ReplicaError } from "../errors.ts";
import { readShipOptions, type ShipOptions } from "../ship/options.ts";
import { Failure, usageFailure } from "./failure.ts";

export interface ShipPlan {
  readonly file: string;
  /** URLs of storages. */
  readonly targets: readonly string[];
  readonly options: ShipOptions;
}

/** FILE… URL. One file has the URL for itself, several a place each below it, by their names. */
export function planArguments(args: readonly string[], options: ShipOptions): ShipPlan[] {
  const files = args.slice(0, -1);
  const url = args.at(-1) ?? "";
  if (files.length === 0) throw usageFailure("name a FILE and a URL, or a --config");
  const isOne = files.length === 1;
  const plans = files.map((file) => {
    return { file, targets: [isOne ? url : placeBelow(url, basename(file))], options };
  });
  checkPlaces(plans);
  return plans;
}

/** @throws `Failure` that names the table and the key */
export function planConfig(path: string, options: ShipOptions): ShipPlan[] {
  const top = new Table(path, parseFile(path), ["database", "options"]);
  const shared = { ...options, ...top.table("options", optionNames)?.options() };
  const databases = top.tables("database", ["file", "targets", "options"]);
  if (databases.length === 0) throw new Failure(`${path} has no [[database]]`);
  const plans = databases.map((database) => {
    const file = resolve(dirname(path), database.text("file"));
    const own = database.table("options", optionNames)?.options() ?? {};
    const merged = merge(shared, own);
    database.check(() => readShipOptions(merged));
    return { file, targets: database.texts("targets"), options: merged };
  });
  checkPlaces(plans);
  return plans;
}

/** An option of one database stands before that of all; so does each of `keep`. */
function merge(shared: ShipOptions, own: ShipOptions): ShipOptions {
  const isBoth = typeof shared.keep === "object" && typeof own.keep === "object";
  const keep = isBoth ? { keep: { ...shared.keep, ...own.keep } } : {};
  return { ...shared, ...own, ...keep };
}

/** Those of `ship`, but what only a program can give. */
const optionNames = Object.keys(readShipOptions({})).filter(
  (name) => name !== "clock" && name !== "random",
);

function parseFile(path: string): Record<string, unknown> {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (cause) {
    throw new Failure(`--config: ${cause instanceof Error ? cause.message : ""}`, { cause });
  }
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const [what = ""] = error.message.split("\n");
    throw new Failure(`${path}, line ${error.line}, column ${error.column}: ${what}`);
  }
}

/** A table of the file, of which every key is known. */
class Table {
  readonly #name: string;
  readonly #values: Record<string, unknown>;

  constructor(name: string, values: unknown, keys: readonly string[]) {
    this.#name = name;
    if (typeof values !== "object" || values === null || Array.isArray(values)) {
      throw new Failure(`${name} must be a table`);
    }
    this.#values = { ...values };
    for (const key of Object.keys(this.#values)) {
      if (keys.includes(key)) continue;
      throw new Failure(`${name} has no key "${key}"`, { hint: `It has ${keys.join(", ")}.` });
    }
  }

  table(key: string, keys: readonly string[]): Table | undefined {
    const value = this.#values[key];
    return value === undefined ? undefined : new Table(`${this.#name}, [${key}]`, value, keys);
  }

  tables(key: string, keys: readonly string[]): Table[] {
    const value = this.#values[key] ?? [];
    if (!Array.isArray(value)) throw new Failure(`${this.#name}: write [[${key}]], not [${key}]`);
    return value.map((each, i) => new Table(`${this.#name}, [[${key}]] ${i + 1}`, each, keys));
  }

  text(key: string): string {
    const value = this.#values[key];
    if (typeof value === "string" && value !== "") return value;
    throw new Failure(`${this.#name}: ${key} must be a text`);
  }

  texts(key: string): string[] {
    const value = this.#values[key];
    const texts = Array.isArray(value) ? value.filter((each) => typeof each === "string") : [];
    if (Array.isArray(value) && texts.length === value.length && texts.length > 0) return texts;
    throw new Failure(`${this.#name}: ${key} must be an array of URLs`);
  }

  options(): ShipOptions {
    this.check(() => readShipOptions(this.#values));
    return this.#values;
  }

  /** Errors of the options say where they are. */
  check(read: () => void): void {
    try {
      read();
    } catch (error) {
      if (!(error instanceof ReplicaError)) throw error;
      throw new Failure(`${this.#name}: ${error.message}`, { cause: error });
    }
  }
}

/** Below the path of a URL, with its parameters. */
function placeBelow(url: string, name: string): string {
  if (!URL.canParse(url)) return url;
  const place = new URL(url);
  place.pathname = `${place.pathname.replace(/\/+$/, "")}/${encodeURIComponent(name)}`;
  return place.href;
}

/** Two databases in one place would be one backup of neither. */
function checkPlaces(plans: readonly ShipPlan[]): void {
  const filesByPlace = new Map<string, string>();
  const files = new Set<string>();
  for (const { file, targets } of plans) {
    const path = realPathOf(file);
    if (files.has(path)) throw new Failure(`${file} is named twice`);
    files.add(path);
    for (const target of targets) {
      const place = URL.canParse(target) ? new URL(target).href.replace(/\/+$/, "") : target;
      const other = filesByPlace.get(place);
      if (other !== undefined) {
        throw new Failure(`${other} and ${file} would both be shipped to ${withoutSecret(place)}`, {
          hint: "Give each database a place of its own: with --config, or other names.",
        });
      }
      filesByPlace.set(place, file);
    }
  }
}

function realPathOf(file: string): string {
  try {
    return realpathSync(file);
  } catch {
    return resolve(file);
  }
}

function withoutSecret(place: string): string {
  if (!URL.canParse(place)) return place;
  const url = new URL(place);
  url.password = "";
  return url.href;
}
