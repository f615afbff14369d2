/** Who may let this file in, and how long it waits for a better one. Pure. */
import type { ReadonlyVersionVector } from "../log/vector.ts";
import {
  compareRanks,
  type FloorState,
  isElsewhere,
  isMember,
  isWhole,
  verdictOf,
} from "./floor.ts";

export interface Door<Link> {
  readonly link: Link;
  readonly there: FloorState;
  /** What it had merged when it said so; undefined until it has heard who asks. */
  readonly merged: ReadonlyVersionVector | undefined;
}

export interface DoorView {
  readonly state: FloorState | undefined;
  readonly merged: ReadonlyVersionVector | undefined;
}

/** A member that another one does not know waits so long for others to tell it. */
const patiencePeriods = 12;
/** And so long for somebody who has everything, if those it is linked with have not. */
const wholePeriods = 48;

/** Those for whom this file stands outside; who can let others in comes first. */
export function doorsOf<Link extends { readonly live: boolean }>(
  here: FloorState,
  remotes: ReadonlyMap<Link, DoorView>,
  boundMax: number,
): Door<Link>[] {
  const doors: Door<Link>[] = [];
  for (const [link, { state: there, merged }] of remotes) {
    if (there === undefined || !link.live || there.gate > boundMax) continue;
    if (verdictOf(here, there) === "yield") doors.push({ link, there, merged });
  }
  // The same one for everybody: otherwise two could wait for each other.
  return doors.sort(({ there: a }, { there: b }) => compareRanks(b, a));
}

/** For how long it is too early to go in there, since this file has found itself outside. */
export function patienceMs(here: FloorState, there: FloorState, periodMs: number): number {
  // A fellow member may only not have heard of this one yet.
  const isElse = isElsewhere(here, there) || isMember(here, there.self);
  const isForgotten = there.forgotten.has(here.self);
  if (!isWhole(there)) return wholePeriods * periodMs;
  return isElse && !isForgotten ? patiencePeriods * periodMs : 0;
}
