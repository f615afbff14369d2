/** Counts of durations by size, as OpenMetrics wants them. */

/** Upper bounds in ms: from what nobody notices to what everybody does. */
const boundsMs = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000] as const;

export interface Histogram {
  readonly count: number;
  readonly sumMs: number;
  /** How many took at most `leMs`, cumulative. */
  readonly buckets: readonly { readonly leMs: number; readonly count: number }[];
}

export class Durations {
  readonly #counts = new Float64Array(boundsMs.length);
  #count = 0;
  #sumMs = 0;
  #maxMs = 0;

  /** The wall clock may have stepped backwards meanwhile: that is no duration. */
  add(ms: number): void {
    const tookMs = Math.max(ms, 0);
    const at = boundsMs.findIndex((boundMs) => tookMs <= boundMs);
    if (at >= 0) this.#counts[at] = (this.#counts[at] ?? 0) + 1;
    this.#count += 1;
    this.#sumMs += tookMs;
    this.#maxMs = Math.max(this.#maxMs, tookMs);
  }

  get maxMs(): number {
    return this.#maxMs;
  }

  get histogram(): Histogram {
    let count = 0;
    const buckets = boundsMs.map((leMs, at) => {
      count += this.#counts[at] ?? 0;
      return { leMs, count };
    });
    return { count: this.#count, sumMs: this.#sumMs, buckets };
  }
}
