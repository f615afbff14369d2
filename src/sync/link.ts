/**
 * A link: the conversation of two replicas, as a state machine. The host feeds it what happens and
 * carries out the actions it returns, in order. No sockets, clock or chance in here, so that the
 * simulator can drive thousands of links on virtual time. `docs/protocol.md` describes behaviour.
 */
import { isReplicaErrorCode } from "../errors.ts";
import { vectorPages } from "../log/vector.ts";
import { closeSource, createIntake, openSource } from "./intake.ts";
import {
  onFingerprints,
  refusalOf,
  runSuspicion,
  suspect,
  suspicionDueMs,
  tellFingerprints,
} from "./link-identity.ts";
import {
  admit,
  onChanges,
  onGap,
  onRemoteVector,
  onUnknownShapes,
  pullDueMs,
  raiseHeld,
  runPullTimers,
  scheduleHave,
  sendWant,
} from "./link-pull.ts";
import { ackTimeoutDueMs, onAckTimeout, onPrune, onRead, onWant, pump } from "./link-push.ts";
import {
  heldVector,
  type LinkAction,
  type LinkConfig,
  type LinkInput,
  type LinkMetrics,
  type LinkOptions,
  type LinkState,
  negotiate,
  progressOf,
  refuse,
  send,
} from "./link-state.ts";
import { type Bye, type Hello, limits, protocolVersion } from "./protocol.ts";
import { createSkew, forgetSkew, onReading } from "./skew.ts";

export type { LinkAction, LinkConfig, LinkInput, LinkMetrics, LinkOptions, LinkState };

export const linkDefaults: Readonly<LinkOptions> = {
  windowBytes: 1024 * 1024,
  readBytes: 64 * 1024,
  ackDelayMs: 20,
  announceDelayMs: 100,
  settleDelayMs: 1_000,
  heartbeatMs: 5_000,
  retryMs: 500,
  retryMaxMs: 30_000,
  ackTimeoutMs: 2_000,
  minVersion: protocolVersion,
  maxVersion: protocolVersion,
};

const never = Number.POSITIVE_INFINITY;
const silentHeartbeatsMax = 3;

/** A link that has not been opened: input `open` first. */
export function createLink(config: LinkConfig): LinkState {
  const options = { ...linkDefaults, ...config };
  const origins: LinkState["origins"] = new Map();
  const state: LinkState = {
    options,
    peerId: config.peerId,
    cluster: config.cluster ?? "",
    phase: "idle",
    suspicion: undefined,
    unsureUntilMs: 0,
    remotePeerId: 0,
    admitted: config.admitted,
    gated: config.admitted !== undefined,
    version: 0,
    blocked: false,
    origins,
    shapes: new Set(config.shapes),
    remoteShapes: new Set(),
    intake: config.intake ?? createIntake(),
    source: { id: config.id ?? 0, origins, activeMs: 0 },
    push: {
      ready: new Set(),
      flying: new Set(),
      shapesUnsent: new Set(),
      reading: undefined,
      bytesInFlight: 0,
      chunksInFlight: 0,
      progressMs: 0,
      timeoutMs: options.ackTimeoutMs,
      probing: false,
    },
    pull: {
      changed: new Set(),
      shapesWanted: new Set(),
      bytesSinceHave: 0,
      haveDueMs: never,
      partialHeartbeats: 0,
      shapesDueMs: never,
      shapesRetryMs: options.retryMs,
    },
    metrics: {
      bytesInFlight: 0,
      sentMessages: 0,
      receivedMessages: 0,
      receivedBytes: 0,
      sentChangesBytes: 0,
      retransmissions: 0,
      receivedChangesets: 0,
      duplicateChangesets: 0,
      wants: 0,
      prunes: 0,
    },
    skew: createSkew(),
    clockToldMs: -never,
    nowMs: 0,
    hostMs: 0,
    sentMs: 0,
    heardMs: 0,
    helloDueMs: never,
    helloRetryMs: options.retryMs,
    helloAsked: 0,
  };
  raiseHeld(state, config.vector);
  // The HELLO tells it all; the first HAVE only what rises from here on.
  state.pull.changed.clear();
  return state;
}

/**
 * Takes one input. The state is changed in place and returned: whoever created it owns it. A closed
 * link ignores every input.
 */
export function step(
  state: LinkState,
  input: LinkInput,
): { state: LinkState; actions: LinkAction[] } {
  const actions: LinkAction[] = [];
  if (state.phase === "closed") return { state, actions };
  if ("nowMs" in input) advance(state, input);
  take(state, actions, input);
  runTimers(state, actions);
  if (isLive(state) && !state.blocked) pump(state, actions);
  else if (!isLive(state)) closeSource(state.intake, state.source, state.hostMs);
  state.metrics.bytesInFlight = state.push.bytesInFlight;
  return { state, actions };
}

/** The transport has ended, and the link with it. Idempotent. */
export function endLink(state: LinkState): void {
  state.phase = "closed";
  closeSource(state.intake, state.source, state.hostMs);
}

/** When the next `tick` is due, on the clock of the inputs' `nowMs`; infinity for never. */
export function nextTickMs(state: LinkState): number {
  // Whole milliseconds: a rest lost to rounding would be due for ever.
  return state.hostMs + Math.ceil(Math.max(0, dueMs(state) - state.nowMs));
}

/** Both sides have introduced themselves and go together. */
export function isLive(state: LinkState): boolean {
  return state.phase === "live";
}

/** A process that slept through several heartbeats has heard nothing, which says nothing. */
function advance(state: LinkState, input: { type: string; nowMs: number }): void {
  const elapsedMs = input.type === "open" ? 0 : input.nowMs - state.hostMs;
  state.nowMs += Math.min(Math.max(elapsedMs, 0), state.options.heartbeatMs);
  // It was set, or the process was suspended.
  if (elapsedMs < 0 || elapsedMs > 2 * state.options.heartbeatMs) forgetSkew(state.skew);
  state.hostMs = input.nowMs;
}

function take(state: LinkState, actions: LinkAction[], input: LinkInput): void {
  switch (input.type) {
    case "open":
      open(state, actions);
      return;
    case "message":
      receive(state, actions, input);
      return;
    case "tick":
      return;
    case "heard":
      state.metrics.receivedBytes += input.bytes;
      state.heardMs = state.nowMs;
      return;
    case "room":
      state.blocked = input.blocked;
      return;
    case "grew":
      raiseHeld(state, input.vector);
      return;
    case "merged":
      raiseHeld(state, input.vector);
      scheduleHave(state);
      return;
    case "read":
      onRead(state, input);
      return;
    case "want":
      if (isLive(state)) sendWant(state, actions, { ranges: input.ranges, shapes: [] });
      return;
    case "gap":
      if (isLive(state)) onGap(state, input);
      return;
    case "unknownShapes":
      if (isLive(state)) onUnknownShapes(state, actions, input.hashes);
      return;
    case "shapesGrew":
      learn(state, input);
      return;
    case "admit":
      admit(state);
      return;
    case "floor":
    case "verify":
    case "state":
      if (isLive(state) && !state.blocked) send(state, actions, input.message);
      return;
    case "close":
      refuse(state, actions, input.code, input.text ?? "");
  }
}

function open(state: LinkState, actions: LinkAction[]): void {
  if (state.phase !== "idle") throw new TypeError("the link is open already");
  state.phase = "greeting";
  state.heardMs = state.nowMs;
  sendHello(state, actions, false);
  state.helloDueMs = state.nowMs + state.helloRetryMs;
}

function receive(
  state: LinkState,
  actions: LinkAction[],
  { message, bytes }: LinkInput & { type: "message" },
): void {
  if (state.phase === "idle") throw new TypeError("the link is not open yet");
  state.metrics.receivedMessages += 1;
  state.metrics.receivedBytes += bytes;
  state.heardMs = state.nowMs;
  if (message.kind === "hello") onHello(state, actions, message);
  else if (message.kind === "bye") onBye(state, actions, message);
  else if (message.kind === "fingerprints" && state.phase !== "greeting") {
    onFingerprints(state, actions, message);
  }
  // Without the remote's HELLO it is not known who speaks. What is dropped here is sent again.
  if (!isLive(state)) return;
  switch (message.kind) {
    case "hello":
    case "bye":
    case "fragment":
    case "fingerprints":
      return;
    case "shapes":
      actions.push({ type: "learnShapes", descriptors: message.descriptors });
      return;
    case "floor":
      actions.push({ type: "floor", message });
      return;
    case "changes":
      onChanges(state, actions, { records: message.records, bytes });
      return;
    case "have":
      if (message.clock !== undefined) {
        onReading(state.skew, message.clock, state.hostMs);
        actions.push({ type: "skew" });
      }
      onRemoteVector(state, actions, message.vector);
      return;
    case "want":
      onWant(state, actions, message);
      return;
    case "prune":
      onPrune(state, message.origins);
      return;
    case "stateOffer":
      if (!state.gated) actions.push({ type: "state", message });
      return;
    case "stateRequest":
    case "stateChunk":
      actions.push({ type: "state", message });
      return;
    default:
      actions.push({ type: "verify", message });
  }
}

function onHello(state: LinkState, actions: LinkAction[], hello: Hello): void {
  if (state.phase === "suspect") return;
  const refusal = refusalOf(state, hello);
  if (refusal !== undefined) {
    if (refusal.code === "PEER_ID_IN_USE" || refusal.code === "IDENTITY_LOST") {
      state.remotePeerId = hello.peerId;
      suspect(state, actions, refusal);
      return;
    }
    refuse(state, actions, refusal.code, refusal.text);
    return;
  }
  state.remotePeerId = hello.peerId;
  if (state.admitted?.has(hello.peerId)) state.gated = false;
  for (const hash of hello.shapes) {
    state.remoteShapes.add(hash);
    state.push.shapesUnsent.delete(hash);
  }
  if (state.phase === "greeting") {
    state.phase = "live";
    state.version = negotiate(state.options, hello);
    openSource(state.intake, state.source, state.hostMs);
    // Nobody needs to be sent its own writes; that others hold them it has to hear.
    progressOf(state, hello.peerId).lazy = true;
    tellFingerprints(state, actions, hello);
    for (const hash of state.shapes) {
      if (!state.remoteShapes.has(hash)) state.push.shapesUnsent.add(hash);
    }
    actions.push({ type: "live", peerId: hello.peerId, version: state.version });
    sendRestOfVector(state, actions);
  }
  onRemoteVector(state, actions, hello.vector);
  // The first HELLO crosses ours on the way. Another one means that ours has not arrived.
  if (hello.answer || !isLive(state)) return;
  state.helloAsked += 1;
  if (state.helloAsked > 1 && !state.blocked) sendHello(state, actions, true);
}

function onBye(state: LinkState, actions: LinkAction[], bye: Bye): void {
  state.phase = "closed";
  // It is the remote that lost its identity then; ours is sound.
  const isOurs = isReplicaErrorCode(bye.code) && bye.code !== "IDENTITY_LOST";
  const code = isOurs ? bye.code : "LINK_CLOSED";
  actions.push({ type: "close", code, text: bye.text, byRemote: true });
}

function learn(state: LinkState, input: LinkInput & { type: "shapesGrew" }): void {
  for (const hash of input.hashes) {
    state.shapes.add(hash);
    state.pull.shapesWanted.delete(hash);
    if (input.fromRemote === true) state.remoteShapes.add(hash);
    if (isLive(state) && !state.remoteShapes.has(hash)) state.push.shapesUnsent.add(hash);
  }
}

function sendHello(state: LinkState, actions: LinkAction[], answer: boolean): void {
  send(state, actions, {
    kind: "hello",
    minVersion: state.options.minVersion,
    maxVersion: state.options.maxVersion,
    cluster: state.cluster,
    peerId: state.peerId,
    answer,
    vector: vectorPages(heldVector(state))[0] ?? new Map(),
    // A shape left out costs the remote a message, no more.
    shapes: [...state.shapes].slice(0, limits.shapes),
  });
}

function sendRestOfVector(state: LinkState, actions: LinkAction[]): void {
  for (const vector of vectorPages(heldVector(state)).slice(1)) {
    send(state, actions, { kind: "have", full: false, vector });
  }
}

function runTimers(state: LinkState, actions: LinkAction[]): void {
  const { nowMs, options } = state;
  runSuspicion(state, actions);
  if (state.phase === "idle" || state.phase === "closed") return;
  if (nowMs >= silenceDueMs(state)) {
    refuse(state, actions, "LINK_TIMEOUT", `nothing heard in ${silentHeartbeatsMax} heartbeats`);
    return;
  }
  if (state.blocked || state.phase === "suspect") return;
  if (state.phase === "greeting") {
    if (nowMs < state.helloDueMs) return;
    sendHello(state, actions, false);
    state.helloRetryMs = Math.min(state.helloRetryMs * 2, options.heartbeatMs);
    state.helloDueMs = nowMs + state.helloRetryMs;
    return;
  }
  if (nowMs >= ackTimeoutDueMs(state)) onAckTimeout(state);
  runPullTimers(state, actions);
}

function dueMs(state: LinkState): number {
  if (state.blocked && state.phase !== "closed") return silenceDueMs(state);
  if (state.phase === "greeting") return Math.min(silenceDueMs(state), state.helloDueMs);
  const soonestMs = Math.min(silenceDueMs(state), suspicionDueMs(state));
  if (!isLive(state)) return state.phase === "suspect" ? soonestMs : never;
  return Math.min(soonestMs, ackTimeoutDueMs(state), pullDueMs(state));
}

function silenceDueMs(state: LinkState): number {
  return state.heardMs + silentHeartbeatsMax * state.options.heartbeatMs;
}
