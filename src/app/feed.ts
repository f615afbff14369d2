/**
 * The change feed: what was committed, here and elsewhere, changeset by changeset from the log.
 * Nothing is read ahead of who reads but a part of one origin's log; each origin's changesets come
 * in their order, and of several origins the smallest timestamp comes first.
 */
import type { Clock } from "../clock.ts";
import { ReplicaError } from "../errors.ts";
import { fingerprintOf, type LogLookup } from "../log/lookup.ts";
import { type Patch, PayloadReader, readShape, type Shape } from "../log/payload.ts";
import { type LogRecord, readRecords } from "../log/records.ts";
import type { OriginMarks, Store } from "../log/store.ts";
import { wallMsOf } from "../log/timestamp.ts";
import type { VersionVector } from "../log/vector.ts";
import type { ReplicaCore } from "../replica-core.ts";
import { formatToken } from "../token.ts";
import type { Changeset, ChangesOptions } from "./changes.ts";
import {
  formatCursor,
  type Own,
  type Position,
  parseCursor,
  Trail,
  type Within,
} from "./feed-cursor.ts";

/** What a feed needs of its replica. */
export interface FeedOwner {
  readonly store: Store;
  readonly lookup: LogLookup;
  readonly clock: Clock;
  readonly closing: boolean;
  /** What each origin has here, this peer first. */
  marks(): readonly OriginMarks[];
  /** Resolves when `isDone`, asked whenever something has come. */
  until(isDone: () => boolean, signal?: AbortSignal): Promise<void>;
  /** Has everyone who waits ask again. */
  wake(): void;
}

export function feedOwnerOf(core: ReplicaCore, lookup: LogLookup): FeedOwner {
  return {
    store: core.store,
    lookup,
    clock: core.options.clock,
    get closing() {
      return core.closing;
    },
    marks: () => core.marks,
    until: (isDone, signal) => core.waiters.until(isDone, signal),
    wake: () => core.waiters.check(),
  };
}

const readBytes = { min: 4 * 1024, max: 256 * 1024 };
/** The event loop is left alone for as long at most. */
const sliceMs = 3;
/** Patches decoded between two looks at the clock. */
const patchesMax = 64;

export class Feed {
  readonly #owner: FeedOwner;
  readonly #options: ChangesOptions;
  readonly #tables: ReadonlySet<string> | undefined;
  readonly #shapes = new Map<string, Shape>();
  readonly #vector: VersionVector;
  readonly #trail: Trail;
  #own: Own;
  #cursor: () => string;
  /** Origins that have more, with the timestamp of the next one. */
  readonly #heads = new Map<number, { timestamp: number; merged: number }>();
  /** Changesets of one origin that were read and not delivered. */
  #read: LogRecord[] = [];
  #readBytes = readBytes.min;
  #within: Within | undefined;
  #sliceStartMs: number;
  #stopped = false;
  /** Whether the file has what the cursor it began with says of this peer. */
  #checked = false;

  /** @throws INVALID_CURSOR */
  constructor(owner: FeedOwner, options: ChangesOptions) {
    this.#owner = owner;
    this.#options = options;
    this.#tables = options.tables && new Set(options.tables.map((name) => name.toLowerCase()));
    const start = this.#startOf(options.since);
    this.#own = start.own;
    // In an older copy of the file nothing may follow what the cursor has seen.
    const rest = owner.marks().find(({ peerId }) => peerId === start.within?.origin);
    if ((rest?.merged ?? 0) > (start.vector.get(rest?.peerId ?? 0) ?? 0)) {
      this.#within = start.within;
    }
    this.#vector = new Map(start.vector);
    this.#trail = new Trail(start);
    this.#cursor = () => formatCursor(start);
    this.#sliceStartMs = owner.clock.now();
  }

  /** Behind what was delivered last, or left out by `tables` after that. */
  get cursor(): string {
    return this.#cursor();
  }

  /** @throws CHANGES_TRIMMED, CHANGES_LOST, or `signal.reason` */
  async *run(): AsyncGenerator<Changeset, undefined, undefined> {
    const { signal } = this.#options;
    try {
      while (!this.#ends) {
        signal?.throwIfAborted();
        const entry = this.#next();
        if (entry === undefined) {
          await this.#owner.until(() => this.#hasMore(), signal);
          this.#sliceStartMs = this.#owner.clock.now();
          continue;
        }
        const changeset = await this.#changesetOf(entry);
        if (changeset !== undefined) yield changeset;
        await this.#pause();
      }
    } catch (error) {
      if (this.#owner.closing && error instanceof ReplicaError && error.code === "CLOSED") return;
      throw error;
    }
  }

  /** Ends a wait for more. */
  stop(): void {
    this.#stopped = true;
    this.#owner.wake();
  }

  get #ends(): boolean {
    return this.#stopped || this.#owner.closing;
  }

  #startOf(since: string | undefined): Position {
    const marks = this.#owner.marks();
    const { store } = this.#owner;
    if (since !== undefined && since !== "oldest") return parseCursor(since);
    const [self] = marks;
    const peerId = self?.peerId ?? 0;
    if (since === "oldest") {
      return { own: { peerId, fingerprint: 0 }, within: undefined, vector: store.horizon() };
    }
    const vector = new Map(marks.map((mark) => [mark.peerId, mark.merged]));
    const fingerprint = store.fingerprintAt(peerId, self?.held ?? 0);
    return { own: { peerId, fingerprint }, within: undefined, vector };
  }

  #hasMore(): boolean {
    if (this.#ends) return true;
    return this.#owner.marks().some(({ peerId, merged }) => merged > this.#seen(peerId));
  }

  #seen(origin: number): number {
    return this.#vector.get(origin) ?? 0;
  }

  /** The changeset to deliver next, if there is one. */
  #next(): LogRecord | undefined {
    this.#followIdentity();
    let origin = this.#within?.origin;
    if (origin === undefined) {
      if (this.#heads.size === 0) this.#lookForHeads();
      origin = this.#smallestHead();
    }
    if (origin === undefined) return undefined;
    if (this.#read[0]?.origin !== origin) {
      this.#read = [];
      this.#readBytes = readBytes.min;
    }
    if (this.#read.length === 0) this.#readOn(origin);
    return this.#read.shift();
  }

  #lookForHeads(): void {
    for (const { peerId, merged } of this.#owner.marks()) {
      if (merged > this.#seen(peerId)) this.#lookForHead(peerId, merged);
    }
  }

  #lookForHead(origin: number, merged: number): void {
    const timestamp = this.#owner.lookup.timestampAt(origin, this.#seen(origin) + 1);
    if (timestamp === undefined) throw this.#trimmed(origin);
    this.#heads.set(origin, { timestamp, merged });
  }

  #smallestHead(): number | undefined {
    let smallest: { origin: number; timestamp: number } | undefined;
    for (const [origin, { timestamp }] of this.#heads) {
      const before =
        smallest === undefined ||
        timestamp < smallest.timestamp ||
        (timestamp === smallest.timestamp && origin < smallest.origin);
      if (before) smallest = { origin, timestamp };
    }
    return smallest?.origin;
  }

  #readOn(origin: number): void {
    const first = this.#seen(origin) + 1;
    const last = this.#owner.marks().find((mark) => mark.peerId === origin)?.merged ?? 0;
    const { store } = this.#owner;
    const records = store.readLog({ origin, first, last, bytesMax: this.#readBytes });
    // Twice as much the next time, as long as this origin's turn lasts.
    this.#readBytes = Math.min(this.#readBytes * 2, readBytes.max);
    this.#read = readRecords(records);
    if (this.#read.length === 0) throw this.#trimmed(origin);
  }

  /** `undefined` when nothing of it is wanted. */
  async #changesetOf(entry: LogRecord): Promise<Changeset | undefined> {
    const { origin, sequence, timestamp } = entry;
    const reader = this.#isRefused(entry) ? undefined : this.#reader(entry.payload);
    const patches = reader === undefined ? [] : await this.#patchesOf(entry, reader);
    const continues = reader?.continues ?? false;
    const delivered = patches.length > 0 || this.#within?.delivered === true;
    this.#advance(entry, continues ? { origin, delivered } : undefined);
    const cursor = this.#cursor;
    if (!delivered) return undefined;
    return {
      origin,
      sequence,
      token: formatToken({ peerId: origin, sequence }),
      local: this.#owner.lookup.isOwn(origin),
      timestamp,
      wallMs: wallMsOf(timestamp),
      continues,
      patches,
      get cursor() {
        return cursor();
      },
    };
  }

  #isRefused({ origin, sequence }: LogRecord): boolean {
    return this.#owner.lookup.refusedIn(origin, { first: sequence, last: sequence }).size > 0;
  }

  #reader(payload: Uint8Array): PayloadReader {
    const { safeIntegers = false } = this.#options;
    return damage(
      () => new PayloadReader(payload, { shapeOf: (hash) => this.#shapeOf(hash), safeIntegers }),
    );
  }

  async #patchesOf(entry: LogRecord, reader: PayloadReader): Promise<Patch[]> {
    const tables = this.#tables;
    const isWanted = ({ table }: { table: string }) => tables?.has(table.toLowerCase()) ?? true;
    if (!reader.shapes.some(isWanted)) return [];
    const { lookup } = this.#owner;
    const { origin, sequence } = entry;
    const payload = lookup.isOwn(origin) ? lookup.oldIn(origin, sequence) : undefined;
    if (payload === undefined) {
      const patches: Patch[] = [];
      await this.#forEach(reader, (patch) => {
        if (isWanted(patch)) patches.push(patch);
      });
      return patches;
    }
    const rows = new Set<string>();
    const wanted: { row: string; patch: Patch }[] = [];
    await this.#forEach(reader, (patch) => {
      rows.add(reader.row);
      if (isWanted(patch)) wanted.push({ row: reader.row, patch });
    });
    const oldByRow = await this.#oldRowsOf(payload, rows);
    return wanted.map(({ row, patch }) => {
      const old = oldByRow.get(row);
      return old === undefined ? patch : { ...patch, old };
    });
  }

  /** What rows were before a changeset of this file, `null` where there was none. */
  async #oldRowsOf(
    payload: Uint8Array,
    rows: ReadonlySet<string>,
  ): Promise<Map<string, Patch["old"]>> {
    const oldByRow = new Map<string, Patch["old"]>();
    const reader = this.#reader(payload);
    let row = "";
    await this.#forEach(reader, ({ operation, values }) => {
      // One that no patch is about is what the patch before it replaced: its key was spelled
      // differently.
      if (rows.has(reader.row)) row = reader.row;
      oldByRow.set(row, operation === "insert" ? values : null);
    });
    return oldByRow;
  }

  async #forEach(reader: PayloadReader, visit: (patch: Patch) => void): Promise<void> {
    for (let count = 1; ; count++) {
      const patch = damage(() => reader.next());
      if (patch === undefined) return;
      visit(patch);
      if (count % patchesMax === 0) await this.#pause();
    }
  }

  #shapeOf(hash: string): Shape {
    const known = this.#shapes.get(hash);
    if (known !== undefined) return known;
    const [descriptor] = this.#owner.store.descriptors([hash]);
    if (descriptor === undefined) throw new RangeError(`no shape ${hash}`);
    const shape = readShape(descriptor);
    this.#shapes.set(hash, shape);
    return shape;
  }

  #advance({ origin, sequence, timestamp, payload }: LogRecord, within: Within | undefined): void {
    this.#vector.set(origin, sequence);
    this.#within = within;
    if (origin === this.#own.peerId) {
      this.#own = { peerId: origin, fingerprint: fingerprintOf(timestamp, payload) };
    }
    this.#cursor = this.#trail.add({ origin, sequence, own: this.#own, within });
    const head = this.#heads.get(origin);
    this.#heads.delete(origin);
    const following = this.#read[0];
    if (head === undefined || sequence >= head.merged) return;
    if (following === undefined) this.#lookForHead(origin, head.merged);
    else this.#heads.set(origin, { ...head, timestamp: following.timestamp });
  }

  /** Lets the event loop turn when this feed has kept it for long enough. */
  async #pause(): Promise<void> {
    const { clock } = this.#owner;
    const passedMs = clock.now() - this.#sliceStartMs;
    if (passedMs >= 0 && passedMs < sliceMs) return;
    await new Promise<void>((resolve) => clock.nextTurn(resolve));
    this.#sliceStartMs = clock.now();
    // What came meanwhile may be older than what is next.
    if (this.#within === undefined) this.#heads.clear();
  }

  /**
   * The file may have a new peer id, and what it had written last may stand under that. Others may
   * use the old numbers, so a reader that has seen them must be told where it is now.
   */
  #followIdentity(): void {
    const { peerId, fingerprint } = this.#own;
    const current = this.#owner.marks()[0]?.peerId ?? 0;
    if (current === peerId && this.#checked) return;
    this.#checked = true;
    const { store, lookup } = this.#owner;
    const seen = this.#seen(peerId);
    if (!lookup.isOwn(peerId)) throw lost();
    const isThere =
      fingerprint === 0 ||
      store.fingerprintAt(peerId, seen) === fingerprint ||
      (store.horizon().get(peerId) ?? 0) >= seen;
    if (isThere && current === peerId) return;
    this.#forgetRead();
    if (isThere) {
      this.#own = { peerId: current, fingerprint: 0 };
      return;
    }
    const own = lookup.ownPeers();
    const successor = own.includes(peerId) ? own[own.indexOf(peerId) + 1] : undefined;
    const moved = successor === undefined ? 0 : lookup.find(successor, fingerprint);
    if (successor === undefined || moved === 0 || moved > seen) throw lost();
    this.#vector.set(peerId, seen - moved);
    this.#vector.set(successor, moved);
    this.#own = { peerId: successor, fingerprint };
    this.#followIdentity();
  }

  #forgetRead(): void {
    this.#read = [];
    this.#heads.clear();
    this.#within = undefined;
  }

  #trimmed(origin: number): ReplicaError {
    const missing = formatToken({ peerId: origin, sequence: this.#seen(origin) + 1 });
    return new ReplicaError("CHANGES_TRIMMED", `the log does not have ${missing} any more`, {
      hint: "Read the tables anew, and go on from `replica.cursor()` taken in that transaction.",
    });
  }
}

function lost(): ReplicaError {
  return new ReplicaError("CHANGES_LOST", "what this cursor has seen is not in the file's log", {
    hint: "The file was restored or replaced. Read the tables anew, and take a new cursor.",
  });
}

/** What is in the log was merged or captured: it decodes, unless the file is damaged. */
function damage<Result>(work: () => Result): Result {
  try {
    return work();
  } catch (cause) {
    throw new ReplicaError("FILE_DAMAGED", "a changeset in the log does not decode", {
      cause,
      hint: "Run `PRAGMA integrity_check`; restore the file from a backup.",
    });
  }
}
