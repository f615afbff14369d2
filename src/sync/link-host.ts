/**
 * A link on real ground: feeds the state machine from a transport and a clock, and carries out what
 * it asks for.
 */
import type { Clock } from "../clock.ts";
import { messageOf, ReplicaError, type ReplicaErrorCode } from "../errors.ts";
import { scanRecords } from "../log/records.ts";
import type { ReadonlyVersionVector, VersionVector } from "../log/vector.ts";
import { failedError, type Transport } from "../transport/transport.ts";
import { Assembler, assembledBytesMax, fragmentBytesMax, fragmentsOf } from "./fragments.ts";
import type { Fingerprint } from "./identity.ts";
import { createLink, endLink, isLive, type LinkAction, nextTickMs, step } from "./link.ts";
import type { LinkConfig, LinkInput, LinkMetrics, LinkState } from "./link-state.ts";
import { decodeMessage, encodeMessage, groupDescriptors } from "./protocol.ts";
import type { Floor } from "./protocol-floor.ts";
import type { StateMessage } from "./protocol-state.ts";
import type { VerifyMessage } from "./protocol-verify.ts";
import { type Skew, skewOf } from "./skew.ts";

/** What a link needs of the replica. */
export interface LinkOwner {
  readonly clock: Clock;
  readLog(range: { origin: number; first: number; last: number; bytesMax: number }): Uint8Array;
  descriptors(hashes: readonly string[]): Uint8Array[];
  merge(link: LinkHost, records: Uint8Array): void;
  learnShapes(link: LinkHost, descriptors: readonly Uint8Array[]): void;
  /** Resolves when more may be received from this link. */
  room(link: LinkHost): Promise<void>;
  onLive(link: LinkHost): void;
  onRemoteVector(link: LinkHost): void;
  onSkew(): void;
  fingerprints(origin: number): Fingerprint[];
  onFingerprints(link: LinkHost, fingerprints: readonly Fingerprint[]): void;
  onVerify(link: LinkHost, message: VerifyMessage): void;
  onState(link: LinkHost, message: StateMessage): void;
  onFloor(link: LinkHost, message: Floor): void;
  onError(error: ReplicaError): void;
  /** What is to be asked for may have changed. */
  onStepped(): void;
}

/** More than this waiting for the transport, and nothing more is said until there is room. */
const outboxMax = { messages: 64, bytes: 8 * 1024 * 1024 } as const;
/** A transport that takes nothing is given this long for what is left when the link ends. */
const lingerMs = 1_000;

interface Outgoing {
  readonly message: Uint8Array;
  readonly sent?: () => LinkInput;
}

export interface LinkEnd {
  readonly code: ReplicaErrorCode;
  readonly text: string;
  readonly byRemote: boolean;
}

export class LinkHost {
  readonly name: string;
  /** This peer's own changesets above it are not those that others know, as the link has shown. */
  forkedAfter: number | undefined;
  readonly #owner: LinkOwner;
  readonly #transport: Transport;
  readonly #state: LinkState;
  readonly #outbox: Outgoing[] = [];
  readonly #assembler = new Assembler();
  #outboxBytes = 0;
  #blocked = false;
  #fragmentId = 0;
  #fragments = 0;
  readonly #inputs: LinkInput[] = [];
  #stepping = false;
  #sending: Promise<void> | undefined;
  #cancelTick: (() => void) | undefined;
  #end: LinkEnd | undefined;
  #ended: Promise<void> | undefined;
  #sentBytes = 0;

  constructor(transport: Transport, config: LinkConfig, owner: LinkOwner) {
    this.#transport = transport;
    this.#state = createLink(config);
    this.#owner = owner;
    this.name = transport.name ?? "transport";
  }

  get peerId(): number {
    return this.#state.remotePeerId;
  }

  /** As whom this side has introduced itself. The file may have taken a new id since. */
  get ownPeerId(): number {
    return this.#state.peerId;
  }

  /** Why the link is about to end, once it is not clear whose changesets go by this peer's id. */
  get suspicion(): ReplicaErrorCode | undefined {
    return this.#state.suspicion?.code;
  }

  /** Nothing is taken from the other side: it stands outside the floor. */
  get gated(): boolean {
    return this.#state.gated;
  }

  get live(): boolean {
    return isLive(this.#state);
  }

  /** What the other side holds on disk, as far as it has told or sent it. */
  get remoteVector(): ReadonlyVersionVector {
    const vector: VersionVector = new Map();
    for (const { origin, remote } of this.#state.origins.values()) vector.set(origin, remote);
    return vector;
  }

  /** How far the clock here is from the other side's, once measured. */
  get skew(): Skew | undefined {
    return skewOf(this.#state.skew);
  }

  /** What the other side holds by this peer's id is known to be what this file has. */
  get sure(): boolean {
    return this.#state.unsureUntilMs === 0;
  }

  /** The fingerprints agree. */
  trust(): void {
    this.#state.unsureUntilMs = 0;
  }

  /** How many parts of messages the other side has sent. */
  get fragments(): number {
    return this.#fragments;
  }

  /** How much of this peer's own changesets the other side holds on disk. */
  get acknowledged(): number {
    return this.remoteHolds(this.#state.peerId);
  }

  remoteHolds(origin: number): number {
    return this.#state.origins.get(origin)?.remote ?? 0;
  }

  /** `waitingMessages`: given to this link to send, and not to the transport yet. */
  get metrics(): LinkMetrics & { sentBytes: number; waitingMessages: number } {
    const { metrics } = this.#state;
    return { ...metrics, sentBytes: this.#sentBytes, waitingMessages: this.#outbox.length };
  }

  /** Talks until the link ends, and tells how it ended. Never rejects. */
  async run(): Promise<LinkEnd> {
    this.input({ type: "open", nowMs: this.#owner.clock.now() });
    try {
      for await (const bytes of this.#transport.messages) {
        this.#receive(bytes);
        if (this.#end !== undefined) break;
        await this.#owner.room(this);
      }
      this.#finish({ code: "LINK_CLOSED", text: "the other side hung up", byRemote: true });
    } catch (error) {
      const code = error instanceof ReplicaError ? error.code : "TRANSPORT_FAILED";
      const text = messageOf(error);
      this.#finish({ code, text, byRemote: false });
    }
    await this.#ended;
    return this.#end ?? { code: "LINK_CLOSED", text: "", byRemote: false };
  }

  input(input: LinkInput): void {
    this.#inputs.push(input);
    // What arises while actions are carried out is the next input, not one in between.
    if (this.#stepping) return;
    this.#stepping = true;
    try {
      for (let next = this.#inputs.shift(); next !== undefined; next = this.#inputs.shift()) {
        if (this.#end !== undefined) continue;
        const { actions } = step(this.#state, next);
        for (const action of actions) this.#carryOut(action);
      }
    } finally {
      this.#stepping = false;
    }
    this.#armTick();
    this.#owner.onStepped();
  }

  close(code: ReplicaErrorCode, text: string): void {
    this.input({ type: "close", code, text });
  }

  #receive(bytes: Uint8Array): void {
    const nowMs = this.#owner.clock.now();
    try {
      const message = decodeMessage(bytes);
      if (message.kind !== "fragment") {
        this.input({ type: "message", message, bytes: bytes.byteLength, nowMs });
        return;
      }
      this.#fragments += 1;
      this.input({ type: "heard", bytes: bytes.byteLength, nowMs });
      // Of one that has not introduced itself nothing is kept.
      const whole = this.live ? this.#assembler.add(message) : undefined;
      if (whole === undefined) return;
      this.input({
        type: "message",
        message: decodeMessage(whole, assembledBytesMax),
        bytes: 0,
        nowMs,
      });
    } catch (error) {
      if (!(error instanceof ReplicaError)) throw error;
      this.close(error.code, error.message);
    }
  }

  #carryOut(action: LinkAction): void {
    switch (action.type) {
      case "send":
        this.#send({ message: encodeMessage(action.message) });
        return;
      case "read":
        this.#read(action);
        return;
      case "sendShapes":
        for (const descriptors of groupDescriptors(this.#owner.descriptors(action.hashes))) {
          this.#send({ message: encodeMessage({ kind: "shapes", descriptors }) });
        }
        return;
      case "merge":
        this.#owner.merge(this, action.records);
        return;
      case "learnShapes":
        this.#owner.learnShapes(this, action.descriptors);
        return;
      case "live":
        this.#owner.onLive(this);
        return;
      case "remoteVector":
        this.#owner.onRemoteVector(this);
        return;
      case "sendFingerprints": {
        const { origin } = action;
        const fingerprints = this.#owner.fingerprints(origin);
        if (fingerprints.length === 0) return;
        this.#send({ message: encodeMessage({ kind: "fingerprints", origin, fingerprints }) });
        return;
      }
      case "fingerprints":
        this.#owner.onFingerprints(this, action.fingerprints);
        return;
      case "skew":
        this.#owner.onSkew();
        return;
      case "verify":
        this.#owner.onVerify(this, action.message);
        return;
      case "state":
        this.#owner.onState(this, action.message);
        return;
      case "floor":
        this.#owner.onFloor(this, action.message);
        return;
      case "close":
        this.#finish(action);
    }
  }

  #read(action: LinkAction & { type: "read" }): void {
    const { origin, first, last } = action;
    let records: Uint8Array;
    try {
      records = this.#owner.readLog({ origin, first, last, bytesMax: action.bytesMax });
    } catch (error) {
      if (!(error instanceof ReplicaError)) throw error;
      this.#owner.onError(error);
      this.close("LINK_CLOSED", "the log cannot be read");
      return;
    }
    const read = (): LinkInput => ({
      type: "read",
      origin,
      last: scanRecords(records).at(-1)?.last ?? first - 1,
      bytes: records.byteLength,
      nowMs: this.#owner.clock.now(),
    });
    if (records.byteLength === 0) this.input(read());
    // The next read waits until this one has left: a slow transport slows the reading down.
    else this.#send({ message: encodeMessage({ kind: "changes", records }), sent: read });
  }

  #send(entry: Outgoing): void {
    if (entry.message.byteLength > fragmentBytesMax) this.#cut(entry);
    else this.#push(entry);
    this.#sending ??= this.#flush();
    this.#noteRoom();
  }

  #cut({ message, sent }: Outgoing): void {
    this.#fragmentId += 1;
    for (const fragment of fragmentsOf(message, this.#fragmentId)) {
      const isLast = fragment.index === fragment.count - 1;
      this.#push({
        message: encodeMessage(fragment),
        ...(isLast && sent !== undefined ? { sent } : {}),
      });
    }
  }

  #push(entry: Outgoing): void {
    this.#outbox.push(entry);
    this.#outboxBytes += entry.message.byteLength;
  }

  #noteRoom(): void {
    const { messages, bytes } = outboxMax;
    const blocked = this.#outbox.length >= messages || this.#outboxBytes >= bytes;
    if (blocked === this.#blocked) return;
    this.#blocked = blocked;
    this.input({ type: "room", blocked, nowMs: this.#owner.clock.now() });
  }

  async #flush(): Promise<void> {
    try {
      for (let entry = this.#outbox.shift(); entry !== undefined; entry = this.#outbox.shift()) {
        this.#sentBytes += entry.message.byteLength;
        await this.#transport.send(entry.message);
        this.#outboxBytes -= entry.message.byteLength;
        this.#noteRoom();
        if (entry.sent !== undefined) this.input(entry.sent());
      }
    } catch (error) {
      this.#outbox.length = 0;
      const code = error instanceof ReplicaError ? error.code : "TRANSPORT_FAILED";
      const text = messageOf(error);
      this.#finish({ code, text, byRemote: false });
    } finally {
      this.#sending = undefined;
    }
  }

  #armTick(): void {
    this.#cancelTick?.();
    this.#cancelTick = undefined;
    if (this.#end !== undefined) return;
    const { clock } = this.#owner;
    const dueMs = nextTickMs(this.#state);
    if (!Number.isFinite(dueMs)) return;
    this.#cancelTick = clock.setTimer(Math.max(dueMs - clock.now(), 0), () => {
      this.input({ type: "tick", nowMs: clock.now() });
    });
  }

  #finish(end: LinkEnd): void {
    if (this.#end !== undefined) return;
    this.#end = end;
    endLink(this.#state);
    this.#cancelTick?.();
    this.#owner.onStepped();
    // What is still to be sent, the BYE last, goes out before the transport is closed.
    this.#ended = this.#lingered()
      .then(() => this.#transport.close?.())
      .catch((cause: unknown) => this.#owner.onError(failedError(`closing ${this.name}`, cause)));
  }

  /** Resolves when all is sent, or the transport has had its time. */
  async #lingered(): Promise<void> {
    if (this.#sending === undefined) return;
    let cancel: (() => void) | undefined;
    const timeout = new Promise<void>((resolve) => {
      cancel = this.#owner.clock.setTimer(lingerMs, resolve);
    });
    await Promise.race([this.#sending, timeout]);
    cancel?.();
  }
}
