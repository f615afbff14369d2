/** New values that look like those that are there: they pass most checks without reading them. */
import type { Random } from "../../clock.ts";
import { between, pick, randomHex, randomUuid } from "./random.ts";
import type { ColumnModel } from "./schema.ts";

export type SqlValue = null | bigint | number | string | Uint8Array;

/** Integers are `bigint`s here, so that 5 is not written as 5.0, nor 5.0 as 5. */
export type Row = Readonly<Record<string, SqlValue>>;

const keyMax = 2 ** 31 - 1;

/** A value no other row is likely to have. */
export function freshValue(random: Random, column: ColumnModel): SqlValue {
  switch (column.affinity) {
    case "integer":
    case "numeric":
      return BigInt(between(random, { min: 1_000_000, max: keyMax }));
    case "real":
      return between(random, { min: 1_000_000, max: keyMax }) + 0.5;
    case "text":
      return randomUuid(random);
    case "blob":
      return Buffer.from(randomHex(random, 32), "hex");
  }
}

/** A value for a table without rows to learn from. */
export function inventedValue(random: Random, column: ColumnModel): SqlValue {
  if (column.isNullable && random() < 0.2) return null;
  switch (column.affinity) {
    case "integer":
    case "numeric":
      return BigInt(between(random, { min: 1, max: 100 }));
    case "real":
      return between(random, { min: 1, max: 10_000 }) / 100;
    case "text":
      return `${column.name} ${randomHex(random, 4)}`;
    case "blob":
      return Buffer.from(randomHex(random, 16), "hex");
  }
}

/** `mark` tells who wrote it; it replaces an earlier one, so texts do not grow for ever. */
export function variedValue(
  random: Random,
  { column, seen, mark }: { column: ColumnModel; seen: readonly SqlValue[]; mark: string },
): SqlValue {
  if (column.isNullable && random() < 0.05) return null;
  const value = pick(random, seen) ?? inventedValue(random, column);
  if (typeof value === "bigint") return variedInteger(random, value, seen);
  if (typeof value === "number") return Math.round(value * (90 + random() * 20)) / 100;
  // Dates, codes and the like are taken from another row as they are.
  if (typeof value !== "string" || isEnumeration(seen) || /^\d{4}-\d\d/.test(value)) return value;
  return `${unmarked(value)} ~${mark}`;
}

export function unmarked(text: string): string {
  return text.replace(/ ~\w+$/, "");
}

function variedInteger(random: Random, value: bigint, seen: readonly SqlValue[]): bigint {
  if (isEnumeration(seen)) return value;
  const varied = value + BigInt(between(random, { min: -5, max: 5 }));
  // A column of positive numbers stays one.
  return value > 0n && varied <= 0n ? value : varied;
}

/** A column that repeats a few values has a reason to. */
function isEnumeration(seen: readonly SqlValue[]): boolean {
  return seen.length >= 12 && new Set(seen.map(String)).size * 4 <= seen.length;
}
