/** Chance from a seed: the same seed makes the same choices. */
import type { Random } from "../../clock.ts";

/** Mulberry32: 32 bits of state, plenty for choosing what to write. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A whole number from `min` to `max`. */
export function between(random: Random, { min, max }: { min: number; max: number }): number {
  return min + Math.floor(random() * (max - min + 1));
}

/** Undefined for an empty list only. */
export function pick<Item>(random: Random, items: readonly Item[]): Item | undefined {
  return items[Math.floor(random() * items.length)];
}

export function randomHex(random: Random, digits: number): string {
  let text = "";
  while (text.length < digits) text += Math.floor(random() * 16).toString(16);
  return text;
}

/** A UUID of version 4. */
export function randomUuid(random: Random): string {
  const hex = randomHex(random, 30);
  const parts = [hex.slice(0, 8), hex.slice(8, 12), `4${hex.slice(12, 15)}`];
  return [...parts, `8${hex.slice(15, 18)}`, hex.slice(18)].join("-");
}
