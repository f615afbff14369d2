/**
 * The sending half of a link: whatever the remote lacks, a window of bytes at a time, the origins
 * taking turns.
 */
import {
  announceSoon,
  countSent,
  type LinkAction,
  type LinkInput,
  type LinkState,
  type OriginProgress,
  progressOf,
} from "./link-state.ts";
import type { ShapeHash, Want } from "./protocol.ts";

/** Many tiny commits must not turn the window into a long list. */
const chunksInFlightMax = 1024;
/** A large changeset has at least this rate to arrive and be merged before it is sent again. */
const bytesPerMsMin = 10_000;
const shapesPerMessage = 256;

/** Asks for one read when there is something to send and room in the window. */
export function pump(state: LinkState, actions: LinkAction[]): void {
  const { push, options } = state;
  sendShapes(state, actions, push.shapesUnsent);
  push.shapesUnsent.clear();
  if (push.reading !== undefined) return;
  const windowBytes = push.probing ? 1 : options.windowBytes;
  if (push.bytesInFlight >= windowBytes || push.chunksInFlight >= chunksInFlightMax) return;
  const origin = push.ready.values().next().value;
  if (origin === undefined) return;
  // Out of the queue now and back at its end after the read: every origin gets its turn.
  push.ready.delete(origin);
  const progress = progressOf(state, origin);
  const first = progress.sent + 1;
  push.reading = { origin, first };
  // Always a whole read, though the window may hold less: links at the same place read the same.
  const { readBytes } = options;
  actions.push({ type: "read", origin, first, last: progress.held, bytesMax: readBytes });
}

/** The host has sent what it read. */
export function onRead(state: LinkState, input: LinkInput & { type: "read" }): void {
  const { push, metrics } = state;
  const { reading } = push;
  if (reading === undefined || reading.origin !== input.origin) {
    throw new TypeError("a read was answered that was not asked for");
  }
  push.reading = undefined;
  const progress = progressOf(state, input.origin);
  // Nothing was there. Trying again at once would find nothing again; the next WANT or commit of
  // this origin puts it back into the queue.
  if (input.last < reading.first) return;
  countSent(state);
  metrics.sentChangesBytes += input.bytes;
  if (reading.first <= progress.sentMax) metrics.retransmissions += 1;
  progress.sentMax = Math.max(progress.sentMax, input.last);
  // While the host was reading, a WANT may have rewound this origin, or a HAVE gone past it.
  const isRewound = progress.sent < reading.first - 1;
  if (!isRewound) progress.sent = Math.max(progress.sent, input.last);
  if (input.last > progress.remote && !progress.lazy) {
    if (push.bytesInFlight === 0) push.progressMs = state.nowMs;
    progress.chunks.push({ last: input.last, bytes: input.bytes });
    push.flying.add(progress.origin);
    push.bytesInFlight += input.bytes;
    push.chunksInFlight += 1;
  }
  refreshReady(state, progress);
}

/** The remote holds more than it was known to. */
export function onRemoteHolds(state: LinkState, progress: OriginProgress, sequence: number): void {
  const { push } = state;
  progress.remote = sequence;
  progress.sent = Math.max(progress.sent, sequence);
  // Changesets the remote had from others say nothing about what this side has sent.
  if (progress.chunks.length > 0 || sequence <= progress.sentMax) {
    releaseChunks(state, progress, (chunk) => chunk.last <= sequence);
    push.progressMs = state.nowMs;
    push.timeoutMs = state.options.ackTimeoutMs;
    push.probing = false;
  }
  refreshReady(state, progress);
}

/** The remote says what it misses: believe it rather than what was sent. */
export function onWant(state: LinkState, actions: LinkAction[], want: Want): void {
  const known = want.shapes.filter((hash) => state.shapes.has(hash));
  if (!state.blocked) sendShapes(state, actions, known);
  for (const { origin, first } of want.ranges) {
    const progress = state.origins.get(origin);
    if (progress === undefined || first > progress.held) continue;
    if (progress.lazy) {
      progress.lazy = false;
      progress.sent = first - 1;
    } else if (first <= progress.sent) {
      // A repeated or overtaken WANT must not double the traffic: the remote asks for one gap at
      // most once in `retryMs`.
      const again = first === progress.rewoundFirst;
      if (again && state.nowMs < progress.rewoundMs + state.options.retryMs / 2) continue;
      progress.rewoundFirst = first;
      progress.rewoundMs = state.nowMs;
      rewind(state, progress, first - 1);
    }
    refreshReady(state, progress);
  }
}

/** The remote gets these origins over other links, and wants to hear of them only. */
export function onPrune(state: LinkState, origins: readonly number[]): void {
  for (const origin of origins) {
    const progress = progressOf(state, origin);
    if (progress.lazy) continue;
    progress.lazy = true;
    // What is on its way may be dropped there: nothing of it is waited for.
    releaseChunks(state, progress, () => true);
    refreshReady(state, progress);
    if (progress.held > progress.remote) announceSoon(state, progress);
  }
}

/** Something was sent long ago and nothing acknowledged since: send again, carefully. */
export function onAckTimeout(state: LinkState): void {
  const { push, options } = state;
  for (const origin of push.flying) {
    const progress = progressOf(state, origin);
    rewind(state, progress, progress.remote);
  }
  push.probing = true;
  push.progressMs = state.nowMs;
  push.timeoutMs = Math.min(push.timeoutMs * 2, options.retryMaxMs);
}

export function ackTimeoutDueMs(state: LinkState): number {
  const { push } = state;
  if (push.bytesInFlight === 0) return Number.POSITIVE_INFINITY;
  return push.progressMs + push.timeoutMs + push.bytesInFlight / bytesPerMsMin;
}

/** Puts the origin into the queue of those with something to send, or out of it. */
export function refreshReady(state: LinkState, progress: OriginProgress): void {
  const { ready, reading } = state.push;
  if (progress.lazy || progress.held <= progress.sent) ready.delete(progress.origin);
  else if (reading?.origin !== progress.origin) ready.add(progress.origin);
}

function rewind(state: LinkState, progress: OriginProgress, to: number): void {
  progress.remote = Math.min(progress.remote, to);
  progress.sent = to;
  releaseChunks(state, progress, (chunk) => chunk.last > to);
  refreshReady(state, progress);
}

function releaseChunks(
  state: LinkState,
  progress: OriginProgress,
  isDone: (chunk: { last: number }) => boolean,
): void {
  const { push } = state;
  const kept = progress.chunks.filter((chunk) => !isDone(chunk));
  for (const chunk of progress.chunks) {
    if (isDone(chunk)) push.bytesInFlight -= chunk.bytes;
  }
  push.chunksInFlight -= progress.chunks.length - kept.length;
  progress.chunks = kept;
  if (kept.length === 0) push.flying.delete(progress.origin);
}

/** Shapes go ahead of the changesets that need them. */
function sendShapes(state: LinkState, actions: LinkAction[], hashes: Iterable<ShapeHash>): void {
  let page: ShapeHash[] = [];
  const flush = () => {
    if (page.length === 0) return;
    actions.push({ type: "sendShapes", hashes: page });
    countSent(state);
    page = [];
  };
  for (const hash of hashes) {
    state.remoteShapes.add(hash);
    page.push(hash);
    if (page.length === shapesPerMessage) flush();
  }
  flush();
}
