/**
 * How far this replica's wall clock is from the other side's, by what heartbeats say: each side
 * tells its reading and, of the last reading it got, how far behind its own it was on arrival. That
 * difference is the skew plus the way there, so of two, one from each side, the ways cancel.
 */

/** What a HAVE says of the clock of its sender. */
export interface ClockReading {
  readonly wallMs: number;
  /** Sender's clock less the receiver's reading that came last, when that arrived. */
  readonly lagMs?: number;
}

export interface Skew {
  /** Above 0 when this replica's clock is ahead. */
  readonly aheadMs: number;
  /** There and back: the skew is right to half of it. */
  readonly roundTripMs: number;
}

export interface SkewState {
  /** This side's `lagMs` for the next reading it sends. */
  lagMs: number | undefined;
  readonly samples: Skew[];
}

/** Of so many the one with the shortest way counts: the others waited in some queue. */
const samplesMax = 8;

/** Readings are whole milliseconds. */
const roundingMs = 2;

export function createSkew(): SkewState {
  return { lagMs: undefined, samples: [] };
}

/** A reading came at `nowMs`, which must be wall time here. */
export function onReading(state: SkewState, { wallMs, lagMs }: ClockReading, nowMs: number): void {
  const mineMs = nowMs - wallMs;
  state.lagMs = mineMs;
  if (lagMs === undefined) return;
  const sample = { aheadMs: (mineMs - lagMs) / 2, roundTripMs: mineMs + lagMs };
  // The clock here was set between the two readings.
  if (sample.roundTripMs < -roundingMs) return;
  // Two that cannot both be right: a clock was set, and the newer one knows.
  const best = skewOf(state);
  if (best !== undefined && !canAgree(best, sample)) state.samples.length = 0;
  state.samples.push(sample);
  if (state.samples.length > samplesMax) state.samples.shift();
}

/** What is sure of a skew: nothing when it is within the round trip. */
export function certainMs({ aheadMs, roundTripMs }: Skew): number {
  const sureMs = Math.max(0, Math.abs(aheadMs) - roundTripMs / 2);
  return aheadMs < 0 ? -sureMs : sureMs;
}

/** This side's clock was set: what was measured before says nothing any more. */
export function forgetSkew(state: SkewState): void {
  state.lagMs = undefined;
  state.samples.length = 0;
}

export function skewOf(state: SkewState): Skew | undefined {
  let best: Skew | undefined;
  for (const sample of state.samples) {
    if (best === undefined || sample.roundTripMs <= best.roundTripMs) best = sample;
  }
  return best;
}

function canAgree(a: Skew, b: Skew): boolean {
  const apartMs = Math.abs(a.aheadMs - b.aheadMs);
  return apartMs <= (a.roundTripMs + b.roundTripMs) / 2 + roundingMs;
}

/** What most of them say; for an even count the middle one nearer to 0. */
export function medianSkew(skews: readonly Skew[]): number | undefined {
  const sorted = skews.map(certainMs).sort((a, b) => a - b);
  const upper = sorted[Math.floor(sorted.length / 2)];
  const lower = sorted[Math.floor((sorted.length - 1) / 2)];
  if (upper === undefined || lower === undefined) return undefined;
  return Math.abs(lower) <= Math.abs(upper) ? lower : upper;
}
