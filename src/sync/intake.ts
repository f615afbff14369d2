/**
 * What a replica takes in over all its links together: which link brings an origin's changesets,
 * which of them bring what another has brought already, and whom to ask for what is missing. Pure:
 * the links of a replica share one intake, the hub asks it for a plan, and time is a parameter.
 */
import type { SequenceRange } from "../log/vector.ts";

export interface IntakeOptions {
  /** First wait for changesets that someone has announced; doubles. @default 500 */
  retryMs: number;
  /** @default 30000 */
  retryMaxMs: number;
  /**
   * When an active link has not brought by then what others have announced, one of them is asked;
   * doubles. @default 2000
   */
  slowMs: number;
}

/** A live link, as a place to get changesets from. */
export interface Source {
  readonly id: number;
  readonly origins: ReadonlyMap<number, { readonly remote: number; readonly pruned: boolean }>;
  /** When changesets last came over it, on the intake's clock. */
  activeMs: number;
}

/** One origin's way into this replica. Numbers are sequences unless named otherwise. */
interface Inflow {
  readonly origin: number;
  held: number;
  /** Given to the merge without a gap, by whichever link, if above `held`. */
  received: number;
  /** The link that brings the origin, and the first of what it has brought in a row. */
  supplier: Source | undefined;
  supplierFirst: number;
  /** The highest that a live link has announced. */
  best: number;
  /** When something moved, or was asked for, and how long to wait from then on. */
  movedMs: number;
  waitMs: number;
  asked: number;
  asks: number;
  /** Announced at `targetMs`: is to be here `slowMs` later. */
  target: number;
  targetMs: number;
  slowMs: number;
}

export interface Intake {
  readonly options: Readonly<IntakeOptions>;
  readonly sources: Set<Source>;
  readonly inflows: Map<number, Inflow>;
  /** Those of which some link has announced more than is held. */
  readonly behind: Set<Inflow>;
  /** The intake's own time, which only moves forward; `hostMs` is what the host last said. */
  nowMs: number;
  hostMs: number | undefined;
  dueMs: number;
}

/** What to ask the link `id` for. */
export interface Ask {
  readonly id: number;
  readonly ranges: readonly SequenceRange[];
}

export interface Taken {
  /** Changesets of the run that were held or on their way into the merge already. */
  readonly duplicates: number;
  /** Another live link brings this origin. */
  readonly redundant: boolean;
}

/** Ranges in one WANT. */
export const wantRangesMax = 256;
const never = Number.POSITIVE_INFINITY;
const lostAfterRetries = 10;
/** Plans are made no more often than this. */
const planStepMs = 20;

export function createIntake(options: Partial<IntakeOptions> = {}): Intake {
  const defaults = { retryMs: 500, retryMaxMs: 30_000, slowMs: 2_000 };
  return {
    options: { ...defaults, ...options },
    sources: new Set(),
    inflows: new Map(),
    behind: new Set(),
    nowMs: 0,
    hostMs: undefined,
    dueMs: never,
  };
}

/** When the next `plan` is due, on the clock of `nowMs`; infinity for never. */
export function planDueMs(intake: Intake): number {
  return (intake.hostMs ?? 0) + Math.ceil(Math.max(0, intake.dueMs - intake.nowMs));
}

export function openSource(intake: Intake, source: Source, nowMs: number): void {
  intake.sources.add(source);
  source.activeMs = advance(intake, nowMs);
}

/** The link has ended; what it brought and was not merged is lost. */
export function closeSource(intake: Intake, source: Source, nowMs: number): void {
  if (!intake.sources.delete(source)) return;
  advance(intake, nowMs);
  for (const inflow of intake.inflows.values()) {
    // It may have brought a part of what another link went on with.
    inflow.received = inflow.held;
    if (inflow.supplier !== source) continue;
    inflow.supplier = undefined;
    if (intake.behind.has(inflow)) askSoon(intake, inflow);
  }
}

/** This replica holds the origin up to `sequence`. */
export function raiseInflow(
  intake: Intake,
  { origin, sequence }: { origin: number; sequence: number },
  nowMs: number,
): void {
  const inflow = inflowOf(intake, origin);
  if (sequence <= inflow.held) return;
  inflow.held = sequence;
  moved(inflow, advance(intake, nowMs), intake.options);
  if (sequence >= inflow.best) intake.behind.delete(inflow);
}

/** A link says that its other side holds the origin up to `sequence`. */
export function announce(
  intake: Intake,
  source: Source,
  { origin, sequence }: { origin: number; sequence: number },
  nowMs: number,
): void {
  const inflow = inflowOf(intake, origin);
  inflow.best = Math.max(inflow.best, sequence);
  if (sequence <= inflow.held || intake.behind.has(inflow)) return;
  // From here on whoever brings the origin has `retryMs` to bring it on its own account.
  moved(inflow, advance(intake, nowMs), intake.options);
  setTarget(inflow, intake);
  intake.behind.add(inflow);
  intake.dueMs = Math.min(intake.dueMs, dueMs(inflow, intake));
  const nobodyBrings = inflow.supplier === undefined && source.origins.get(origin)?.pruned === true;
  if (nobodyBrings) askSoon(intake, inflow);
}

/** Changesets came over a link. */
export function takeRun(intake: Intake, source: Source, run: SequenceRange, nowMs: number): Taken {
  const inflow = inflowOf(intake, run.origin);
  source.activeMs = advance(intake, nowMs);
  const known = Math.max(inflow.held, inflow.received);
  const duplicates = Math.max(0, Math.min(run.last, known) - run.first + 1);
  const { supplier } = inflow;
  const redundant =
    duplicates > 0 && supplier !== undefined && supplier !== source && brings(supplier, run.origin);
  if (run.last > known && run.first <= known + 1) {
    if (!redundant && supplier !== source && brings(source, run.origin)) {
      inflow.supplier = source;
      inflow.supplierFirst = known + 1;
    }
    inflow.received = run.last;
    moved(inflow, intake.nowMs, intake.options);
  }
  return { duplicates, redundant };
}

/** The merge found `first` missing and dropped what came after it over this link. */
export function noteGap(
  intake: Intake,
  source: Source,
  { origin, first }: { origin: number; first: number },
  nowMs: number,
): void {
  const inflow = inflowOf(intake, origin);
  if (first <= inflow.held) return;
  advance(intake, nowMs);
  const { supplier, supplierFirst } = inflow;
  // What another link has brought may still wait to be merged: give it time.
  const isElsewhere =
    first <= inflow.received &&
    supplier !== undefined &&
    (supplier !== source || first < supplierFirst);
  inflow.received = first - 1;
  if (inflow.best < first) return;
  const wasAsked = inflow.asks > 0 && intake.nowMs < inflow.movedMs + intake.options.retryMs;
  if (isElsewhere || wasAsked) intake.dueMs = Math.min(intake.dueMs, dueMs(inflow, intake));
  else askSoon(intake, inflow);
}

/**
 * Whom to ask for what is missing: what a link is about to bring is not asked for, different
 * origins are asked of different links, and one that did not bring is not asked twice in a row.
 */
export function plan(intake: Intake, nowMs: number): Ask[] {
  advance(intake, nowMs);
  const rangesById = new Map<number, SequenceRange[]>();
  let nextMs = never;
  for (const inflow of intake.behind) {
    let inflowDueMs = dueMs(inflow, intake);
    if (inflowDueMs <= intake.nowMs) inflowDueMs = consider(intake, inflow, rangesById);
    nextMs = Math.min(nextMs, inflowDueMs);
  }
  intake.dueMs = Math.max(nextMs, intake.nowMs + planStepMs);
  return [...rangesById].map(([id, ranges]) => ({ id, ranges }));
}

/** Asks for the inflow or not, and returns when to look again. */
function consider(
  intake: Intake,
  inflow: Inflow,
  rangesById: Map<number, SequenceRange[]>,
): number {
  const { nowMs, options } = intake;
  // Received that long ago and neither merged nor reported as a gap: the host has lost it.
  if (nowMs >= inflow.movedMs + lostMs(options)) inflow.received = inflow.held;
  const known = Math.max(inflow.held, inflow.received);
  const holders = [...intake.sources].filter((one) => remoteOf(one, inflow.origin) > known);
  inflow.best = Math.max(
    inflow.held,
    ...[...intake.sources].map((one) => remoteOf(one, inflow.origin)),
  );
  if (inflow.best <= inflow.held) {
    intake.behind.delete(inflow);
    return never;
  }
  if (holders.length === 0) return dueMs(inflow, intake);
  if (known >= inflow.target) setTarget(inflow, intake);
  const candidates = whomToAsk(intake, inflow, holders);
  if (typeof candidates === "number") return candidates;
  const source = leastAsked(candidates, inflow, rangesById);
  if (source === undefined) return nowMs + planStepMs;
  const ranges = rangesById.get(source.id) ?? [];
  ranges.push({ origin: inflow.origin, first: known + 1, last: remoteOf(source, inflow.origin) });
  rangesById.set(source.id, ranges);
  inflow.asked = source.id;
  inflow.asks += 1;
  inflow.movedMs = nowMs;
  inflow.waitMs = Math.min(Math.max(inflow.waitMs, options.retryMs / 2) * 2, options.retryMaxMs);
  return dueMs(inflow, intake);
}

/** The links worth asking, or when to look again because one is at work. */
function whomToAsk(intake: Intake, inflow: Inflow, holders: readonly Source[]): Source[] | number {
  const { nowMs, options } = intake;
  const isAtWork = (one: Source) =>
    brings(one, inflow.origin) && nowMs < one.activeMs + options.retryMs && inflow.waitMs > 0;
  const idle = holders.filter((one) => !isAtWork(one));
  if (idle.length === holders.length) {
    const askAtMs = inflow.movedMs + inflow.waitMs;
    return nowMs >= askAtMs ? idle : askAtMs;
  }
  if (nowMs < inflow.targetMs + inflow.slowMs) return nowMs + options.retryMs / 2;
  inflow.targetMs = nowMs;
  inflow.slowMs = Math.min(inflow.slowMs * 2, options.retryMaxMs);
  if (idle.length > 0) return idle;
  // A busy stream of other origins must not leave this one out for ever.
  return nowMs >= inflow.movedMs + options.retryMaxMs ? [...holders] : dueMs(inflow, intake);
}

function leastAsked(
  candidates: readonly Source[],
  inflow: Inflow,
  rangesById: ReadonlyMap<number, readonly SequenceRange[]>,
): Source | undefined {
  const others = candidates.filter((one) => one.id !== inflow.asked);
  const eligible = others.length > 0 ? others : candidates;
  // Ties go round by origin, so that one plan spreads over all links.
  const start = (inflow.origin + inflow.asks) % eligible.length;
  let best: Source | undefined;
  let bestCount = wantRangesMax;
  for (let i = 0; i < eligible.length; i++) {
    const source = eligible[(start + i) % eligible.length];
    const count = rangesById.get(source?.id ?? 0)?.length ?? 0;
    if (count >= bestCount) continue;
    best = source;
    bestCount = count;
  }
  return best;
}

function dueMs(inflow: Inflow, { options }: Intake): number {
  const silentMs = inflow.movedMs + inflow.waitMs;
  if (inflow.received >= inflow.best) return inflow.movedMs + lostMs(options);
  return Math.min(silentMs, inflow.targetMs + inflow.slowMs);
}

function lostMs(options: Readonly<IntakeOptions>): number {
  return lostAfterRetries * options.retryMaxMs;
}

function askSoon(intake: Intake, inflow: Inflow): void {
  inflow.movedMs = intake.nowMs;
  inflow.waitMs = 0;
  intake.dueMs = Math.min(intake.dueMs, intake.nowMs);
}

function moved(inflow: Inflow, nowMs: number, options: Readonly<IntakeOptions>): void {
  inflow.movedMs = nowMs;
  inflow.waitMs = options.retryMs;
  inflow.asks = 0;
}

function setTarget(inflow: Inflow, { nowMs, options }: Intake): void {
  inflow.target = inflow.best;
  inflow.targetMs = nowMs;
  inflow.slowMs = options.slowMs;
}

/** Whether the link sends this origin without being asked. */
function brings(source: Source, origin: number): boolean {
  return source.origins.get(origin)?.pruned === false;
}

function remoteOf(source: Source, origin: number): number {
  return source.origins.get(origin)?.remote ?? 0;
}

function advance(intake: Intake, hostMs: number): number {
  const elapsedMs = intake.hostMs === undefined ? 0 : hostMs - intake.hostMs;
  intake.nowMs += Math.max(elapsedMs, 0);
  intake.hostMs = hostMs;
  return intake.nowMs;
}

function inflowOf(intake: Intake, origin: number): Inflow {
  const known = intake.inflows.get(origin);
  if (known !== undefined) return known;
  const inflow: Inflow = {
    origin,
    held: 0,
    received: 0,
    supplier: undefined,
    supplierFirst: 0,
    best: 0,
    movedMs: intake.nowMs,
    waitMs: intake.options.retryMs,
    asked: 0,
    asks: 0,
    target: 0,
    targetMs: intake.nowMs,
    slowMs: intake.options.slowMs,
  };
  intake.inflows.set(origin, inflow);
  return inflow;
}
