/**
 * Floors: what a peer knows of who belongs to its cluster, what it has promised, and the round of
 * agreement that is under way. Pure: states go in, states come out. `docs/decisions/0016` has the
 * terms and says why it holds. Timestamps are readings of the hybrid clock.
 */
import {
  covers,
  mergeVector,
  type ReadonlyVersionVector,
  type VersionVector,
} from "../log/vector.ts";

export interface FloorRound {
  readonly timestamp: number;
  /** Members that write nothing below it any more, and let nothing in. */
  readonly announced: ReadonlySet<number>;
  /** All that these held when they said so. */
  readonly vector: ReadonlyVersionVector;
  /** Members that hold all that everyone announced. */
  readonly passed: ReadonlySet<number>;
}

/** What a peer keeps, and tells. */
export interface FloorState {
  readonly self: number;
  /** When this peer began; nobody else is told. */
  readonly since: number;
  /** Peers ever let in, and the bound at which each was. */
  readonly added: ReadonlyMap<number, number>;
  /** These never come back under the same id. */
  readonly forgotten: ReadonlySet<number>;
  /** This peer writes nothing stamped below it. Above 0 it takes nothing from strangers. */
  readonly bound: number;
  /** No floor is above it, and whoever is let in here brings nothing unknown below it. */
  readonly gate: number;
  /** Every member that took part holds everything below it. */
  readonly floor: number;
  /** The highest round of which this peer itself holds everything. */
  readonly passed: number;
  readonly round: FloorRound | undefined;
}

/**
 * `merge`: each accepts the other. `gate`: the remote stands outside, nothing is taken from it.
 * `yield`: this peer stands outside. `wait`: it does until the remote hears how a round has ended.
 */
export type Verdict = "merge" | "gate" | "yield" | "wait";

const nobody: ReadonlySet<number> = new Set();
const nothing: ReadonlyVersionVector = new Map();

/** What a file under a new id has been through under others. */
export interface FilePast {
  /** Tombstones below it are gone. */
  readonly swept: number;
  /** It holds everything else that was below; not so while rows come instead of log. */
  readonly whole: boolean;
}

/** Nobody's member yet. */
export function newFloor(
  self: number,
  since: number,
  { swept, whole }: FilePast = { swept: 0, whole: true },
): FloorState {
  const passed = whole ? swept : 0;
  return {
    self,
    since,
    added: new Map([[self, swept]]),
    forgotten: nobody,
    bound: swept,
    gate: swept,
    floor: passed,
    passed,
    round: undefined,
  };
}

/** Nothing below what the file has swept comes in, by whatever way it was swept. */
export function raiseGate(state: FloorState, swept: number): FloorState {
  if (swept <= state.gate) return state;
  return { ...state, gate: swept, bound: Math.max(state.bound, swept) };
}

/** It holds everything below its gate that any member holds: only then may it let others in. */
export function isWhole({ gate, passed }: Pick<FloorState, "gate" | "passed">): boolean {
  return passed >= gate;
}

export function isMember({ added, forgotten }: FloorState, peerId: number): boolean {
  return added.has(peerId) && !forgotten.has(peerId);
}

export function membersOf({ added, forgotten }: FloorState): number[] {
  return [...added.keys()].filter((peerId) => !forgotten.has(peerId));
}

/** Members that have not done yet what the round needs of all. */
export function waitsFor(state: FloorState, round: FloorRound): number[] {
  const members = membersOf(state);
  const silent = members.filter((peerId) => !round.announced.has(peerId));
  return silent.length > 0 ? silent : members.filter((peerId) => !round.passed.has(peerId));
}

/** Tombstones below it are needed by nobody. */
export function horizonOf({ floor, passed }: FloorState): number {
  return Math.min(floor, passed);
}

/** It told this before it was let in: what it belonged to then is not what it is a member of. */
export function isOutdated(here: FloorState, there: FloorState): boolean {
  return there.gate < (here.added.get(there.self) ?? 0);
}

/** Whether `here` takes changesets from `there`. */
export function admits(here: FloorState, there: FloorState): boolean {
  if (here.bound === 0) return true;
  if (isOutdated(here, there)) return false;
  if (accepts(here, there)) return true;
  // Nobody else relies on what it takes from those who let it in.
  return here.added.size === 1 && verdictOf(here, there) === "yield";
}

export function verdictOf(here: FloorState, there: FloorState): Verdict {
  if (isOutdated(here, there)) return "gate";
  const isForgotten = there.forgotten.has(here.self);
  const isRemoteForgotten = here.forgotten.has(there.self);
  if (areFounders(here, there)) {
    if (!isForgotten && !isRemoteForgotten) return "merge";
    return isForgotten ? "yield" : "gate";
  }
  const isOutside = isForgotten || !vouchesFor(there, here, there.floor);
  const isRemoteOutside = isRemoteForgotten || !vouchesFor(here, there, here.floor);
  if (isOutside && isRemoteOutside) {
    if (isForgotten !== isRemoteForgotten) return isForgotten ? "yield" : "gate";
    // Two clusters that do not know of each other: one of them has to give way.
    return compareRanks(here, there) < 0 ? "yield" : "gate";
  }
  if (isOutside) return "yield";
  if (isRemoteOutside) return "gate";
  const isAccepted = accepts(there, here);
  const isRemoteAccepted = accepts(here, there);
  if (isAccepted && isRemoteAccepted) return "merge";
  if (isAccepted) return "gate";
  return isRemoteAccepted || compareRanks(here, there) < 0 ? "wait" : "gate";
}

/** Negative if `a` gives way: who can let others in, and has promised most, stays. */
export function compareRanks(a: FloorState, b: FloorState): number {
  return (
    Number(a.gate > 0) - Number(b.gate > 0) ||
    Number(isWhole(a)) - Number(isWhole(b)) ||
    a.gate - b.gate ||
    Number(a.added.size > 1) - Number(b.added.size > 1) ||
    b.self - a.self
  );
}

/** There is no floor yet: whoever is let in takes part in the round. */
function areFounders(here: FloorState, there: FloorState): boolean {
  return here.gate === 0 && there.gate === 0;
}

/** The round that `here` has passed may be a floor by now that it has not heard of. */
function accepts(here: FloorState, there: FloorState): boolean {
  return vouchesFor(here, there, Math.max(here.floor, here.passed));
}

/**
 * It is a member; or it was let in elsewhere, and so was everyone on the way from a member that is
 * known here, at no gate below `least`. And who was let in by a peer forgotten here does not know
 * that it is.
 */
function vouchesFor(here: FloorState, there: FloorState, least: number): boolean {
  if (isMember(here, there.self)) return true;
  return (
    !here.forgotten.has(there.self) &&
    isMember(there, there.self) &&
    isMember(there, here.self) &&
    [...here.forgotten].every((peerId) => there.forgotten.has(peerId)) &&
    [...there.added].every(([peerId, gate]) => here.added.has(peerId) || gate >= least)
  );
}

/** This peer belongs to a cluster of which the other one does not know everything. */
export function isElsewhere(here: FloorState, there: FloorState): boolean {
  if (here.bound === 0) return false;
  const others = new Map(here.added);
  others.delete(here.self);
  return !knowsAll(there, { ...here, added: others });
}

/** Both accept each other: what the two know together. The same state when that is nothing new. */
export function mergeFloor(here: FloorState, there: FloorState): FloorState {
  const added = new Map(here.added);
  let { passed } = here;
  for (const [peerId, gate] of there.added) {
    // Founders cannot know whose word to take for the gates of others.
    const told = areFounders(here, there) ? 0 : gate;
    // It may hold what nobody here does, from its gate on.
    if (!added.has(peerId)) passed = Math.min(passed, told);
    added.set(peerId, Math.min(added.get(peerId) ?? told, told));
  }
  const forgotten = new Set([...here.forgotten, ...there.forgotten]);
  const floor = Math.max(here.floor, there.floor);
  const all = { ...here, added, forgotten, floor, passed };
  const round = mergeRounds(roundWithin(all, here), roundWithin(all, there), floor);
  const merged = { ...all, round };
  return isSameFloor(here, merged) ? here : merged;
}

/**
 * As a member from now on, of all that the other one knows of. This peer has merged all that the
 * other one had merged below its gate.
 */
export function joinFloor(here: FloorState, there: FloorState): FloorState {
  const gate = Math.max(here.gate, there.gate);
  const passed = Math.max(here.passed, isWhole(there) ? there.gate : 0);
  return {
    self: here.self,
    since: here.since,
    added: new Map(there.added).set(here.self, gate),
    forgotten: new Set(there.forgotten),
    bound: Math.max(here.bound, gate),
    gate,
    floor: there.floor,
    passed,
    round: undefined,
  };
}

/** These will not return. */
export function forgetPeers(state: FloorState, peers: Iterable<number>): FloorState {
  const forgotten = new Set(state.forgotten);
  for (const peerId of peers) if (peerId !== state.self) forgotten.add(peerId);
  if (forgotten.size === state.forgotten.size) return state;
  // What one of them had announced may be known to nobody else.
  const { round } = state;
  return { ...state, forgotten, round: round && newRound(round.timestamp) };
}

export interface FloorNow {
  readonly timestamp: number;
  /** The floor that is aimed at; 0 for none, and then no round is joined either. */
  readonly aim: number;
  /** The least by which a floor rises. */
  readonly stride: number;
  readonly held: ReadonlyVersionVector;
  /** The bound has been in the file for so long that every process on it knows. */
  readonly settled: boolean;
}

/** The next thing this peer can do for the round; the same state when there is nothing. */
export function advanceFloor(state: FloorState, now: FloorNow): FloorState {
  // One that is ahead of the time is that of a clock gone wrong.
  const isAhead = state.round !== undefined && state.round.timestamp > now.timestamp;
  const isNew = (state.round === undefined || isAhead) && isDue(state, now);
  const round = isNew ? newRound(now.aim) : state.round;
  if (round === undefined) return state;
  const next = contribute({ ...state, round }, round, now);
  return isSameFloor(state, next) && state.bound === next.bound && state.passed === next.passed
    ? state
    : next;
}

/** Whether both would tell the same, but for what each has promised itself. */
export function isSameFloor(a: FloorState, b: FloorState): boolean {
  return (
    a.floor === b.floor &&
    sameKeys(a.added, b.added) &&
    [...a.added].every(([peerId, bound]) => b.added.get(peerId) === bound) &&
    sameKeys(a.forgotten, b.forgotten) &&
    a.round?.timestamp === b.round?.timestamp &&
    sameKeys(a.round?.announced ?? nobody, b.round?.announced ?? nobody) &&
    sameKeys(a.round?.passed ?? nobody, b.round?.passed ?? nobody) &&
    covers(a.round?.vector ?? nothing, b.round?.vector ?? nothing) &&
    covers(b.round?.vector ?? nothing, a.round?.vector ?? nothing)
  );
}

function isDue(state: FloorState, { aim, stride }: FloorNow): boolean {
  // Alone there is nobody to agree with, and who comes first should not have to issue anything.
  const isAlone = state.added.size === 1 && state.forgotten.size === 0;
  const isFloor = aim >= state.floor + stride && aim >= state.since;
  return aim > 0 && !isAlone && isFloor && isMember(state, state.self);
}

function contribute(state: FloorState, round: FloorRound, now: FloorNow): FloorState {
  const { self } = state;
  const { timestamp } = round;
  const members = membersOf(state);
  const joins = now.aim > 0 && timestamp <= now.timestamp && members.includes(self);
  if (joins && state.bound < timestamp) return { ...state, bound: timestamp };
  if (joins && !round.announced.has(self)) {
    if (!now.settled) return state;
    const vector: VersionVector = new Map(round.vector);
    mergeVector(vector, now.held);
    return { ...state, round: { ...round, vector, announced: plus(round.announced, self) } };
  }
  const isAnnounced = members.every((peerId) => round.announced.has(peerId));
  if (!isAnnounced || !covers(now.held, round.vector)) return state;
  const passed = members.includes(self) ? plus(round.passed, self) : round.passed;
  const next = {
    ...state,
    gate: Math.max(state.gate, timestamp),
    passed: Math.max(state.passed, timestamp),
    round: { ...round, passed },
  };
  if (!members.every((peerId) => passed.has(peerId))) return next;
  return { ...next, floor: Math.max(state.floor, timestamp), round: undefined };
}

/** The round of `part`, as far as it goes on now that `all` is known. */
function roundWithin(all: FloorState, part: FloorState): FloorRound | undefined {
  const { round } = part;
  if (round === undefined || round.timestamp <= all.floor) return undefined;
  // All members take part: another one may hold, or have let in, what nobody has announced.
  const goesOn = all.forgotten.size === part.forgotten.size && all.added.size === part.added.size;
  return goesOn ? round : newRound(round.timestamp);
}

function mergeRounds(
  a: FloorRound | undefined,
  b: FloorRound | undefined,
  floor: number,
): FloorRound | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  if (a.timestamp !== b.timestamp) return a.timestamp < b.timestamp ? a : b;
  if (a.timestamp <= floor) return undefined;
  const vector: VersionVector = new Map(a.vector);
  mergeVector(vector, b.vector);
  return {
    timestamp: a.timestamp,
    announced: new Set([...a.announced, ...b.announced]),
    vector,
    passed: new Set([...a.passed, ...b.passed]),
  };
}

function newRound(timestamp: number): FloorRound {
  return { timestamp, announced: nobody, vector: nothing, passed: nobody };
}

function knowsAll(there: FloorState, here: FloorState): boolean {
  return (
    [...here.added.keys()].every((peerId) => there.added.has(peerId)) &&
    [...here.forgotten].every((peerId) => there.forgotten.has(peerId))
  );
}

function plus(set: ReadonlySet<number>, peerId: number): ReadonlySet<number> {
  return new Set(set).add(peerId);
}

type Keys = { readonly size: number; has(peerId: number): boolean; keys(): Iterable<number> };

function sameKeys(a: Keys, b: Keys): boolean {
  return a.size === b.size && [...a.keys()].every((peerId) => b.has(peerId));
}
