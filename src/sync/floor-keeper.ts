/**
 * Keeps this file's part in floors: what it has promised is on disk before anyone hears of it.
 * Tells linked peers, lets them in or keeps them out, and finds the way in when it stands outside.
 */
import type { Clock } from "../clock.ts";
import { ReplicaError } from "../errors.ts";
import type { FloorStore } from "../log/floor-store.ts";
import { mergedOf, type OriginMarks } from "../log/store.ts";
import { timestampOf } from "../log/timestamp.ts";
import { TombstoneSweeper } from "../log/tombstones.ts";
import type { KnownPeer, TrimPolicy } from "../log/trim.ts";
import { mergeVector, type ReadonlyVersionVector } from "../log/vector.ts";
import type { MembershipEvent } from "../replica-events.ts";
import {
  admits,
  advanceFloor,
  type FloorState,
  forgetPeers,
  horizonOf,
  isMember,
  joinFloor,
  membersOf,
  mergeFloor,
  newFloor,
  raiseGate,
  verdictOf,
} from "./floor.ts";
import { type Door, doorsOf, patienceMs } from "./floor-doors.ts";
import { newTalk, type Talk, tellIn, told } from "./floor-talk.ts";
import type { LinkInput } from "./link-state.ts";
import { decodeFloorRecord, encodeFloorRecord, type Floor, sizeErrorOf } from "./protocol-floor.ts";
import { Rejoin } from "./rejoin.ts";

export interface FloorLink {
  readonly peerId: number;
  readonly live: boolean;
  readonly gated: boolean;
  readonly remoteVector: ReadonlyVersionVector;
  input(input: LinkInput): void;
  close(code: "LINK_CLOSED", text: string): void;
}

export interface FloorKeeperStore {
  readonly floor: FloorStore;
  peers(): KnownPeer[];
  notePeer(peer: Omit<KnownPeer, "forgotten">): boolean;
  forgetPeer(peerId: number): void;
}

export interface FloorKeeperOptions {
  readonly clock: Clock;
  readonly mergeSliceMs: number;
  readonly retentionMs: number;
  readonly driftMaxMs: number;
  readonly trim: TrimPolicy;
  readonly tombstones: "keep" | "drop";
}

export interface FloorOwner {
  /** Of the file now. */
  marks(): readonly OriginMarks[];
  /** There are changesets in the log that no commit of the user's made. */
  onReissued(): void;
  /** This file has given changesets up: all links have to begin anew. */
  restartLinks(text: string): void;
  /** ... or has another id. */
  onRenewed(text: string): void;
  onMembership(event: MembershipEvent): void;
  onError(error: ReplicaError): void;
}

interface Remote extends Talk {
  toldOutside: boolean;
  /** It knows what this peer has merged, to catch up. */
  toldMerged: boolean;
  /** What it had merged when it said so. */
  merged: ReadonlyVersionVector | undefined;
}

const periodsPerRetention = 16;
const periodMsRange = { min: 25, max: 5_000 };
/** A floor rises by at least this part of the time for which tombstones are kept. */
const stridesPerRetention = 4;
const settledPeriods = 2;
const peersPeriods = 12;
const busyMs = 50;
/** Transactions stamp in steps of eight. */
const aimOffset = 7;
const outsideText = "this peer stands outside the floor";

export class FloorKeeper<Link extends FloorLink> {
  readonly #store: FloorKeeperStore;
  readonly #options: FloorKeeperOptions;
  readonly #owner: FloorOwner;
  readonly #remotes = new Map<Link, Remote>();
  readonly #sweeper: TombstoneSweeper;
  readonly #periodMs: number;
  #state: FloorState;
  #revision = -1;
  #boundMs = 0;
  /** Since when this file has found itself outside. */
  #outsideMs: number | undefined;
  #forgotten: readonly number[] = [];
  #periods = 0;
  #rejoin: { readonly link: Link; readonly work: Rejoin } | undefined;
  #cancel: (() => void) | undefined;
  #dueMs = Number.POSITIVE_INFINITY;
  #closed = false;

  constructor(store: FloorKeeperStore, options: FloorKeeperOptions, owner: FloorOwner) {
    this.#store = store;
    this.#options = options;
    this.#owner = owner;
    const { clock, mergeSliceMs, retentionMs } = options;
    const { min, max } = periodMsRange;
    this.#periodMs = Math.min(Math.max(retentionMs / periodsPerRetention, min), max);
    const onError = (error: ReplicaError) => owner.onError(error);
    this.#sweeper = new TombstoneSweeper(store.floor, { clock, sliceMs: mergeSliceMs, onError });
    this.#state = newFloor(0, 0);
    this.#load();
    this.#lookIn(this.#periodMs);
  }

  /** As of the last look. */
  get state(): FloorState {
    return this.#state;
  }

  get sweeper(): Pick<TombstoneSweeper, "dropped" | "kept"> {
    return this.#sweeper;
  }

  /** This file waits to be let in by a linked peer. */
  get outside(): boolean {
    return this.#rejoin !== undefined;
  }

  /** Whose changesets a new link takes at once; undefined for anybody's. */
  admitted(): ReadonlySet<number> | undefined {
    this.#guard(() => this.#load());
    return this.#state.bound === 0 ? undefined : new Set(membersOf(this.#state));
  }

  /** Rows are only taken from who knows all the deletes whose tombstones are gone here. */
  takesState(link: Link): boolean {
    const horizon = horizonOf(this.#state);
    return horizon === 0 || (this.#remotes.get(link)?.state?.passed ?? 0) >= horizon;
  }

  onLive(link: Link): void {
    const unknown = { toldOutside: false, toldMerged: false, merged: undefined };
    this.#remotes.set(link, { ...newTalk(), ...unknown });
    this.#lookIn(0);
  }

  onMessage(link: Link, { state, merged }: Floor): void {
    const remote = this.#remotes.get(link);
    if (remote === undefined) return;
    remote.state = { self: link.peerId, since: 0, ...state };
    remote.merged = merged;
    this.#lookIn(0);
  }

  onEnded(link: Link): void {
    this.#remotes.delete(link);
    if (this.#rejoin?.link === link) this.#rejoin = undefined;
  }

  /** Also of members that this file has never linked with. @throws PEER_UNKNOWN, IN_TRANSACTION */
  forget(peerId: number): void {
    const isKnown = this.#store.peers().some((peer) => peer.peerId === peerId);
    const isOther = peerId !== this.#state.self && this.#state.added.has(peerId);
    if (!isKnown && isOther) this.#store.notePeer({ peerId, vector: new Map(), heardMs: 0 });
    this.#store.forgetPeer(peerId);
    this.#periods = 0;
    this.#lookIn(0);
  }

  /** What a file that is catching up waits for may have come. */
  onProgress(): void {
    if (this.#rejoin !== undefined) this.#lookIn(busyMs);
  }

  close(): void {
    this.#closed = true;
    this.#cancel?.();
    this.#sweeper.close();
  }

  #lookIn(ms: number): void {
    if (this.#closed) return;
    const { clock } = this.#options;
    const dueMs = clock.now() + ms;
    if (dueMs >= this.#dueMs) return;
    this.#cancel?.();
    this.#dueMs = dueMs;
    this.#cancel = clock.setTimer(ms, () => {
      this.#dueMs = Number.POSITIVE_INFINITY;
      this.#cancel = undefined;
      if (this.#closed) return;
      this.#guard(() => this.#round());
      this.#lookIn(this.#periodMs);
    });
  }

  #round(): void {
    this.#load();
    if (this.#periods++ % peersPeriods === 0) this.#lookAtPeers();
    if (!this.#save(this.#next())) return;
    this.#sweeper.moveTo(horizonOf(this.#state));
    for (const [link, remote] of this.#remotes) {
      this.#gate(link, remote);
      if (link.live) this.#tell(link, remote);
    }
    this.#goIn();
  }

  /** The file's, unless this is how it is known already. Another process may have saved. */
  #load(): void {
    const self = this.#owner.marks()[0]?.peerId ?? 0;
    const record = this.#store.floor.read();
    const { revision, swept, transfer } = record;
    const isKnown = revision === this.#revision && this.#state.self === self;
    if (isKnown && swept <= this.#state.gate) return;
    this.#revision = revision;
    const kept = record.state.byteLength > 0 ? decodeFloorRecord(record.state) : undefined;
    // Another id is another peer, and has promised nothing; but tombstones that are gone stay gone.
    const nobody = () => newFloor(self, this.#timestamp(), { swept, whole: !transfer });
    this.#take(raiseGate(kept?.self === self ? kept : nobody(), swept));
  }

  #timestamp(aheadMs = 0): number {
    return timestampOf(Math.floor(this.#options.clock.now() + aheadMs));
  }

  #take(state: FloorState): void {
    if (state.bound !== this.#state.bound) this.#boundMs = this.#options.clock.now();
    this.#state = state;
  }

  /** Who is forgotten here is so for the cluster, and the other way round. */
  #lookAtPeers(): void {
    const peers = this.#store.peers();
    this.#forgotten = peers.filter(({ forgotten }) => forgotten).map(({ peerId }) => peerId);
    for (const { peerId, forgotten } of peers) {
      if (!forgotten && this.#state.forgotten.has(peerId)) this.#store.forgetPeer(peerId);
    }
  }

  #next(): FloorState {
    const { clock, retentionMs, trim, tombstones } = this.#options;
    const isWanted = tombstones === "drop" && trim !== "never";
    const nowMs = Math.floor(clock.now());
    // Nothing to forget that this file has never heard of; it would make every round begin anew.
    const known = this.#forgotten.filter((peerId) => this.#state.added.has(peerId));
    let state = forgetPeers(this.#state, known);
    for (const remote of this.#remotes.values()) {
      const { state: there } = remote;
      if (there === undefined || verdictOf(state, there) !== "merge") continue;
      const merged = mergeFloor(state, there);
      const error = sizeErrorOf(merged);
      if (error === undefined) state = merged;
      // As if it had not been told.
      else remote.state = undefined;
      if (error !== undefined) this.#owner.onError(error);
    }
    const isOutside = this.#doors(state).some(({ waits }) => !waits);
    return advanceFloor(state, {
      timestamp: this.#timestamp(),
      // Whoever is to give way does not rise meanwhile. No transaction takes the timestamp of a
      // floor: what is issued again there is older than all that was written from then on.
      aim: !isWanted || isOutside ? 0 : timestampOf(nowMs - Math.ceil(retentionMs)) + aimOffset,
      stride:
        timestampOf(nowMs) - timestampOf(nowMs - Math.ceil(retentionMs / stridesPerRetention)),
      held: mergedOf(this.#owner.marks()),
      settled: Math.abs(nowMs - this.#boundMs) >= settledPeriods * this.#periodMs,
    });
  }

  /** On disk before it counts. False: not now. */
  #save(state: FloorState, bound: number = state.bound): boolean {
    if (state === this.#state && bound === state.bound && this.#revision > 0) return true;
    const record = { state: encodeFloorRecord(state), revision: this.#revision, bound };
    const { busy, stale } = this.#store.floor.save(record);
    if (busy || stale) {
      this.#lookIn(busyMs);
      return false;
    }
    this.#revision += 1;
    this.#take(state);
    return true;
  }

  #gate(link: Link, remote: Remote): void {
    const { peerId } = link;
    const { state: there } = remote;
    // A member that has not told that it is one may have sent before it was.
    const isIn =
      this.#state.bound === 0 ||
      (there === undefined ? isMember(this.#state, peerId) : admits(this.#state, there));
    if (isIn) {
      if (link.gated) link.input({ type: "admit", nowMs: this.#options.clock.now() });
      if (remote.toldOutside) this.#owner.onMembership({ peerId, member: true, reissued: 0 });
      remote.toldOutside = false;
      return;
    }
    // What was taken from it and is not merged yet goes with the link.
    if (!link.gated) link.close("LINK_CLOSED", "the other side stands outside the floor");
    else if (!remote.toldOutside && there !== undefined) {
      remote.toldOutside = true;
      this.#owner.onMembership({ peerId, member: false, reissued: 0 });
    }
  }

  #tell(link: Link, remote: Remote): void {
    const state = this.#state;
    const nowMs = this.#options.clock.now();
    const { state: there } = remote;
    // Of two that have forgotten each other both give way.
    const isOutside = there !== undefined && verdictOf(state, there) !== "merge";
    const isDue = isOutside && !remote.toldMerged;
    const waitMs = isDue ? 0 : tellIn(remote, state, { nowMs, periodMs: this.#periodMs });
    if (waitMs === undefined) return;
    if (waitMs > 0) {
      this.#lookIn(waitMs);
      return;
    }
    told(remote, state, nowMs);
    remote.toldMerged = isOutside;
    const merged = isOutside ? { merged: mergedOf(this.#owner.marks()) } : {};
    link.input({ type: "floor", message: { kind: "floor", state, ...merged }, nowMs });
  }

  #doors(state: FloorState): Door<Link>[] {
    // A clock that is ahead would take this file's along.
    return doorsOf(state, this.#remotes, this.#timestamp(this.#options.driftMaxMs));
  }

  #goIn(): void {
    const [door] = this.#doors(this.#state);
    const nowMs = this.#options.clock.now();
    if (door === undefined) {
      this.#rejoin = undefined;
      this.#outsideMs = undefined;
      return;
    }
    this.#outsideMs ??= nowMs;
    const { link, there, merged } = door;
    const waitedMs = Math.abs(nowMs - this.#outsideMs);
    if (merged === undefined || waitedMs < patienceMs(this.#state, door, this.#periodMs)) return;
    if (this.#rejoin?.link !== link || this.#rejoin.work.bound !== there.gate) {
      // From here on nothing is written below it, under whatever id.
      if (!this.#save(this.#state, there.gate)) return;
      this.#rejoin = { link, work: new Rejoin(this.#store.floor, there.gate) };
      this.#owner.onMembership({ peerId: this.#state.self, member: false, reissued: 0 });
    }
    this.#step(this.#rejoin.work, { link, there, merged });
  }

  #step(
    work: Rejoin,
    { link, there, merged }: Pick<Door<Link>, "link" | "there"> & { merged: ReadonlyVersionVector },
  ): void {
    const marks = this.#owner.marks();
    const here = this.#state;
    const before = work.patches;
    const held = new Map(link.remoteVector);
    mergeVector(held, merged);
    const step = work.step({ held, merged, here, there, marks }, this.#options.mergeSliceMs);
    if (work.patches > before) this.#owner.onReissued();
    if (step === "more") this.#lookIn(0);
    else if (step === "busy") this.#lookIn(busyMs);
    else if (step === "renewed") {
      this.#outsideMs = undefined;
      this.#load();
      this.#owner.onRenewed(outsideText);
    } else if (step === "ready") this.#join(work, there);
  }

  #join(work: Rejoin, there: FloorState): void {
    if (!this.#save(joinFloor(this.#state, there))) return;
    this.#rejoin = undefined;
    this.#outsideMs = undefined;
    const { patches: reissued, givenUp } = work;
    this.#owner.onMembership({ peerId: this.#state.self, member: true, reissued });
    if (givenUp > 0) this.#owner.restartLinks("this peer has given changesets up");
    this.#lookIn(0);
  }

  #guard(work: () => void): void {
    try {
      work();
    } catch (error) {
      if (!(error instanceof ReplicaError)) throw error;
      // Inside the user's transaction, or busy: the next look tries again.
      const isPassing = error.code === "CLOSED" || error.code === "IN_TRANSACTION";
      if (!isPassing) this.#owner.onError(error);
    }
  }
}
