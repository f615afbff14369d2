/** The receiving half of a link: acknowledging what came, and asking for what did not. */
import { ReplicaError } from "../errors.ts";
import { type RecordRun, scanRecords } from "../log/records.ts";
import { type ReadonlyVersionVector, type SequenceRange, vectorPages } from "../log/vector.ts";
import { onRemoteHolds, refreshReady } from "./link-push.ts";
import {
  heldVector,
  type LinkAction,
  type LinkState,
  type OriginProgress,
  progressOf,
  refuse,
  send,
} from "./link-state.ts";
import { limits, type ShapeHash } from "./protocol.ts";

const wantRangesMax = 256;
/** A vector up to this size is cheap enough to be sent whole with every heartbeat. */
const smallVectorEntries = 1024;
const partialHeartbeatsMax = 5;
const lostAfterRetries = 10;
export const lostIdentityText =
  "the remote holds changesets of this peer id that this replica does not have";
const never = Number.POSITIVE_INFINITY;

/** The remote's vector, or the part of it that rose. */
export function onRemoteVector(
  state: LinkState,
  actions: LinkAction[],
  vector: ReadonlyVersionVector,
): void {
  if ((vector.get(state.peerId) ?? 0) > progressOf(state, state.peerId).held) {
    refuseLostIdentity(state, actions);
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

export function onChanges(
  state: LinkState,
  actions: LinkAction[],
  changes: { records: Uint8Array; bytes: number },
): void {
  let runs: RecordRun[];
  try {
    runs = scanRecords(changes.records);
  } catch (error) {
    if (!(error instanceof ReplicaError)) throw error;
    refuse(state, actions, error.code, error.message);
    return;
  }
  const { pull } = state;
  pull.activeMs = state.nowMs;
  pull.bytesSinceHave += changes.bytes;
  let isNew = false;
  for (const run of runs) {
    const progress = progressOf(state, run.origin);
    if (run.origin === state.peerId && run.last > progress.held) {
      refuseLostIdentity(state, actions);
      return;
    }
    if (takeRun(state, progress, run)) isNew = true;
  }
  if (isNew) actions.push({ type: "merge", ...changes });
  // All of it came before: the remote has missed an acknowledgement.
  else if (runs.length > 0) scheduleHave(state);
}

/** This replica holds more. */
export function raiseHeld(state: LinkState, vector: ReadonlyVersionVector): void {
  const { pull } = state;
  for (const [origin, sequence] of vector) {
    const progress = progressOf(state, origin);
    if (sequence <= progress.held) continue;
    progress.held = sequence;
    pull.changed.add(origin);
    if (pull.behind.has(origin)) {
      pull.retryMs = state.options.retryMs;
      if (sequence >= progress.remote) pull.behind.delete(origin);
    }
    refreshReady(state, progress);
  }
}

/** Acknowledges soon; at once when the remote's window is half used up. */
export function scheduleHave(state: LinkState): void {
  const { pull, options } = state;
  const isUrgent = pull.bytesSinceHave >= options.windowBytes / 2;
  pull.haveDueMs = Math.min(pull.haveDueMs, state.nowMs + (isUrgent ? 0 : options.ackDelayMs));
}

export function onGap(
  state: LinkState,
  actions: LinkAction[],
  gap: { origin: number; first: number },
): void {
  const progress = progressOf(state, gap.origin);
  if (gap.first <= progress.held) return;
  // The merge has dropped everything from the gap on.
  progress.received = gap.first - 1;
  if (gap.first > progress.remote) return;
  const again = gap.first === progress.wantFirst;
  if (again && state.nowMs < progress.wantedMs + state.options.retryMs) return;
  const range = { origin: gap.origin, first: gap.first, last: progress.remote };
  sendWant(state, actions, [range], []);
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
  sendWant(state, actions, [], missing);
  pull.shapesRetryMs = state.options.retryMs;
  pull.shapesDueMs = state.nowMs + pull.shapesRetryMs;
}

export function pullDueMs(state: LinkState): number {
  const { pull } = state;
  return Math.min(
    pull.haveDueMs,
    heartbeatDueMs(state),
    pull.behind.size > 0 ? retryDueMs(state) : never,
    pull.shapesWanted.size > 0 ? pull.shapesDueMs : never,
  );
}

export function runPullTimers(state: LinkState, actions: LinkAction[]): void {
  const { pull, nowMs, options } = state;
  if (pull.shapesWanted.size > 0 && nowMs >= pull.shapesDueMs) {
    sendWant(state, actions, [], [...pull.shapesWanted]);
    pull.shapesRetryMs = Math.min(pull.shapesRetryMs * 2, options.retryMaxMs);
    pull.shapesDueMs = nowMs + pull.shapesRetryMs;
  }
  if (pull.behind.size > 0 && nowMs >= retryDueMs(state)) wantMissing(state, actions);
  if (nowMs >= pull.haveDueMs) sendHave(state, actions, false);
  else if (nowMs >= heartbeatDueMs(state)) sendHeartbeat(state, actions);
}

function heartbeatDueMs(state: LinkState): number {
  return state.sentMs + state.options.heartbeatMs;
}

/** Silence for `retryMs` while behind; and a sweep for origins the stream has left out. */
function retryDueMs(state: LinkState): number {
  const { pull, options } = state;
  return Math.min(pull.activeMs + pull.retryMs, pull.sweptMs + options.retryMaxMs);
}

function raiseRemote(state: LinkState, progress: OriginProgress, sequence: number): void {
  if (sequence <= progress.remote) return;
  onRemoteHolds(state, progress, sequence);
  const { pull } = state;
  if (progress.held >= sequence || pull.behind.has(progress.origin)) return;
  if (pull.behind.size === 0) {
    // From here on the remote has `retryMs` to send it on its own account.
    pull.activeMs = state.nowMs;
    pull.sweptMs = state.nowMs;
  }
  progress.heardMs = state.nowMs;
  pull.behind.add(progress.origin);
}

/** Whether the run has anything that is not held here and not on its way into the merge. */
function takeRun(state: LinkState, progress: OriginProgress, run: RecordRun): boolean {
  raiseRemote(state, progress, run.last);
  const known = Math.max(progress.held, progress.received);
  state.metrics.duplicates += Math.max(0, Math.min(run.last, known) - run.first + 1);
  if (run.last <= known) {
    // Acknowledge what is held; what is being merged is acknowledged after that. Merging it twice
    // would let the queue of a slow merge grow with every retransmission.
    if (run.last <= progress.held) state.pull.changed.add(run.origin);
    return false;
  }
  progress.heardMs = state.nowMs;
  if (run.first <= known + 1) progress.received = run.last;
  return true;
}

function wantMissing(state: LinkState, actions: LinkAction[]): void {
  const { pull, options, nowMs } = state;
  const isSweep = nowMs >= pull.sweptMs + options.retryMaxMs;
  const isSilent = nowMs >= pull.activeMs + pull.retryMs;
  if (isSweep) pull.sweptMs = nowMs;
  const ranges: SequenceRange[] = [];
  for (const origin of pull.behind) {
    if (ranges.length === wantRangesMax) break;
    const progress = progressOf(state, origin);
    const silentMs = nowMs - progress.heardMs;
    // Received that long ago and neither merged nor reported as a gap: the host has lost it.
    if (silentMs >= lostAfterRetries * options.retryMaxMs) progress.received = 0;
    if (!isSilent && silentMs < options.retryMaxMs) continue;
    const first = Math.max(progress.held, progress.received) + 1;
    if (first > progress.remote) continue;
    ranges.push({ origin, first, last: progress.remote });
  }
  for (const { origin } of ranges) {
    // To the end of the queue, so that the next WANT names others.
    pull.behind.delete(origin);
    pull.behind.add(origin);
  }
  if (isSilent) pull.activeMs = nowMs;
  if (ranges.length === 0) return;
  pull.retryMs = Math.min(pull.retryMs * 2, options.retryMaxMs);
  sendWant(state, actions, ranges, []);
}

function sendWant(
  state: LinkState,
  actions: LinkAction[],
  ranges: SequenceRange[],
  shapes: ShapeHash[],
): void {
  for (const { origin, first } of ranges) {
    const progress = progressOf(state, origin);
    progress.wantFirst = first;
    progress.wantedMs = state.nowMs;
  }
  if (ranges.length > 0) state.pull.activeMs = state.nowMs;
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
    send(state, actions, { kind: "have", full: full && page.size === vector.size, vector: page });
  }
  pull.changed.clear();
  pull.bytesSinceHave = 0;
  pull.haveDueMs = never;
}

function refuseLostIdentity(state: LinkState, actions: LinkAction[]): void {
  refuse(state, actions, "IDENTITY_LOST", lostIdentityText);
}
