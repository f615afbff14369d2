/** The receiving half of a link: acknowledging what came, and asking for what did not. */
import { ReplicaError } from "../errors.ts";
import { type RecordRun, scanRecords } from "../log/records.ts";
import { type ReadonlyVersionVector, type SequenceRange, vectorPages } from "../log/vector.ts";
import { announce, noteGap, raiseInflow, takeRun } from "./intake.ts";
import { lostIdentityText, suspect } from "./link-identity.ts";
import { onRemoteHolds, refreshReady } from "./link-push.ts";
import {
  announceSoon,
  heldVector,
  type LinkAction,
  type LinkState,
  type OriginProgress,
  progressOf,
  refuse,
  send,
} from "./link-state.ts";
import { type Have, limits, type ShapeHash } from "./protocol.ts";

/** A vector up to this size is small enough to be sent whole with every heartbeat. */
const smallVectorEntries = 16;
const partialHeartbeatsMax = 5;
const never = Number.POSITIVE_INFINITY;

/** The remote's vector, or the part of it that rose. */
export function onRemoteVector(
  state: LinkState,
  actions: LinkAction[],
  vector: ReadonlyVersionVector,
): void {
  if ((vector.get(state.peerId) ?? 0) > progressOf(state, state.peerId).held) {
    suspectLoss(state, actions);
    return;
  }
  let raised = false;
  for (const [origin, sequence] of vector) {
    const progress = progressOf(state, origin);
    if (sequence <= progress.remote) continue;
    raised = true;
    raiseRemote(state, progress, sequence);
  }
  if (raised) actions.push({ type: "remoteVector", vector });
}

/** The remote has been let in: what it holds can be asked for. */
export function admit(state: LinkState): void {
  if (!state.gated) return;
  state.gated = false;
  const { intake, source, hostMs } = state;
  for (const { origin, remote } of state.origins.values()) {
    if (remote > 0) announce(intake, source, { origin, sequence: remote }, hostMs);
  }
}

export function onChanges(
  state: LinkState,
  actions: LinkAction[],
  changes: { records: Uint8Array; bytes: number },
): void {
  // It sends them again once it has been let in.
  if (state.gated) return;
  let runs: RecordRun[];
  try {
    runs = scanRecords(changes.records);
  } catch (error) {
    if (!(error instanceof ReplicaError)) throw error;
    refuse(state, actions, error.code, error.message);
    return;
  }
  state.pull.bytesSinceHave += changes.bytes;
  const pruned: number[] = [];
  let isNew = false;
  for (const run of runs) {
    const progress = progressOf(state, run.origin);
    if (run.origin === state.peerId && run.last > progress.held) {
      suspectLoss(state, actions);
      return;
    }
    // It sends all the same: the PRUNE was lost, or a WANT sent before has arrived after it.
    if (state.nowMs >= progress.prunedMs + state.options.retryMs) progress.pruned = false;
    const { duplicates, redundant } = takeRun(state.intake, state.source, run, state.hostMs);
    state.metrics.receivedChangesets += run.last - run.first + 1;
    state.metrics.duplicateChangesets += duplicates;
    raiseRemote(state, progress, run.last);
    if (redundant && !progress.pruned) pruned.push(run.origin);
    if (duplicates <= run.last - run.first) isNew = true;
    // Acknowledge what is held; what is being merged is acknowledged after that. Merging it twice
    // would let the queue of a slow merge grow with every retransmission.
    else if (run.last <= progress.held) state.pull.changed.add(run.origin);
  }
  if (isNew) actions.push({ type: "merge", ...changes });
  // All of it came before: the remote has missed an acknowledgement.
  else if (runs.length > 0) scheduleHave(state);
  if (pruned.length > 0 && !state.blocked) sendPrune(state, actions, pruned);
}

/** This replica holds more. */
export function raiseHeld(state: LinkState, vector: ReadonlyVersionVector): void {
  for (const [origin, sequence] of vector) {
    const progress = progressOf(state, origin);
    if (sequence <= progress.held) continue;
    progress.held = sequence;
    raiseInflow(state.intake, { origin, sequence }, state.hostMs);
    state.pull.changed.add(origin);
    if (progress.lazy) announceSoon(state, progress);
    refreshReady(state, progress);
  }
}

/** Acknowledges soon; at once when the remote's window is half used up. */
export function scheduleHave(state: LinkState): void {
  const { pull, options } = state;
  const isUrgent = pull.bytesSinceHave >= options.windowBytes / 2;
  pull.haveDueMs = Math.min(pull.haveDueMs, state.nowMs + (isUrgent ? 0 : options.ackDelayMs));
}

/** The merge has dropped everything from the gap on. */
export function onGap(state: LinkState, gap: { origin: number; first: number }): void {
  if (gap.first <= progressOf(state, gap.origin).held) return;
  noteGap(state.intake, state.source, gap, state.hostMs);
}

export function onUnknownShapes(
  state: LinkState,
  actions: LinkAction[],
  hashes: readonly ShapeHash[],
): void {
  const { pull } = state;
  const isMissing = (hash: ShapeHash) => !state.shapes.has(hash) && !pull.shapesWanted.has(hash);
  const missing = hashes.filter(isMissing).slice(0, limits.shapes - pull.shapesWanted.size);
  if (missing.length === 0) return;
  for (const hash of missing) pull.shapesWanted.add(hash);
  sendWant(state, actions, { ranges: [], shapes: missing });
  pull.shapesRetryMs = state.options.retryMs;
  pull.shapesDueMs = state.nowMs + pull.shapesRetryMs;
}

export function pullDueMs(state: LinkState): number {
  const { pull } = state;
  return Math.min(
    pull.haveDueMs,
    heartbeatDueMs(state),
    pull.shapesWanted.size > 0 ? pull.shapesDueMs : never,
  );
}

export function runPullTimers(state: LinkState, actions: LinkAction[]): void {
  const { pull, nowMs, options } = state;
  if (pull.shapesWanted.size > 0 && nowMs >= pull.shapesDueMs) {
    sendWant(state, actions, { ranges: [], shapes: [...pull.shapesWanted] });
    pull.shapesRetryMs = Math.min(pull.shapesRetryMs * 2, options.retryMaxMs);
    pull.shapesDueMs = nowMs + pull.shapesRetryMs;
  }
  if (nowMs >= pull.haveDueMs) sendHave(state, actions, false);
  else if (nowMs >= heartbeatDueMs(state)) sendHeartbeat(state, actions);
}

function heartbeatDueMs(state: LinkState): number {
  return state.sentMs + state.options.heartbeatMs;
}

function raiseRemote(state: LinkState, progress: OriginProgress, sequence: number): void {
  if (sequence <= progress.remote) return;
  onRemoteHolds(state, progress, sequence);
  const { intake, source, hostMs } = state;
  if (!state.gated) announce(intake, source, { origin: progress.origin, sequence }, hostMs);
}

function sendPrune(state: LinkState, actions: LinkAction[], origins: readonly number[]): void {
  for (const origin of origins) {
    const progress = progressOf(state, origin);
    progress.pruned = true;
    progress.prunedMs = state.nowMs;
  }
  state.metrics.prunes += 1;
  send(state, actions, { kind: "prune", origins });
}

/** Whoever is asked for an origin sends it from then on. */
export function sendWant(
  state: LinkState,
  actions: LinkAction[],
  { ranges, shapes }: { ranges: readonly SequenceRange[]; shapes: readonly ShapeHash[] },
): void {
  // The intake asks another link, the timer for shapes again.
  if (state.blocked) return;
  for (const { origin } of ranges) progressOf(state, origin).pruned = false;
  state.metrics.wants += 1;
  send(state, actions, { kind: "want", ranges, shapes });
}

function sendHeartbeat(state: LinkState, actions: LinkAction[]): void {
  const { pull } = state;
  const isSmall = state.origins.size <= smallVectorEntries;
  const isFull = isSmall || pull.partialHeartbeats >= partialHeartbeatsMax;
  pull.partialHeartbeats = isFull ? 0 : pull.partialHeartbeats + 1;
  sendHave(state, actions, isFull);
}

function sendHave(state: LinkState, actions: LinkAction[], full: boolean): void {
  const { pull } = state;
  const vector = full ? heldVector(state) : new Map<number, number>();
  if (!full) {
    for (const origin of pull.changed) vector.set(origin, progressOf(state, origin).held);
  }
  for (const page of vectorPages(vector)) {
    const isWhole = full && page.size === vector.size;
    send(state, actions, { kind: "have", full: isWhole, vector: page, ...clockNow(state) });
  }
  pull.changed.clear();
  pull.bytesSinceHave = 0;
  pull.haveDueMs = never;
}

/** Once a heartbeat this side tells what its clock says. */
function clockNow(state: LinkState): Pick<Have, "clock"> {
  if (state.nowMs < state.clockToldMs + state.options.heartbeatMs) return {};
  state.clockToldMs = state.nowMs;
  const wallMs = Math.max(0, Math.round(state.hostMs));
  const { lagMs } = state.skew;
  return { clock: lagMs === undefined ? { wallMs } : { wallMs, lagMs: Math.round(lagMs) } };
}

function suspectLoss(state: LinkState, actions: LinkAction[]): void {
  suspect(state, actions, { code: "IDENTITY_LOST", text: lostIdentityText });
}
