/** Mistakes of callers, told where they are made and not where they would show. */
import { ReplicaError } from "./errors.ts";

/**
 * An option that is misspelt must not be a wish that nobody hears: `authorise` lets everybody in.
 * @throws INVALID_OPTION
 */
export function checkNames(options: unknown, known: readonly string[]): void {
  if (typeof options !== "object" || options === null) {
    throw invalid(`options are an object, not ${kindOf(options)}`, known);
  }
  const unknown = Object.keys(options).find((name) => !known.includes(name));
  if (unknown !== undefined) throw invalid(`unknown option ${JSON.stringify(unknown)}`, known);
}

/** @throws TypeError */
export function checkFunction(value: unknown, what: string): void {
  if (typeof value === "function") return;
  throw new TypeError(`${what} is a function, not ${kindOf(value)}`);
}

/** For messages: `a string`, `undefined`, `a Date`. */
export function kindOf(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (typeof value !== "object") return withArticle(typeof value);
  const name: unknown = value.constructor?.name;
  return withArticle(typeof name === "string" && name !== "" ? name : "object");
}

function withArticle(noun: string): string {
  return `${/^[aeiou]/i.test(noun) ? "an" : "a"} ${noun}`;
}

function invalid(message: string, known: readonly string[]): ReplicaError {
  return new ReplicaError("INVALID_OPTION", message, {
    hint: `The options are ${known.join(", ")}.`,
  });
}
