/** What a link knows, what it is told and what it asks for: the data of `link.ts`. */
import type { ReplicaErrorCode } from "../errors.ts";
import type { ReadonlyVersionVector, SequenceRange } from "../log/vector.ts";
import type { Fingerprint } from "./identity.ts";
import type { Intake, Source } from "./intake.ts";
import type { Hello, Message, ShapeHash } from "./protocol.ts";
import type { Floor } from "./protocol-floor.ts";
import type { StateMessage } from "./protocol-state.ts";
import type { VerifyMessage } from "./protocol-verify.ts";
import type { SkewState } from "./skew.ts";

export interface LinkOptions {
  /** Sent bytes the other side has not acknowledged. @default 1 MiB */
  windowBytes: number;
  /** The most one read of the log asks for. @default 64 KiB */
  readBytes: number;
  /** How long an acknowledgement may wait for more to acknowledge. @default 20 */
  ackDelayMs: number;
  /** How long it may wait to tell what the other side has asked not to be sent. @default 100 */
  announceDelayMs: number;
  /** The same for what the other side is known to hold. @default 1000 */
  settleDelayMs: number;
  /**
   * Something is sent at least this often; three without hearing anything end the link. @default
   * 5000
   */
  heartbeatMs: number;
  /** First wait before HELLO or a request for shapes is repeated; doubles. @default 500 */
  retryMs: number;
  /** Longest wait before asking or sending again. @default 30000 */
  retryMaxMs: number;
  /** First wait for an acknowledgement before sending again; doubles. @default 2000 */
  ackTimeoutMs: number;
  /** @default 1 */
  minVersion: number;
  /** @default 1 */
  maxVersion: number;
}

export interface LinkConfig extends Partial<LinkOptions> {
  /** Names the link in the plans of the intake. @default 0 */
  readonly id?: number;
  /** What the links of this replica share. @default one of its own */
  readonly intake?: Intake;
  readonly peerId: number;
  /** @default "" */
  readonly cluster?: string;
  /** What this replica holds. */
  readonly vector: ReadonlyVersionVector;
  /** Shapes this replica knows. */
  readonly shapes: Iterable<ShapeHash>;
  /**
   * Only from these peers are changesets taken before `admit`; see `floor.ts`. @default all
   */
  readonly admitted?: ReadonlySet<number> | undefined;
}

/**
 * `nowMs` is wall time; that it steps back, or jumps ahead by more than a heartbeat, does no harm.
 */
export type LinkInput =
  | { type: "open"; nowMs: number }
  | { type: "message"; message: Message; bytes: number; nowMs: number }
  | { type: "tick"; nowMs: number }
  /** A part of a message came. */
  | { type: "heard"; bytes: number; nowMs: number }
  /** The transport takes no more, or does again: nothing is sent meanwhile but a BYE. */
  | { type: "room"; blocked: boolean; nowMs: number }
  /** The log grew. Entries that did not rise may be left out. */
  | { type: "grew"; vector: ReadonlyVersionVector; nowMs: number }
  /**
   * A `read` was done and its CHANGES sent, up to `last`; below the first asked if none was there.
   */
  | { type: "read"; origin: number; last: number; bytes: number; nowMs: number }
  /** Ask for these changesets, and for what follows them. */
  | { type: "want"; ranges: readonly SequenceRange[]; nowMs: number }
  /** Merging records of this link found `first` missing and dropped what comes after it. */
  | { type: "gap"; origin: number; first: number; nowMs: number }
  /** Merging records of this link needs shapes that are not known here. */
  | { type: "unknownShapes"; hashes: readonly ShapeHash[]; nowMs: number }
  /** Records of this link were merged, or were held already: acknowledge. */
  | { type: "merged"; vector: ReadonlyVersionVector; nowMs: number }
  /** Shapes are known now; `fromRemote` when the last `learnShapes` of this link brought them. */
  | { type: "shapesGrew"; hashes: readonly ShapeHash[]; fromRemote?: boolean; nowMs: number }
  /** Send a message of `verify`; dropped while the link is not live. */
  | { type: "verify"; message: VerifyMessage; nowMs: number }
  /** Send what this peer knows of floors; dropped while the link is not live. */
  | { type: "floor"; message: Floor; nowMs: number }
  /** From now on the remote's changesets are taken. */
  | { type: "admit"; nowMs: number }
  /** Send a message of a state transfer; dropped while the link is not live. */
  | { type: "state"; message: StateMessage; nowMs: number }
  | { type: "close"; code: ReplicaErrorCode; text?: string };

/** To be carried out in order. */
export type LinkAction =
  | { type: "send"; message: Message }
  /** Read the log, send what was read as CHANGES, then input `read`. One at a time. */
  | { type: "read"; origin: number; first: number; last: number; bytesMax: number }
  /** Send the descriptors of these shapes, before anything that comes after. */
  | { type: "sendShapes"; hashes: readonly ShapeHash[] }
  | { type: "merge"; records: Uint8Array; bytes: number }
  | { type: "learnShapes"; descriptors: readonly Uint8Array[] }
  | { type: "live"; peerId: number; version: number }
  /** Entries of the remote's vector, as it sent them: what it holds on disk. */
  | { type: "remoteVector"; vector: ReadonlyVersionVector }
  | { type: "verify"; message: VerifyMessage }
  | { type: "state"; message: StateMessage }
  | { type: "floor"; message: Floor }
  /** Tell the remote the timestamps of what is held of this origin. */
  | { type: "sendFingerprints"; origin: number }
  /** The timestamps that the remote knows of this peer's own changesets. */
  | { type: "fingerprints"; fingerprints: readonly Fingerprint[] }
  /** How far the clocks are apart has been measured again. */
  | { type: "skew" }
  /** The last action of a link. Close the transport once the messages before it are sent. */
  | { type: "close"; code: ReplicaErrorCode; text: string; byRemote: boolean };

/** Sent, and not known to have arrived. */
export interface Chunk {
  readonly last: number;
  readonly bytes: number;
}

/**
 * One origin's changesets, seen from this link. All numbers are sequences unless named otherwise.
 */
export interface OriginProgress {
  readonly origin: number;
  /** Held here. */
  held: number;
  /** Held by the remote, as far as it has told. */
  remote: number;
  /** Sent to the remote, or `remote` when that is higher. */
  sent: number;
  /** Highest ever sent, to tell a retransmission. */
  sentMax: number;
  chunks: Chunk[];
  /** The remote has asked not to be sent this origin, only to be told. */
  lazy: boolean;
  /** The remote has been asked not to send it, at `prunedMs`. */
  pruned: boolean;
  prunedMs: number;
  /** The gap last served. */
  rewoundFirst: number;
  rewoundMs: number;
}

export interface PushState {
  /** Origins of which more can be sent, in the order they get their turn. */
  readonly ready: Set<number>;
  /** Origins with chunks in flight. */
  readonly flying: Set<number>;
  readonly shapesUnsent: Set<ShapeHash>;
  reading: { readonly origin: number; readonly first: number } | undefined;
  bytesInFlight: number;
  chunksInFlight: number;
  /** When an acknowledgement last moved, or the first unacknowledged byte was sent. */
  progressMs: number;
  timeoutMs: number;
  /** Nothing is known to arrive: one chunk at a time until an acknowledgement moves. */
  probing: boolean;
}

export interface PullState {
  /** Origins to be named in the next HAVE. */
  readonly changed: Set<number>;
  readonly shapesWanted: Set<ShapeHash>;
  bytesSinceHave: number;
  haveDueMs: number;
  partialHeartbeats: number;
  shapesDueMs: number;
  shapesRetryMs: number;
}

export interface LinkMetrics {
  bytesInFlight: number;
  sentMessages: number;
  receivedMessages: number;
  receivedBytes: number;
  sentChangesBytes: number;
  /** CHANGES messages that went out again. */
  retransmissions: number;
  receivedChangesets: number;
  /** Changesets received that were held already, or had come over another link. */
  duplicateChangesets: number;
  /** WANT messages sent. */
  wants: number;
  /** PRUNE messages sent. */
  prunes: number;
}

export interface LinkState {
  readonly options: Readonly<LinkOptions>;
  readonly peerId: number;
  readonly cluster: string;
  phase: "idle" | "greeting" | "live" | "suspect" | "closed";
  /** Why the link ends, unless the fingerprints show better. */
  suspicion: { code: ReplicaErrorCode; text: string; dueMs: number } | undefined;
  /** Until then it is not known whether what the remote holds of this peer is this file's; or 0. */
  unsureUntilMs: number;
  /** 0 until the remote's HELLO came. */
  remotePeerId: number;
  readonly admitted: ReadonlySet<number> | undefined;
  /** The remote stands outside the floor: it is sent everything, and nothing is taken from it. */
  gated: boolean;
  version: number;
  /** The transport takes no more. */
  blocked: boolean;
  readonly origins: Map<number, OriginProgress>;
  readonly shapes: Set<ShapeHash>;
  readonly remoteShapes: Set<ShapeHash>;
  readonly intake: Intake;
  readonly source: Source;
  readonly push: PushState;
  readonly pull: PullState;
  readonly skew: SkewState;
  /** When this side's clock was told last. */
  clockToldMs: number;
  readonly metrics: LinkMetrics;
  /** The link's own time, which only moves forward; `hostMs` is what the host last said. */
  nowMs: number;
  hostMs: number;
  sentMs: number;
  heardMs: number;
  helloDueMs: number;
  helloRetryMs: number;
  helloAsked: number;
}

/** The origin's progress, made when it is new. */
export function progressOf(state: LinkState, origin: number): OriginProgress {
  const known = state.origins.get(origin);
  if (known !== undefined) return known;
  const progress: OriginProgress = {
    origin,
    held: 0,
    remote: 0,
    sent: 0,
    sentMax: 0,
    chunks: [],
    lazy: false,
    pruned: false,
    prunedMs: 0,
    rewoundFirst: 0,
    rewoundMs: 0,
  };
  state.origins.set(origin, progress);
  return progress;
}

export function send(state: LinkState, actions: LinkAction[], message: Message): void {
  actions.push({ type: "send", message });
  const { sentMs } = state;
  countSent(state);
  // Offers that are not taken up, requests that are not served and gossip may be repeated for ever,
  // and must not take the place of heartbeats: only these tell the remote where this side stands.
  if (message.kind !== "have" && message.kind !== "hello") state.sentMs = sentMs;
}

/** Anything that is sent tells the remote that this side lives. */
export function countSent(state: LinkState): void {
  state.metrics.sentMessages += 1;
  state.sentMs = state.nowMs;
}

/** Tells a remote that is not sent this origin what is held of it: sooner what it may lack. */
export function announceSoon({ pull, nowMs, options }: LinkState, progress: OriginProgress): void {
  const isNews = progress.held > progress.remote;
  const delayMs = isNews ? options.announceDelayMs : options.settleDelayMs;
  pull.changed.add(progress.origin);
  pull.haveDueMs = Math.min(pull.haveDueMs, nowMs + delayMs);
}

/** Ends the link with a BYE. */
export function refuse(
  state: LinkState,
  actions: LinkAction[],
  code: ReplicaErrorCode,
  text: string,
): void {
  if (state.phase === "closed") return;
  send(state, actions, { kind: "bye", code, text });
  state.phase = "closed";
  actions.push({ type: "close", code, text, byRemote: false });
}

/** What this replica holds, by origin. */
export function heldVector(state: LinkState): Map<number, number> {
  const vector = new Map<number, number>();
  for (const { origin, held } of state.origins.values()) {
    if (held > 0) vector.set(origin, held);
  }
  return vector;
}

/** The highest common version, or 0. */
export function negotiate(options: Readonly<LinkOptions>, hello: Hello): number {
  const highest = Math.min(options.maxVersion, hello.maxVersion);
  return highest >= Math.max(options.minVersion, hello.minVersion) ? highest : 0;
}
