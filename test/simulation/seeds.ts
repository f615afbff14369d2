/** Histories that found something: each has to stay well for ever. */
import type { PlanSize } from "./plan.ts";

export interface NamedSeed {
  readonly found: string;
  readonly size: PlanSize;
}

export const namedSeeds: readonly NamedSeed[] = [
  {
    found: "patches parked for a missing column stayed parked until the next write",
    size: { seed: 1, peers: 4, ticks: 60 },
  },
  {
    found: "patches parked for a missing table stayed parked until the next write",
    size: { seed: 34, peers: 4, ticks: 60 },
  },
  {
    found: "settling withheld rows before row clocks had been read ended the process",
    size: { seed: 90, peers: 2, ticks: 100 },
  },
  {
    found: "row clocks of dead rows did not learn of columns that appeared later",
    size: { seed: 199, peers: 3, ticks: 55 },
  },
  {
    found: "a changeset from the future waited as long as a wrong clock had said",
    size: { seed: 211, peers: 3, ticks: 55 },
  },
  {
    found: "changesets that waited under a former id of the file were trimmed",
    size: { seed: 3, peers: 2, ticks: 55 },
  },
  {
    found: "offers of state that nobody needed took the place of heartbeats",
    size: { seed: 5, peers: 4, ticks: 35 },
  },
  {
    found: "a chunk of state was out of order when folding had taken its first slice",
    size: { seed: 41, peers: 4, ticks: 35 },
  },
  {
    found: "requests that nobody served took the place of heartbeats",
    size: { seed: 159, peers: 2, ticks: 55 },
  },
  {
    found: "a chunk of state from the future waited as long as a wrong clock had said",
    size: { seed: 10087, peers: 4, ticks: 60 },
  },
  {
    found:
      "a row deleted and inserted in one transaction was lost when it had waited for its table",
    size: { seed: 69, peers: 2, ticks: 35 },
  },
  {
    found: "rows that only one of two living copies wrote were deleted by state from the other's",
    size: { seed: 318, peers: 2, ticks: 45 },
  },
  {
    found: "a newcomer in the middle of its first sync let a deleted row be issued again",
    size: { seed: 123, peers: 2, ticks: 55, floors: true },
  },
  {
    found: "rows stayed whose tombstones the sender had dropped under another id",
    size: { seed: 159, peers: 2, ticks: 55, floors: true },
  },
  {
    found: "rows of the log stayed that state knew to be deleted, and had no tombstones of",
    size: { seed: 389, peers: 4, ticks: 35, floors: true },
  },
  {
    found: "a member took no state from who had been let in after it",
    size: { seed: 14, peers: 4, ticks: 45, floors: true },
  },
  {
    found: "a member kept out for ever whom others had let in below what it had passed itself",
    size: { seed: 143, peers: 4, ticks: 55, floors: true },
  },
];

/** CI's share of histories in which tombstones go. */
export const floorSeeds = { first: 1, last: 30 } as const;

/** What CI runs, small and large, by number. */
export function sizeOf(seed: number): PlanSize {
  return { seed, peers: 2 + (seed % 3), ticks: seed % 10 === 0 ? 100 : 25 + (seed % 4) * 10 };
}
