/** What could not be merged as it was written: telling of it, and settling it. */
import type { Clock } from "./clock.ts";
import {
  type Conflict,
  type ConflictReason,
  changesetConflict,
  conflictReasons,
  fromNative,
  reasonOf,
  recordOf,
  type Section,
  sections,
} from "./conflict.ts";
import { ReplicaError } from "./errors.ts";
import type { Store } from "./log/store.ts";
import type { ConflictChanges, MergeResult } from "./native.ts";
import { type OrphanCounts, OrphanWatch } from "./orphans.ts";
import type { ReplicaEvents } from "./replica-events.ts";

export interface ConflictQuery {
  readonly table?: string;
  readonly reason?: ConflictReason;
  /** @default 100, at most 10,000 */
  readonly limit?: number;
  /** The id of the last conflict of the page before. */
  readonly after?: string;
}

/** What the list needs of the replica. */
export interface ConflictHost {
  readonly clock: Clock;
  emit<Name extends "conflict" | "conflicts" | "resolved">(
    name: Name,
    event: ReplicaEvents[Name],
  ): void;
  /** Local changesets are to be looked at now. */
  maintain(): void;
}

const limitMax = 10_000;

export class Conflicts {
  readonly counts = Object.fromEntries(conflictReasons.map((reason) => [reason, 0])) as Record<
    ConflictReason,
    number
  >;
  readonly #store: Store;
  readonly #host: ConflictHost;
  readonly #orphans: OrphanWatch;
  #waiting = new Map<string, Conflict>();

  constructor(store: Store, host: ConflictHost) {
    this.#store = store;
    this.#host = host;
    this.#orphans = new OrphanWatch(store, host.clock, {
      onFound: (conflict) => this.#found(conflict),
      onResolved: ({ table, key, reason }) => host.emit("resolved", { table, key, reason }),
    });
  }

  get orphans(): OrphanCounts {
    return this.#orphans.result;
  }

  lookForOrphans(): Promise<OrphanCounts> {
    return this.#orphans.look();
  }

  close(): void {
    this.#orphans.close();
  }

  /** After a slice: tells what it has brought. */
  onSlice(result: MergeResult): void {
    for (const { origin, sequence, reason } of result.refused) {
      this.#found(
        changesetConflict({ origin, sequence, timestamp: 0, detail: reason }, "changeset"),
      );
    }
    this.onChanges(result);
  }

  /** The same after rows came by themselves. */
  onChanges(result: ConflictChanges & { patches: number }): void {
    for (const id of result.conflicts) {
      const [found] = this.#store.conflicts({ id });
      if (found !== undefined) this.#found(fromNative(found));
    }
    for (const { table, reason, key } of result.resolved) {
      this.#host.emit("resolved", { table, key: recordOf(key), reason: reasonOf(reason) });
    }
    if (result.untold > 0) this.#host.emit("conflicts", { changes: result.untold });
    if (result.resumeAtMs > 0 || this.#waiting.size > 0) this.#tellWaiting();
    if (result.patches > 0) this.#orphans.note();
  }

  /** After a commit here or of another process: it may have freed what a withheld row waits for. */
  onCommit(): void {
    if (this.#store.counters().held) this.#host.maintain();
    if (this.#orphans.result.counts.length > 0) this.#orphans.note();
  }

  list({ table = "", reason, limit = 100, after = "" }: ConflictQuery): Conflict[] {
    if (!Number.isInteger(limit) || limit < 1 || limit > limitMax) {
      throw new RangeError(`limit must be an integer from 1 to ${limitMax}`);
    }
    const [from, ...rest] = after.split(" ");
    const start = after === "" ? 0 : sections.indexOf(from as Section);
    if (start < 0) throw new RangeError(`no conflict has the id ${JSON.stringify(after)}`);
    const found: Conflict[] = [];
    for (const section of sections.slice(start)) {
      if (found.length >= limit) break;
      const cursor = section === from ? rest : [];
      const left = limit - found.length;
      found.push(...this.#section(section, { table, reason, cursor, limit: left }));
    }
    return found;
  }

  /** Whether it is resolved by now; other than parked ones are looked at in a while. */
  retry(conflict: Conflict | string): boolean {
    const id = idOf(conflict);
    const [section, first = ""] = id.split(" ");
    if (section === "orphan") this.#orphans.note();
    if (section !== "parked") {
      this.#host.maintain();
      return false;
    }
    this.#settle(this.#store.retry(Number(first)));
    return this.#store.conflicts({ id: Number(first) }).length === 0;
  }

  discard(conflict: Conflict | string): void {
    const id = idOf(conflict);
    const [section, first = "", second = ""] = id.split(" ");
    if (section === "parked") this.#settle(this.#store.discard(Number(first)));
    else if (section === "refused") this.#store.discardRefused(Number(first), Number(second));
    else if (section === "orphan") this.#discardOrphan(id);
    else {
      throw new ReplicaError(
        "CONFLICT_KEPT",
        "a changeset whose time has not come is merged then",
        {
          hint: "Set its origin's clock right.",
        },
      );
    }
    this.#host.maintain();
  }

  #discardOrphan(id: string): void {
    const orphan = this.#orphans.find(id);
    if (orphan === undefined) return;
    this.#store.deleteRow(orphan.conflict.table, orphan.encodedKey);
    this.#orphans.note();
  }

  #settle(result: MergeResult): void {
    if (result.busy) {
      throw new ReplicaError("IN_TRANSACTION", "the database is being written", {
        hint: "Commit first, or try again when the other connection has.",
      });
    }
    this.onSlice(result);
  }

  #tellWaiting(): void {
    const before = this.#waiting;
    this.#waiting = new Map(this.#waitingList().map((conflict) => [conflict.id, conflict]));
    for (const [id, { table, key, reason }] of before) {
      if (!this.#waiting.has(id)) this.#host.emit("resolved", { table, key, reason });
    }
    for (const [id, conflict] of this.#waiting) if (!before.has(id)) this.#found(conflict);
  }

  #found(conflict: Conflict): void {
    this.counts[conflict.reason] += 1;
    this.#host.emit("conflict", conflict);
  }

  #section(
    section: Section,
    query: { table: string; reason: ConflictReason | undefined; cursor: string[]; limit: number },
  ): Conflict[] {
    const { table, reason, cursor, limit } = query;
    if (section === "parked") {
      const after = Number(cursor[0] ?? 0);
      return this.#store
        .conflicts({ after, limit, table, ...(reason === undefined ? {} : { reason }) })
        .map(fromNative);
    }
    let found: Conflict[];
    if (section === "refused") {
      const [origin = 0, sequence = 0] = cursor.map(Number);
      found = this.#store
        .refused({ origin, sequence }, limit)
        .map((one) => changesetConflict({ ...one, detail: one.reason }, "changeset"));
    } else {
      found = section === "waiting" ? this.#waitingList() : this.#orphanList();
      const at = found.findIndex(({ id }) => id === [section, ...cursor].join(" "));
      if (cursor.length > 0) found = found.slice(at + 1);
    }
    return found
      .filter((one) => table === "" || one.table.toLowerCase() === table.toLowerCase())
      .filter((one) => reason === undefined || one.reason === reason)
      .slice(0, limit);
  }

  #waitingList(): Conflict[] {
    return this.#store.waiting().map((one) => {
      const detail = `${one.changesets} changesets wait for their time`;
      return changesetConflict({ ...one, detail }, "clock");
    });
  }

  #orphanList(): Conflict[] {
    return this.#orphans.known.map(({ conflict }) => conflict);
  }
}

function idOf(conflict: Conflict | string): string {
  return typeof conflict === "string" ? conflict : conflict.id;
}
