/**
 * Rows whose foreign keys point nowhere. Merging cannot enforce foreign keys, so the tables that
 * have them are looked through afterwards: in slices, with pauses as long as to take a small share
 * of the time however large the tables are.
 */
import type { Clock } from "./clock.ts";
import { type Conflict, recordOf } from "./conflict.ts";
import type { Store } from "./log/store.ts";
import type { OrphanPage } from "./native.ts";

/** Counts of one look through all tables. */
export interface OrphanCounts {
  readonly counts: readonly { table: string; count: number }[];
  /** When the look ended, wall time in ms; 0 before the first. */
  readonly checkedAtMs: number;
}

export interface Orphan {
  readonly conflict: Conflict;
  readonly encodedKey: Uint8Array;
}

export interface OrphanEvents {
  onFound(orphan: Conflict): void;
  onResolved(orphan: Conflict): void;
}

/** Orphans of one table that are told one by one; beyond them they are counted. */
const foundMax = 256;
/** Slices are this long, and the pause after one is so many times as long as it took. */
const sliceMs = 3;
const pauseFactor = 4;
const delayMs = { min: 1000, max: 60_000 };

export class OrphanWatch {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #events: OrphanEvents;
  #known = new Map<string, Orphan>();
  #result: OrphanCounts = { counts: [], checkedAtMs: 0 };
  #lookMs = 0;
  #due = false;
  #running: Promise<OrphanCounts> | undefined;
  #cancel: (() => void) | undefined;
  #closed = false;

  constructor(store: Store, clock: Clock, events: OrphanEvents) {
    this.#store = store;
    this.#clock = clock;
    this.#events = events;
  }

  get result(): OrphanCounts {
    return this.#result;
  }

  /** Those of the last look, at most 256 a table. */
  get known(): Orphan[] {
    return [...this.#known.values()];
  }

  find(id: string): Orphan | undefined {
    return this.#known.get(id);
  }

  /** Rows have changed that foreign keys may be about: looks again before long. */
  note(): void {
    this.#due = true;
    if (this.#closed || this.#cancel !== undefined || this.#running !== undefined) return;
    const waitMs = Math.min(Math.max(this.#lookMs * pauseFactor, delayMs.min), delayMs.max);
    this.#cancel = this.#clock.setTimer(waitMs, () => {
      this.#cancel = undefined;
      this.look().catch(() => {
        // The database is closed or locked: whatever merges next asks for another look.
      });
    });
  }

  /** Looks through all tables, once more if one look is under way. */
  async look(): Promise<OrphanCounts> {
    while (this.#running !== undefined) await this.#running;
    this.#running = this.#look();
    try {
      return await this.#running;
    } finally {
      this.#running = undefined;
      if (this.#due) this.note();
    }
  }

  close(): void {
    this.#closed = true;
    this.#cancel?.();
    this.#cancel = undefined;
  }

  async #look(): Promise<OrphanCounts> {
    this.#due = false;
    const known = new Map<string, Orphan>();
    const counts: { table: string; count: number }[] = [];
    let spentMs = 0;
    for (const table of this.#store.tables()) {
      let count = 0;
      let found = 0;
      let afterKey = new Uint8Array();
      for (;;) {
        const startMs = this.#clock.now();
        const limit = foundMax - found;
        const page = this.#store.orphans(table, afterKey, { budgetMs: sliceMs, limit });
        count += page.count;
        found += page.found.length;
        for (const orphan of orphansOf(table, page)) known.set(orphan.conflict.id, orphan);
        const tookMs = Math.max(this.#clock.now() - startMs, 0);
        spentMs += tookMs;
        if (page.done || this.#closed) break;
        afterKey = new Uint8Array(page.lastKey);
        await new Promise<void>((resolve) => {
          this.#clock.setTimer(tookMs * pauseFactor, resolve);
        });
        if (this.#closed) return this.#result;
      }
      if (count > 0) counts.push({ table, count });
    }
    this.#lookMs = spentMs;
    this.#result = { counts, checkedAtMs: this.#clock.now() };
    this.#tell(known);
    return this.#result;
  }

  #tell(known: Map<string, Orphan>): void {
    const before = this.#known;
    this.#known = known;
    for (const [id, { conflict }] of before) {
      if (!known.has(id)) this.#events.onResolved(conflict);
    }
    for (const [id, { conflict }] of known) {
      if (!before.has(id)) this.#events.onFound(conflict);
    }
  }
}

function orphansOf(table: string, page: OrphanPage): Orphan[] {
  return page.found.map(({ encodedKey, detail, key, values }) => ({
    encodedKey,
    conflict: {
      id: `orphan ${table} ${Buffer.from(encodedKey).toString("hex")}`,
      table,
      reason: "foreign-key",
      detail,
      key: recordOf(key),
      values: recordOf(values),
      origin: 0,
      sequence: 0,
      timestamp: 0,
    },
  }));
}
