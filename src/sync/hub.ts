/**
 * All links of a replica: dialling, accepting, telling each what there is to send, and what the
 * others have received.
 */
import type { Clock, Random } from "../clock.ts";
import { ReplicaError } from "../errors.ts";
import { heldOf, type OriginMarks, type Store } from "../log/store.ts";
import { covers, mergeVector, type VersionVector } from "../log/vector.ts";
import type { RepairResult, StateMergeResult } from "../native.ts";
import type { ClockEvent, StateProgressEvent } from "../replica-events.ts";
import { keepDialing } from "../transport/reconnect.ts";
import type { Dialer, Transport } from "../transport/transport.ts";
import { ClockWatch } from "./clock-watch.ts";
import { compareFingerprints, fingerprintsOf } from "./fingerprints.ts";
import { createIntake, plan, planDueMs } from "./intake.ts";
import type { LinkConfig } from "./link.ts";
import { type LinkEnd, LinkHost, type LinkOwner } from "./link-host.ts";
import type { Floor } from "./protocol-floor.ts";
import type { StateMessage } from "./protocol-state.ts";
import { Questions } from "./questions.ts";
import { ReadCache } from "./read-cache.ts";
import type { Skew } from "./skew.ts";
import { StateReceiver } from "./state-receive.ts";
import { StateSender } from "./state-send.ts";
import type { Ask } from "./verify.ts";

export interface HubOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly sliceMs: number;
  readonly link: Pick<LinkConfig, "cluster" | "heartbeatMs" | "windowBytes">;
}

/** What the hub tells the replica, and asks of it. */
export interface HubOwner {
  marks(): readonly OriginMarks[];
  merge(link: LinkHost, records: Uint8Array): void;
  room(link: LinkHost): Promise<void>;
  onLinkLive(link: LinkHost): void;
  onLinkEnded(link: LinkHost, end: LinkEnd): void;
  onDial(event: { name: string; error: unknown }): void;
  onProgress(): void;
  /** A slice of a state transfer shows in the tables; at its end the vector has moved. */
  onStateMerged(link: LinkHost, result: StateMergeResult): void;
  onStateProgress(event: StateProgressEvent): void;
  /** A peer that compares its tables with ours has mended some rows here. */
  onRepaired(result: RepairResult): void;
  onClock(event: ClockEvent): void;
  /** Whose changesets a new link takes at once; undefined for anybody's. */
  admitted(): ReadonlySet<number> | undefined;
  onFloor(link: LinkHost, message: Floor): void;
  takesState(link: LinkHost): boolean;
  onError(error: ReplicaError): void;
}

/** One connection of a replica: a single conversation, or a dialler that keeps making them. */
export interface Connection {
  readonly name: string;
  /** Resolves when it has ended and will not come back. */
  readonly closed: Promise<void>;
  close(): Promise<void>;
}

export class Hub {
  readonly #store: Store;
  readonly #owner: HubOwner;
  readonly #options: HubOptions;
  readonly #links = new Map<number, LinkHost>();
  readonly #connections = new Set<Connection>();
  readonly #questions: Questions;
  #intake = createIntake();
  readonly #clockWatch = new ClockWatch((event) => this.#owner.onClock(event));
  /** Of the peers linked since the hub was made: what each holds of this peer's own changesets. */
  readonly #acknowledged = new Map<number, number>();
  /** The id it goes by there: another process may give the file a new one. */
  #acknowledgedId = 0;
  readonly #reads = new ReadCache((range) => this.#store.readLog(range));
  /** What the links know to be held; a new one begins with all of it. */
  readonly #told: VersionVector = new Map();
  readonly #sender: StateSender<LinkHost>;
  readonly #receiver: StateReceiver<LinkHost>;
  #nextLinkId = 1;
  #planAtMs = Number.POSITIVE_INFINITY;
  #cancelPlan: (() => void) | undefined;

  constructor(store: Store, owner: HubOwner, options: HubOptions) {
    this.#store = store;
    this.#owner = owner;
    this.#options = options;
    const { clock, sliceMs } = options;
    const shared = {
      clock,
      sliceMs,
      marks: () => owner.marks(),
      send: (link: LinkHost, message: StateMessage) =>
        link.input({ type: "state", message, nowMs: clock.now() }),
      onError: (error: ReplicaError) => owner.onError(error),
    };
    this.#questions = new Questions(store, {
      clock,
      onRepaired: (result) => owner.onRepaired(result),
      onError: (error) => owner.onError(error),
    });
    this.#sender = new StateSender(store, shared);
    this.#receiver = new StateReceiver(store, {
      ...shared,
      takes: (link) => owner.takesState(link),
      onProgress: (event) => owner.onStateProgress(event),
      onMerged: (link, result) => owner.onStateMerged(link, result),
      onRejected: (link, error) => link.close("PROTOCOL_MALFORMED", error.message),
    });
  }

  get peerId(): number {
    return this.self?.peerId ?? 0;
  }

  /** What this peer has of its own, as of now. */
  get self(): OriginMarks | undefined {
    return this.#owner.marks()[0];
  }

  get liveLinks(): LinkHost[] {
    return [...this.#links.values()].filter((link) => link.live);
  }

  /** Somebody is linked, or may be before long. */
  get hasConnections(): boolean {
    return this.#connections.size > 0;
  }

  connect(to: Transport | Dialer): Connection {
    const abort = new AbortController();
    const ended = "dial" in to ? this.#dial(to, abort.signal) : this.#converse(to, abort.signal);
    const connection: Connection = {
      name: to.name ?? "transport",
      closed: ended.finally(() => this.#connections.delete(connection)),
      close: () => {
        abort.abort();
        return connection.closed;
      },
    };
    this.#connections.add(connection);
    return connection;
  }

  /**
   * The log has more than the links were told. `look`: changesets came that this connection has not
   * merged itself, perhaps with shapes it has not seen.
   */
  grew({ look }: { look: boolean }): void {
    const held = heldOf(this.#owner.marks());
    const nowMs = this.#options.clock.now();
    const vector: VersionVector = new Map();
    for (const [origin, sequence] of held) {
      if (sequence > (this.#told.get(origin) ?? 0)) vector.set(origin, sequence);
    }
    mergeVector(this.#told, vector);
    this.#announceShapes(undefined, look);
    for (const link of this.#links.values()) link.input({ type: "grew", vector, nowMs });
  }

  /** Every live link has everything of the other side, and the other side of this one. */
  get synced(): boolean {
    const held = heldOf(this.#owner.marks());
    const links = this.liveLinks;
    return (
      links.length > 0 &&
      links.every((link) => covers(held, link.remoteVector) && covers(link.remoteVector, held))
    );
  }

  /** The log has been trimmed: some peer may need the rows instead. */
  horizonMoved(): void {
    this.#reads.clear();
    this.#sender.onHorizonMoved(this.liveLinks);
  }

  get linkedPeers(): number {
    return new Set(this.liveLinks.map(({ peerId }) => peerId)).size;
  }

  /** Peers linked now or before, since the hub was made. */
  get knownPeers(): number {
    return this.#acknowledged.size;
  }

  /** How many of them have said that they hold this on disk; of a former id, of those linked. */
  holders(origin: number, sequence: number): number {
    const peers = new Set<number>();
    for (const link of this.liveLinks) {
      const isSure = link.sure || origin !== link.ownPeerId;
      if (isSure && link.remoteHolds(origin) >= sequence) peers.add(link.peerId);
    }
    if (origin !== this.#followIdentity()) return peers.size;
    for (const [peerId, held] of this.#acknowledged) if (held >= sequence) peers.add(peerId);
    return peers.size;
  }

  /** How far the clock here is from those of linked peers. */
  get skews(): Skew[] {
    const byPeer = new Map<number, Skew>();
    for (const { peerId, skew } of this.liveLinks) if (skew !== undefined) byPeer.set(peerId, skew);
    return [...byPeer.values()];
  }

  /**
   * Sends verify requests to a peer, or to any; rejects when the link ends.
   * @throws NOT_LINKED
   */
  asker(peerId: number | undefined, signal: AbortSignal | undefined): { ask: Ask; peerId: number } {
    const link = this.liveLinks.find((one) => peerId === undefined || one.peerId === peerId);
    if (link === undefined) {
      const which = peerId === undefined ? "any peer" : `peer ${peerId}`;
      throw new ReplicaError("NOT_LINKED", `there is no live link to ${which}`, {
        hint: "Connect first, and wait for the `link` event.",
      });
    }
    return { ask: this.#questions.asker(link, signal), peerId: link.peerId };
  }

  /** Ends all links, for they were opened under another peer id; diallers come back. */
  restartLinks(text: string): void {
    this.#reads.clear();
    this.#told.clear();
    this.#intake = createIntake();
    this.#forgetAcknowledged();
    for (const link of this.#links.values()) link.close("LINK_CLOSED", text);
  }

  async close(): Promise<void> {
    await Promise.all([...this.#connections].map((connection) => connection.close()));
    this.#cancelPlan?.();
  }

  async #dial(dialer: Dialer, signal: AbortSignal): Promise<void> {
    const { clock, random } = this.#options;
    await keepDialing(dialer, (transport) => this.#converse(transport, signal), {
      clock,
      random,
      signal,
      onEvent: (event) => {
        if (event.type === "ended" && "error" in event) {
          this.#owner.onDial({ name: dialer.name, error: event.error });
        }
      },
    });
  }

  async #converse(transport: Transport, signal: AbortSignal): Promise<void> {
    const marks = this.#owner.marks();
    const [self] = marks;
    this.#store.newShapes({ look: true });
    const id = this.#nextLinkId++;
    const link = new LinkHost(
      transport,
      {
        ...this.#options.link,
        id,
        intake: this.#intake,
        peerId: self?.peerId ?? 0,
        vector: heldOf(marks),
        shapes: this.#store.shapeHashes(),
        admitted: this.#owner.admitted(),
      },
      this.#linkOwner(),
    );
    this.#links.set(id, link);
    const stop = () => link.close("LINK_CLOSED", "closed");
    signal.addEventListener("abort", stop, { once: true });
    if (signal.aborted) stop();
    const end = await link.run();
    signal.removeEventListener("abort", stop);
    this.#links.delete(id);
    this.#questions.onEnded(link);
    this.#sender.onEnded(link);
    this.#receiver.onEnded(link);
    this.#owner.onLinkEnded(link, end);
  }

  #linkOwner(): LinkOwner {
    return {
      clock: this.#options.clock,
      readLog: (range) => {
        const records = this.#reads.read(range);
        if (records.byteLength === 0) this.horizonMoved();
        return records;
      },
      descriptors: (hashes) => this.#store.descriptors(hashes),
      merge: (link, records) => this.#owner.merge(link, records),
      room: (link) => this.#owner.room(link),
      learnShapes: (link, descriptors) => this.#learnShapes(link, descriptors),
      onLive: (link) => {
        this.#sender.look(link);
        this.#noteHeld(link);
        this.#owner.onLinkLive(link);
      },
      onRemoteVector: (link) => this.#onRemoteVector(link),
      onState: (link, message) => this.#onState(link, message),
      onFloor: (link, message) => this.#owner.onFloor(link, message),
      fingerprints: (origin) => fingerprintsOf(this.#store, this.#owner.marks(), origin),
      onFingerprints: (link, theirs) => {
        compareFingerprints(this.#store, this.#owner.marks()[0], { link, theirs });
        if (link.live) this.#onRemoteVector(link);
      },
      onSkew: () => this.#clockWatch.look(this.skews),
      onVerify: (link, message) => this.#questions.onMessage(link, message),
      onError: (error) => this.#owner.onError(error),
      onStepped: () => this.#armPlan(),
    };
  }

  #onRemoteVector(link: LinkHost): void {
    this.#sender.look(link);
    this.#noteHeld(link);
    this.#owner.onProgress();
  }

  #noteHeld(link: LinkHost): void {
    const self = this.#followIdentity();
    const before = this.#acknowledged.get(link.peerId) ?? 0;
    const held = link.sure ? link.remoteHolds(self) : 0;
    this.#acknowledged.set(link.peerId, Math.max(before, held));
  }

  /** This peer's id. Of a new one the peers hold nothing, whatever they held of the former. */
  #followIdentity(): number {
    const { peerId } = this;
    if (peerId !== this.#acknowledgedId) this.#forgetAcknowledged();
    this.#acknowledgedId = peerId;
    return peerId;
  }

  #forgetAcknowledged(): void {
    for (const peerId of this.#acknowledged.keys()) this.#acknowledged.set(peerId, 0);
  }

  /** Asks for what is missing when the intake says that it is time. */
  #armPlan(): void {
    const dueMs = planDueMs(this.#intake);
    if (dueMs >= this.#planAtMs) return;
    this.#cancelPlan?.();
    const { clock } = this.#options;
    this.#planAtMs = dueMs;
    this.#cancelPlan = clock.setTimer(Math.max(dueMs - clock.now(), 0), () => {
      this.#planAtMs = Number.POSITIVE_INFINITY;
      this.#cancelPlan = undefined;
      const nowMs = clock.now();
      for (const { id, ranges } of plan(this.#intake, nowMs)) {
        this.#links.get(id)?.input({ type: "want", ranges, nowMs });
      }
      this.#armPlan();
    });
  }

  #learnShapes(link: LinkHost, descriptors: readonly Uint8Array[]): void {
    try {
      this.#store.learnShapes(descriptors);
    } catch (error) {
      if (!(error instanceof ReplicaError)) throw error;
      this.#owner.onError(error);
      // Busy or full: the shapes are asked for again when a changeset needs them.
      if (error.code === "SHAPE_MALFORMED") link.close("PROTOCOL_MALFORMED", error.message);
      return;
    }
    this.#announceShapes(link);
  }

  #announceShapes(from: LinkHost | undefined, look = false): void {
    const hashes = this.#store.newShapes({ look });
    if (hashes.length === 0) return;
    const nowMs = this.#options.clock.now();
    for (const link of this.#links.values()) {
      link.input({ type: "shapesGrew", hashes, fromRemote: link === from, nowMs });
    }
  }

  #onState(link: LinkHost, message: StateMessage): void {
    if (message.kind === "stateOffer") this.#receiver.onOffer(link, message);
    else if (message.kind === "stateRequest") this.#sender.onRequest(link, message);
    else this.#receiver.onChunk(link, message);
  }
}
