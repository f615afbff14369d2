/**
 * A database connection as the native core sees it: the one place that calls the binding for a
 * replica. Errors come out as {@link ReplicaError}.
 */
import { ReplicaError } from "../errors.ts";
import {
  type FileReading,
  type Handle,
  type MergeResult,
  type NativeConflict,
  native,
  type OrphanPage,
  type StateChunk,
  type StateMergeResult,
  type TrimResult,
} from "../native.ts";
import { call, told } from "../native-error.ts";
import { flat, pairs } from "./flat-vector.ts";
import { FloorStore } from "./floor-store.ts";
import { loadInto } from "./load-extension.ts";
import type { KnownPeer, TrimPlan } from "./trim.ts";
import type { VersionVector } from "./vector.ts";

/** The part of a better-sqlite3 or node:sqlite database that is needed. */
export interface SqliteDatabase {
  loadExtension(path: string, entryPoint?: string): unknown;
  exec(sql: string): unknown;
  prepare(sql: string): {
    get(...parameters: never[]): unknown;
    all(...parameters: never[]): unknown[];
    run(...parameters: never[]): unknown;
  };
}

export interface OriginMarks {
  readonly peerId: number;
  /** Highest sequence in the log without a gap. */
  readonly held: number;
  /** Highest sequence that shows in the tables. */
  readonly merged: number;
}

/** A copy that is being made. */
export interface FileCopy {
  readonly done: Promise<void>;
  /** Pages copied, and pages there are; 0 before it has begun. */
  progress(): { done: number; pages: number };
  /** `done` rejects soon after. */
  stop(): void;
}

interface KeyBounds {
  readonly from: Uint8Array;
  readonly to: Uint8Array;
}

export class Store {
  readonly floor: FloorStore;
  readonly #handle: Handle;
  readonly #descriptorsByHash = new Map<string, Uint8Array>();
  #lastShape = 0;

  /** Loads the extension into the connection. */
  constructor(db: SqliteDatabase) {
    loadInto(db);
    const row = db.prepare("SELECT mergelite_handle() AS handle").get() as { handle: number };
    this.#handle = row.handle;
    this.floor = new FloorStore(row.handle);
  }

  open(marks: { fileMark: string; bootMark: string }, bell: () => void): { renewed: boolean } {
    return call(() => native.open(this.#handle, marks.fileMark, marks.bootMark, bell));
  }

  close(): void {
    call(() => native.close(this.#handle));
  }

  replicate(tables: readonly string[]): void {
    call(() => native.replicateAll(this.#handle, tables));
  }

  /** `true`: of all tables, those that come later included. */
  keepOldValues(tables: true | readonly string[]): void {
    const names = tables === true ? [] : tables;
    call(() => native.keepOldValues(this.#handle, names, tables === true ? 1 : 0));
  }

  takeCompanions(): void {
    call(() => native.takeCompanions(this.#handle));
  }

  /** Runs `work` as a step of a migration: in a transaction, with companions as ordinary tables. */
  step(renames: readonly string[], work: () => void): void {
    call(() => native.beginStep(this.#handle, renames));
    try {
      work();
    } catch (error) {
      call(() => native.abandonStep(this.#handle));
      throw error;
    }
    call(() => native.commitStep(this.#handle));
  }

  detach(): void {
    call(() => native.detach(this.#handle));
  }

  reissue(after: number): number {
    return call(() => native.reissue(this.#handle, after));
  }

  fingerprintAt(origin: number, sequence: number): number {
    return call(() => native.fingerprintAt(this.#handle, origin, sequence));
  }

  tables(): string[] {
    return call(() => native.tables(this.#handle));
  }

  setDriftMax(driftMaxMs: number): void {
    call(() => native.setDriftMax(this.#handle, driftMaxMs));
  }

  /** This peer first. */
  marks(): OriginMarks[] {
    const flat = call(() => native.vector(this.#handle));
    const marks: OriginMarks[] = [];
    for (let i = 0; i + 2 < flat.length; i += 3) {
      marks.push({ peerId: flat[i] ?? 0, held: flat[i + 1] ?? 0, merged: flat[i + 2] ?? 0 });
    }
    return marks;
  }

  readLog(range: { origin: number; first: number; last: number; bytesMax: number }): Uint8Array {
    const { origin, first, last, bytesMax } = range;
    return call(() => native.readLog(this.#handle, origin, first, last, bytesMax));
  }

  merge(records: Uint8Array, offset: number, budgetMs: number): MergeResult {
    return call(() => native.merge(this.#handle, records, offset, budgetMs));
  }

  maintain(budgetMs: number): MergeResult {
    return call(() => native.maintain(this.#handle, budgetMs));
  }

  /** 0 for a changeset that the log does not have. */
  timestampAt(origin: number, sequence: number): number {
    return call(() => native.timestampAt(this.#handle, origin, sequence));
  }

  /** Copies the database as it is now into `target`, on another thread. */
  copyInto(target: string, { check }: { check: boolean }): FileCopy {
    const [job, done] = call(() => native.snapshot(this.#handle, target, check ? 1 : 0));
    return {
      done: told(done.then(() => undefined)),
      progress: () => native.jobProgress(job),
      stop: () => native.stopJob(job),
    };
  }

  /** What the file holds of what: read on another thread. */
  measure(): Promise<FileReading[]> {
    return told(call(() => native.measure(this.#handle))[1]);
  }

  /** Up to where the log is trimmed, of each origin that it is trimmed of. */
  horizon(): VersionVector {
    return pairs(call(() => native.horizon(this.#handle)));
  }

  trim(plan: TrimPlan, budgetMs: number): TrimResult {
    const { timestamp, acknowledged, heldByAll, alone } = plan;
    return call(() =>
      native.trim(
        this.#handle,
        timestamp,
        flat(acknowledged),
        flat(heldByAll),
        alone ? 1 : 0,
        budgetMs,
      ),
    );
  }

  /** `false`: the database is busy. */
  notePeer({ peerId, vector, heardMs }: Omit<KnownPeer, "forgotten">): boolean {
    return call(() => native.notePeer(this.#handle, peerId, flat(vector), heardMs));
  }

  /** @throws PEER_UNKNOWN, IN_TRANSACTION */
  forgetPeer(peerId: number): void {
    if (call(() => native.forgetPeer(this.#handle, peerId))) return;
    throw new ReplicaError("IN_TRANSACTION", "a peer is forgotten outside a transaction", {
      hint: "Commit or roll back first; another connection may be writing, too.",
    });
  }

  /** The peers this file has linked with. */
  peers(): KnownPeer[] {
    const peers = call(() => native.peers(this.#handle));
    return peers.map((peer) => ({ ...peer, vector: pairs(peer.vector) }));
  }

  /** Begins a transfer of state into this file, or goes on with one. */
  startState({ restart }: { restart: boolean }): {
    busy: boolean;
    cursor: Uint8Array;
    vector: VersionVector;
    rows: number;
  } {
    const started = call(() => native.startState(this.#handle, restart ? 1 : 0));
    return { ...started, vector: pairs(started.vector) };
  }

  /** About how many bytes a transfer of everything takes: those of the file that are in use. */
  stateBytes(): number {
    return call(() => native.stateBytes(this.#handle));
  }

  readState(cursor: Uint8Array, bytesMax: number, budgetMs: number): StateChunk {
    return call(() => native.readState(this.#handle, cursor, bytesMax, budgetMs));
  }

  mergeState(
    { chunk, next }: { chunk: Uint8Array; next: Uint8Array },
    { offset, again }: { offset: number; again: boolean },
    budgetMs: number,
  ): StateMergeResult {
    return call(() =>
      native.mergeState(this.#handle, chunk, next, offset, again ? 1 : 0, budgetMs),
    );
  }

  /**
   * Hashes of the shapes that this store did not know at the last call. Cheap, unless the file has
   * to be looked into for shapes another process has stored.
   */
  newShapes({ look = false }: { look?: boolean } = {}): string[] {
    const { last, descriptors } = call(() =>
      native.shapes(this.#handle, this.#lastShape, look ? 1 : 0),
    );
    this.#lastShape = last;
    return descriptors.map((descriptor) => {
      const hash = native.shapeHash(descriptor);
      this.#descriptorsByHash.set(hash, descriptor);
      return hash;
    });
  }

  shapeHashes(): string[] {
    return [...this.#descriptorsByHash.keys()];
  }

  descriptors(hashes: readonly string[]): Uint8Array[] {
    if (hashes.some((hash) => !this.#descriptorsByHash.has(hash))) this.newShapes({ look: true });
    return hashes.flatMap((hash) => this.#descriptorsByHash.get(hash) ?? []);
  }

  learnShapes(descriptors: readonly Uint8Array[]): void {
    call(() => native.learnShapes(this.#handle, [...descriptors]));
  }

  inTransaction(): boolean {
    return call(() => native.inTransaction(this.#handle));
  }

  schemaTouched(): boolean {
    return call(() => native.schemaTouched(this.#handle));
  }

  status(): ReturnType<typeof native.status> {
    return call(() => native.status(this.#handle));
  }

  counters(): ReturnType<typeof native.counters> {
    return call(() => native.counters(this.#handle));
  }

  conflicts(query: {
    after?: number;
    limit?: number;
    table?: string;
    reason?: string;
    id?: number;
  }): NativeConflict[] {
    const { after = 0, limit = 1, table = "", reason = "", id = 0 } = query;
    return call(() => native.conflicts(this.#handle, after, limit, table, reason, id));
  }

  refused(
    after: { origin: number; sequence: number },
    limit: number,
  ): ReturnType<typeof native.refused> {
    return call(() => native.refused(this.#handle, after.origin, after.sequence, limit));
  }

  waiting(): ReturnType<typeof native.waiting> {
    return call(() => native.waiting(this.#handle));
  }

  orphans(
    table: string,
    afterKey: Uint8Array,
    { budgetMs, limit }: { budgetMs: number; limit: number },
  ): OrphanPage {
    return call(() => native.orphans(this.#handle, table, afterKey, budgetMs, limit));
  }

  retry(id: number): MergeResult {
    return call(() => native.retry(this.#handle, id));
  }

  discard(id: number): MergeResult {
    return call(() => native.discard(this.#handle, id));
  }

  discardRefused(origin: number, sequence: number): void {
    call(() => native.discardRefused(this.#handle, origin, sequence));
  }

  deleteRow(table: string, encodedKey: Uint8Array): void {
    call(() => native.deleteRow(this.#handle, table, encodedKey));
  }

  ranges(
    table: string,
    { from, to }: KeyBounds,
    parts: number,
    budgetMs: number,
  ): ReturnType<typeof native.ranges> {
    return call(() => native.ranges(this.#handle, table, from, to, parts, budgetMs));
  }

  rangeRows(
    table: string,
    { from, to, after }: KeyBounds & { after: boolean },
    limit: number,
    budgetMs: number,
  ): ReturnType<typeof native.rangeRows> {
    const exclusive = after ? 1 : 0;
    return call(() => native.rangeRows(this.#handle, table, from, to, exclusive, limit, budgetMs));
  }

  doubtRanges(table: string): boolean {
    return call(() => native.doubtRanges(this.#handle, table));
  }

  keyText(key: Uint8Array): string {
    return call(() => native.keyText(key));
  }

  readRows(
    table: string,
    keys: Uint8Array,
    bytesMax: number,
    budgetMs: number,
  ): ReturnType<typeof native.readRows> {
    return call(() => native.readRows(this.#handle, table, keys, bytesMax, budgetMs));
  }

  repairRows(
    table: string,
    keys: Uint8Array,
    chunk: Uint8Array,
    budgetMs: number,
  ): ReturnType<typeof native.repairRows> {
    return call(() => native.repairRows(this.#handle, table, keys, chunk, budgetMs));
  }
}

/** What peers are told: the sequences held. */
export function heldOf(marks: readonly OriginMarks[]): VersionVector {
  return new Map(marks.filter((mark) => mark.held > 0).map((mark) => [mark.peerId, mark.held]));
}

/** What shows in the tables. */
export function mergedOf(marks: readonly OriginMarks[]): VersionVector {
  return new Map(marks.filter(({ merged }) => merged > 0).map((one) => [one.peerId, one.merged]));
}

/** Whether any origin has more than was told. */
export function grew(marks: readonly OriginMarks[], told: VersionVector): boolean {
  return marks.some(({ peerId, held }) => held > (told.get(peerId) ?? 0));
}
