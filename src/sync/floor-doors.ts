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
  /** It may come to accept this file by itself. */
  readonly waits: boolean;
}

export interface DoorView {
  readonly state: FloorState | undefined;
  readonly merged: ReadonlyVersionVector | undefined;
}

/** A member that another one does not know waits so long for others to tell it. */
const patiencePeriods = 12;
/** And so long for somebody who has everything, or who has to hear how a round has ended. */
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
    const verdict = verdictOf(here, there);
    const waits = verdict === "wait";
    if (waits || verdict === "yield") doors.push({ link, there, merged, waits });
  }
  // The same one for everybody: otherwise two could wait for each other.
  return doors.sort((a, b) => Number(a.waits) - Number(b.waits) || compareRanks(b.there, a.there));
}

/** For how long it is too early to go in there, since this file has found itself outside. */
export function patienceMs(
  here: FloorState,
  { there, waits }: Pick<Door<unknown>, "there" | "waits">,
  periodMs: number,
): number {
  // A fellow member may only not have heard of this one yet.
  const isElse = isElsewhere(here, there) || isMember(here, there.self);
  const isForgotten = there.forgotten.has(here.self);
  if (waits || !isWhole(there)) return wholePeriods * periodMs;
  return isElse && !isForgotten ? patiencePeriods * periodMs : 0;
}
