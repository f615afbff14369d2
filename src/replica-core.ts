/**
 * What keeps a replica going: its log, merging, links and their upkeep, and what each of them has
 * to tell the others. The `Replica` is the face of it.
 */

import { closedError } from "./closed.ts";
import { recordOf } from "./conflict.ts";
import { Conflicts } from "./conflicts.ts";
import { ReplicaError } from "./errors.ts";
import { Emitter } from "./events.ts";
import { FileGauge } from "./file-gauge.ts";
import { renewIfLost } from "./identity.ts";
import { LeaderWatch } from "./leader.ts";
import { fileMarks, mainFile } from "./log/file-marks.ts";
import { watchCommits } from "./log/file-watch.ts";
import { grew, heldOf, type OriginMarks, type SqliteDatabase, Store } from "./log/store.ts";
import { Trimmer } from "./log/trim.ts";
import type { VersionVector } from "./log/vector.ts";
import { Maintenance } from "./merge/maintenance.ts";
import { MergeScheduler } from "./merge/scheduler.ts";
import {
  addTotals,
  type Counters,
  countSlice,
  type LinkTotals,
  noCounters,
  noTotals,
} from "./metrics.ts";
import type { MergeResult, RepairResult, StateMergeResult } from "./native.ts";
import type { Options } from "./options.ts";
import { type ReplicaEvents, replicaEventNames } from "./replica-events.ts";
import { warnAboutTables } from "./schema/warnings.ts";
import { Snapshots } from "./snapshot/snapshots.ts";
import { FloorKeeper } from "./sync/floor-keeper.ts";
import { Hub } from "./sync/hub.ts";
import type { LinkEnd, LinkHost } from "./sync/link-host.ts";
import { renewedText } from "./sync/link-identity.ts";
import { MergeSources } from "./sync/merge-sources.ts";
import { formatToken } from "./token.ts";
import { Verifier } from "./verifier.ts";
import { VerifyRounds } from "./verify-rounds.ts";
import { Waiters } from "./waiters.ts";

export class ReplicaCore {
  readonly store: Store;
  readonly options: Options;
  readonly events: Emitter<ReplicaEvents> = new Emitter<ReplicaEvents>(replicaEventNames);
  /** Called when tables may have changed; with `true`, in ways that the log does not tell. */
  readonly changed: Set<(all: boolean) => void> = new Set();
  readonly waiters: Waiters = new Waiters();
  readonly scheduler: MergeScheduler;
  readonly hub: Hub;
  readonly conflicts: Conflicts;
  readonly gauge: FileGauge;
  readonly snapshots: Snapshots;
  readonly leader: LeaderWatch;
  readonly verifier: Verifier;
  readonly floor: FloorKeeper<LinkHost>;
  readonly counters: Counters = noCounters();
  /** Of links that have ended. */
  readonly totals: LinkTotals = noTotals();
  readonly #maintenance: Maintenance;
  readonly #trimmer: Trimmer;
  readonly #rounds: VerifyRounds;
  readonly #sources: MergeSources;
  readonly #onClosed: () => void;
  #marks: readonly OriginMarks[] = [];
  #announced: VersionVector = new Map();
  #linkedAs = 0;
  #unwatch: (() => void) | undefined;
  #closing: Promise<void> | undefined;

  constructor(db: SqliteDatabase, options: Options, onClosed: () => void) {
    this.options = options;
    this.#onClosed = onClosed;
    this.store = new Store(db);
    const file = mainFile(db);
    const { renewed } = this.store.open(fileMarks(file), () => this.lookAtLog());
    try {
      this.store.setDriftMax(options.driftMaxMs);
      this.store.takeCompanions();
      this.store.replicate(options.tables);
      const { oldValues } = options;
      if (oldValues !== undefined) this.store.keepOldValues(oldValues === false ? [] : oldValues);
      warnAboutTables(db, this.store.tables());
      this.#marks = this.store.marks();
      this.#announced = heldOf(this.#marks);
      this.#linkedAs = this.peerId;
    } catch (error) {
      this.store.close();
      throw error;
    }
    this.scheduler = new MergeScheduler(this.store, {
      clock: options.clock,
      sliceMs: options.mergeSliceMs,
      onSlice: (result) => this.#onSlice(result),
      onError: (error) => this.#onMergeError(error),
    });
    this.#maintenance = new Maintenance(options.clock, () => this.scheduler.requestMaintenance());
    this.#sources = this.#makeSources();
    this.hub = this.#makeHub();
    this.conflicts = new Conflicts(this.store, {
      clock: options.clock,
      emit: (name, event) => this.events.emit(name, event),
      maintain: () => this.scheduler.requestMaintenance(),
    });
    this.gauge = new FileGauge(() => this.store.measure(), options.clock);
    this.leader = new LeaderWatch({
      clock: options.clock,
      graceMs: options.leaderGraceMs,
      onChange: (event) => this.events.emit("leader", event),
    });
    this.#lookForLeader();
    this.snapshots = this.#makeSnapshots(file);
    this.verifier = new Verifier(this.store, {
      clock: options.clock,
      onVerified: (event) => this.events.emit("verify", event),
      onRepaired: (result) => this.#onRepaired(result),
    });
    this.floor = this.#makeFloor();
    this.#trimmer = new Trimmer(this.store, options, {
      // What a peer holds that is not let in counts for nothing.
      linked: () => this.hub.liveLinks.filter(({ gated }) => !gated),
      onTrimmed: () => this.hub.horizonMoved(),
      onError: (error) => this.events.emit("error", { error }),
    });
    this.#rounds = this.#makeRounds();
    if (options.watchFile && file !== "") {
      this.#unwatch = watchCommits(file, options.clock, () => this.lookAtLog());
    }
    this.scheduler.requestMaintenance();
    // Listeners are added after `attach` has returned.
    if (renewed) queueMicrotask(() => this.events.emit("identity", { peerId: this.peerId }));
  }

  get peerId(): number {
    return this.#marks[0]?.peerId ?? 0;
  }

  get closing(): boolean {
    return this.#closing !== undefined;
  }

  /** What each origin has here, as of the last look at the file; this peer first. */
  get marks(): readonly OriginMarks[] {
    return this.#marks;
  }

  refreshMarks(): readonly OriginMarks[] {
    this.#marks = this.store.marks();
    return this.#marks;
  }

  /** @throws CLOSED */
  assertOpen(): void {
    if (this.closing) throw closedError();
  }

  /** Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** A commit here or in another process: the log grew, or the schema has changed. */
  lookAtLog(): void {
    if (this.closing) return;
    try {
      this.refreshMarks();
    } catch (error) {
      // The database was closed before the replica.
      if (error instanceof ReplicaError && error.code === "CLOSED") return void this.close();
      throw error;
    }
    if (this.store.schemaTouched()) this.scheduler.requestMaintenance();
    this.#announce();
    this.#maintenance.noteCommits(0);
    this.#tellChanged(false);
    this.waiters.check();
  }

  #tellChanged(all: boolean): void {
    for (const tell of this.changed) tell(all);
  }

  async #close(): Promise<void> {
    this.#unwatch?.();
    this.leader.close();
    this.#maintenance.close();
    this.conflicts.close();
    for (const link of this.hub.liveLinks) if (!link.gated) this.#trimmer.note(link);
    this.#trimmer.close();
    await this.snapshots.close(closedError());
    await this.#rounds.close(closedError());
    this.floor.close();
    this.scheduler.close(); // Links wait until there is room for more to merge.
    await this.hub.close();
    this.waiters.rejectAll(closedError());
    this.store.close();
    this.#onClosed();
  }

  #makeSnapshots(file: string): Snapshots {
    return new Snapshots(
      {
        file,
        clock: this.options.clock,
        copyInto: (target, options) => this.store.copyInto(target, options),
        isLeader: () => this.leader.leads,
        onEvent: (event) => this.events.emit("snapshot", event),
      },
      this.options.backup,
    );
  }

  #makeRounds(): VerifyRounds {
    const { clock, random, verifyEveryMs, verifyRepair } = this.options;
    // Four of 24 ms are work.
    const pace = { restMs: 20, deep: false, commonOnly: true };
    return new VerifyRounds(
      {
        clock,
        random,
        linked: () => this.hub.liveLinks.filter(({ gated }) => !gated),
        held: () => heldOf(this.#marks),
        look: (peerId, signal) => this.verifier.look(this.hub, peerId, { ...pace, signal }),
        verify: (peerId, signal) =>
          this.verifier.verify(this.hub, peerId, { ...pace, signal, repair: verifyRepair }),
        onError: (error) => this.events.emit("error", { error }),
      },
      verifyEveryMs,
    );
  }

  #makeSources(): MergeSources {
    return new MergeSources(this.scheduler, {
      clock: this.options.clock,
      onHeld: () => {
        this.refreshMarks();
        this.#announce();
      },
      onTold: () => this.waiters.check(),
      onError: (error) => this.events.emit("error", { error }),
    });
  }

  #makeHub(): Hub {
    const { clock, random, cluster, heartbeatMs, windowBytes, mergeSliceMs } = this.options;
    return new Hub(
      this.store,
      {
        marks: () => this.refreshMarks(),
        merge: (link, records) => this.#sources.merge(link, records),
        room: (link) => this.#sources.room(link),
        onLinkLive: (link) => this.#onLinkLive(link),
        onLinkEnded: (link, end) => this.#onLinkEnded(link, end),
        onDial: (event) => this.events.emit("dial", event),
        onProgress: () => this.waiters.check(),
        admitted: () => this.floor.admitted(),
        onFloor: (link, message) => this.floor.onMessage(link, message),
        takesState: (link) => this.floor.takesState(link),
        onStateMerged: (link, result) => this.#onStateMerged(link, result),
        onStateProgress: (event) => this.events.emit("state", event),
        onRepaired: (result) => this.verifier.noteRepaired(result),
        onClock: (event) => this.events.emit("clock", event),
        onError: (error) => this.events.emit("error", { error }),
      },
      { clock, random, sliceMs: mergeSliceMs, link: { cluster, heartbeatMs, windowBytes } },
    );
  }

  /** Tells links and listeners what the log has gained since they were told last. */
  #announce(): void {
    this.#followIdentity(renewedText);
    if (!grew(this.#marks, this.#announced)) return;
    const [self] = this.#marks;
    const told = this.#announced;
    const before = told.get(self?.peerId ?? 0) ?? 0;
    this.#announced = heldOf(this.#marks);
    this.hub.grew({ look: grew(this.#marks.slice(1), told) });
    if (self === undefined || self.held === before) return;
    this.#maintenance.noteCommits(self.held - before);
    this.conflicts.onCommit();
    this.events.emit("commit", {
      token: formatToken({ peerId: self.peerId, sequence: self.held }),
    });
  }

  #onSlice(result: MergeResult): void {
    countSlice(this.counters, result);
    this.refreshMarks();
    this.#announce();
    for (const refused of result.refused) this.events.emit("refused", refused);
    this.counters.keyCollisions += result.keyCollisions;
    for (const { table, key, origin, other } of result.collisions) {
      this.events.emit("collision", { table, key: recordOf(key), origins: [origin, other] });
    }
    this.conflicts.onSlice(result);
    const { changesets, patches, lost, parked } = result;
    if (changesets > 0) this.events.emit("merge", { changesets, patches, lost, parked });
    this.#tellChanged(result.conflicts.length + result.resolved.length > 0);
    this.floor.onProgress();
    this.waiters.check();
  }

  #onStateMerged(link: LinkHost, { complete, ...slice }: StateMergeResult): void {
    countSlice(this.counters, { ...slice, changesets: 0, refused: [] });
    this.conflicts.onChanges(slice);
    const { patches, lost, parked } = slice;
    this.events.emit("merge", { changesets: 0, patches, lost, parked });
    this.#tellChanged(true);
    this.floor.onProgress();
    if (!complete) return;
    this.refreshMarks();
    this.#announce();
    this.hub.horizonMoved();
    link.input({ type: "merged", vector: heldOf(this.#marks), nowMs: this.options.clock.now() });
    this.scheduler.requestMaintenance();
    this.waiters.check();
  }

  #onRepaired(result: RepairResult): void {
    const { patches, lost, parked } = result;
    this.conflicts.onChanges(result);
    countSlice(this.counters, { changesets: 0, patches, lost, parked, refused: [] });
    this.events.emit("merge", { changesets: 0, patches, lost, parked });
    this.#tellChanged(true);
    this.lookAtLog();
    this.scheduler.requestMaintenance();
  }

  #onMergeError(error: ReplicaError): void {
    if (error.code === "CLOSED") return void this.close();
    this.counters.mergeErrors += 1;
    this.events.emit("error", { error });
  }

  #onLinkLive(link: LinkHost): void {
    this.counters.linksOpened += 1;
    this.#lookForLeader();
    this.floor.onLive(link);
    if (!link.gated) this.#trimmer.note(link);
    this.events.emit("link", { peerId: link.peerId, name: link.name, live: true });
    this.waiters.check();
  }

  #onLinkEnded(link: LinkHost, end: LinkEnd): void {
    this.#sources.remove(link);
    this.floor.onEnded(link);
    addTotals(this.totals, link.metrics);
    this.#lookForLeader();
    const { peerId, name } = link;
    this.events.emit("link", { peerId, name, live: false, code: end.code, text: end.text });
    if (end.code === "IDENTITY_LOST" && !end.byRemote) this.#renewIdentity(link);
    this.waiters.check();
  }

  /** A peer holds own writes of ours that this file does not: the id belongs to a lost past. */
  #renewIdentity(link: LinkHost): void {
    if (this.closing) return;
    this.refreshMarks();
    const renewed = renewIfLost(this.store, this.#marks[0], link);
    if (renewed instanceof ReplicaError) this.events.emit("error", { error: renewed });
    this.lookAtLog();
  }

  /** The file goes by another id: taken here, or by another process. */
  #followIdentity(text: string): void {
    if (this.peerId === this.#linkedAs) return;
    this.#restartLinks(text);
    this.events.emit("identity", { peerId: this.peerId });
  }

  #lookForLeader(): void {
    if (this.closing) return;
    const linked = this.hub.liveLinks.map(({ peerId }) => peerId);
    this.leader.look(this.peerId, linked);
  }

  /** What this file holds has become less, or has another name. */
  #restartLinks(text: string): void {
    this.refreshMarks();
    this.#announced = heldOf(this.#marks);
    this.#linkedAs = this.peerId;
    this.hub.restartLinks(text);
    this.#lookForLeader();
  }

  #makeFloor(): FloorKeeper<LinkHost> {
    return new FloorKeeper(this.store, this.options, {
      marks: () => this.refreshMarks(),
      onReissued: () => this.lookAtLog(),
      restartLinks: (text) => this.#restartLinks(text),
      onRenewed: (text) => this.#followIdentity(text),
      onMembership: (event) => this.events.emit("membership", event),
      onError: (error) => this.events.emit("error", { error }),
    });
  }
}
