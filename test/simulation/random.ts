/** Chance from a seed. Streams with names of their own do not disturb each other. */

export class Chance {
  readonly #seed: number;
  #state: number;

  constructor(seed: number) {
    this.#seed = seed | 0;
    this.#state = this.#seed;
  }

  /** Another stream that follows from this one's seed and the name, however much was drawn. */
  stream(name: string | number): Chance {
    let hash = this.#seed ^ 0x9e3779b9;
    for (const char of String(name)) {
      hash = Math.imul(hash ^ char.charCodeAt(0), 0x85ebca6b);
      hash ^= hash >>> 13;
    }
    return new Chance(Math.imul(hash, 0xc2b2ae35) ^ (hash >>> 16));
  }

  /** In [0, 1): mulberry32. */
  readonly next = (): number => {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };

  /** A whole number from `min` to `max`, both included. */
  int(min: number, max: number): number {
    return min + Math.floor(this.next() * (max - min + 1));
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  pick<Item>(items: readonly Item[]): Item {
    const item = items[this.int(0, items.length - 1)];
    if (item === undefined) throw new RangeError("nothing to pick from");
    return item;
  }

  /** 53 bits, never 0. */
  wide(): number {
    return this.int(1, 2 ** 21 - 1) * 2 ** 32 + this.int(0, 2 ** 32 - 1);
  }
}
