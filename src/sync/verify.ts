/**
 * `verify`: two peers compare digests of key ranges. Ranges that differ are cut into sixteen, down
 * to about a thousand rows, whose keys and hashes are then compared one by one: the number of
 * messages grows with the logarithm of the table, and rows in equal ranges are not looked at.
 */
import type { Clock } from "../clock.ts";
import { ReplicaError } from "../errors.ts";
import { OwnTable, type Page, type Rangeable } from "./own-table.ts";
import type {
  HashedRow,
  KeyRange,
  RangeDigest,
  VerifyAnswer,
  VerifyRequest,
} from "./protocol-verify.ts";
import { verifyLimits } from "./protocol-verify.ts";
import { type RepairCounts, type RepairOptions, repairRows } from "./repair.ts";

export interface Difference {
  readonly table: string;
  /** The row's key as SQL literals. */
  readonly key: string;
  readonly kind: "differs" | "missing here" | "missing there";
}

export interface TableVerification {
  readonly table: string;
  readonly rows: number;
  readonly remoteRows: number;
  readonly differences: Difference[];
}

export interface Verification {
  readonly tables: TableVerification[];
  /** Those listed; with `repair` all that were found. */
  readonly differences: number;
  /** With `repair`. */
  readonly repair?: RepairCounts;
}

/** Sends a request and resolves with its answer. */
export type Ask = (message: VerifyRequest) => Promise<VerifyAnswer>;

export interface VerifyOptions {
  readonly ask: Ask;
  /** How many differences are listed. */
  readonly limit: number;
  /** Read every row again on both sides, also where nothing was written since the last time. */
  readonly deep: boolean;
  readonly repair?: Omit<RepairOptions, "ask" | "counts"> | undefined;
  readonly clock: Clock;
  readonly signal?: AbortSignal | undefined;
  /** Between two slices of work on this side. @default 0 */
  readonly restMs?: number | undefined;
  /** Tables that the peer does not replicate, or sorts otherwise, are no difference. */
  readonly commonOnly?: boolean | undefined;
}

const parts = 16;
const nothingFound = { differences: [], found: 0 };
/** What is still on its way is there by then, or has changed. */
const secondLookMs = 200;
/** What was repaired by a new write of the peer comes as a changeset. */
const looksAfterRepair = 10;
/** So many ranges share the wait between two looks. */
const rangesAtOnce = 16;
const whole: KeyRange = { from: new Uint8Array(0), to: new Uint8Array(0) };

/** Compares tables with a peer's. Stops listing, not comparing tables, at `limit` differences. */
export async function verifyTables(
  store: Rangeable,
  tables: readonly string[],
  options: VerifyOptions,
): Promise<Verification> {
  const verified: TableVerification[] = [];
  const counts: RepairCounts = { sent: 0, taken: 0, rewritten: 0, left: 0 };
  const repair = options.repair && { ...options.repair, ask: options.ask, counts };
  let differences = 0;
  let listed = 0;
  for (const table of tables) {
    const own = new OwnTable(store, table, options);
    if (options.deep) await own.doubt();
    const limit = options.limit - listed;
    const { found, ...one } = await new TableCheck(own, { ...options, limit, repair }).run();
    differences += repair === undefined ? one.differences.length : found;
    listed += one.differences.length;
    verified.push(one);
  }
  return { tables: verified, differences, ...(repair === undefined ? {} : { repair: counts }) };
}

interface CheckOptions extends Omit<VerifyOptions, "repair"> {
  readonly repair: RepairOptions | undefined;
}

/** A row that is not the same on both sides. */
interface Seen {
  readonly key: Uint8Array;
  readonly here: bigint | undefined;
  readonly there: bigint | undefined;
}

/** By key, as text of its bytes. */
type Differing = Map<string, Seen>;

class TableCheck {
  readonly #own: OwnTable;
  readonly #options: CheckOptions;
  readonly #differences: Difference[] = [];
  #found = 0;

  constructor(own: OwnTable, options: CheckOptions) {
    this.#own = own;
    this.#options = options;
  }

  async run(): Promise<TableVerification & { found: number }> {
    const { table } = this.#own;
    const { deep } = this.#options;
    const first = await this.#own.ranges(whole, parts);
    const rows = first.parts.reduce((sum, part) => sum + part.rows, 0);
    let compared = await this.#compareRanges({ ...first, deep });
    const { remoteRows } = compared;
    if (compared.outcome !== "compared") {
      if (this.#options.commonOnly === true) return { table, rows, remoteRows, ...nothingFound };
      const key = compared.outcome === "unknown" ? "(the whole table)" : "(the order of its keys)";
      this.#add({ table, key, kind: compared.outcome === "unknown" ? "missing there" : "differs" });
      if (this.#options.repair !== undefined) this.#options.repair.counts.left += 1;
      return { table, rows, remoteRows, differences: this.#differences, found: this.#found };
    }
    while (compared.differing.length > 0 && !this.#enough) {
      const next: RangeDigest[] = [];
      const small: KeyRange[] = [];
      for (const range of compared.differing) {
        const { parts: cut } = await this.#own.ranges(range, parts);
        if (cut.length > 1) next.push(...cut);
        else small.push(range);
        if (small.length >= rangesAtOnce) await this.#compareRows(small.splice(0));
        if (this.#enough) break;
      }
      await this.#compareRows(small);
      if (this.#enough) break;
      compared = await this.#compareRanges({ order: first.order, parts: next, deep: false });
    }
    return { table, rows, remoteRows, differences: this.#differences, found: this.#found };
  }

  get #enough(): boolean {
    const { limit, repair } = this.#options;
    return repair === undefined && this.#differences.length >= limit;
  }

  #add(difference: Difference): void {
    this.#found++;
    if (this.#differences.length < this.#options.limit) this.#differences.push(difference);
  }

  async #compareRanges({
    order,
    parts: ranges,
    deep,
  }: {
    order: bigint;
    parts: readonly RangeDigest[];
    deep: boolean;
  }): Promise<{ outcome: string; differing: RangeDigest[]; remoteRows: number }> {
    const differing: RangeDigest[] = [];
    let remoteRows = 0;
    const { table } = this.#own;
    for (let at = 0; at < ranges.length; at += verifyLimits.ranges) {
      const some = ranges.slice(at, at + verifyLimits.ranges);
      const request = { kind: "rangesRequest", requestId: 0, table, order, ranges: some } as const;
      const answer = await this.#options.ask({ ...request, deep: deep && at === 0 });
      if (answer.kind !== "ranges") throw unexpected();
      if (answer.outcome !== "compared") return { outcome: answer.outcome, differing, remoteRows };
      if (answer.ranges.length !== some.length) throw unexpected();
      answer.ranges.forEach(({ equal, rows }, index) => {
        remoteRows += rows;
        const range = some[index];
        if (!equal && range !== undefined) differing.push(range);
      });
    }
    return { outcome: "compared", differing, remoteRows };
  }

  /**
   * A row differs when two looks, a moment apart, see the same difference: peers write and merge
   * while they are compared.
   */
  async #compareRows(ranges: readonly KeyRange[]): Promise<void> {
    const { clock, signal, repair } = this.#options;
    const first = await this.#look(ranges);
    if (first.size === 0) return;
    await clock.sleep(secondLookMs, { signal });
    const second = await this.#look(ranges);
    const same: Differing = new Map();
    for (const [key, seen] of second) {
      const before = first.get(key);
      if (before?.here === seen.here && before?.there === seen.there) same.set(key, seen);
    }
    for (const { key, here, there } of same.values()) {
      const text = this.#own.describe(key, here ?? there ?? 0n);
      const missing = there === undefined ? "missing there" : "differs";
      const kind = here === undefined ? "missing here" : missing;
      this.#add({ table: this.#own.table, key: text, kind });
    }
    if (repair !== undefined && same.size > 0) await this.#repair(ranges, same, repair);
  }

  async #repair(
    ranges: readonly KeyRange[],
    rows: Differing,
    options: RepairOptions,
  ): Promise<void> {
    const { clock, signal } = this.#options;
    const keys = [...rows.values()].map(({ key }) => key);
    await repairRows(this.#own, keys, options);
    let left = 0;
    for (let look = 0; look < looksAfterRepair; look++) {
      if (look > 0) await clock.sleep(secondLookMs, { signal });
      const differing = await this.#look(ranges);
      left = [...rows.keys()].filter((key) => differing.has(key)).length;
      if (left === 0) break;
    }
    options.counts.left += left;
  }

  /** Rows of these ranges that are not the same on both sides. */
  async #look(ranges: readonly KeyRange[]): Promise<Differing> {
    const all: Differing = new Map();
    for (const range of ranges) {
      for (const [key, seen] of await this.#lookAtRange(range)) all.set(key, seen);
    }
    return all;
  }

  async #lookAtRange(range: KeyRange): Promise<Differing> {
    const seenByKey: Differing = new Map();
    await forEachPage(
      (page) => this.#own.rows({ ...range, ...page }),
      ({ key, hash }) => seenByKey.set(textOf(key), { key, here: hash, there: undefined }),
    );
    const askRows = async (page: { from?: Uint8Array; after: boolean }): Promise<Page> => {
      const { table } = this.#own;
      const request = { kind: "rowsRequest", requestId: 0, table, ...range, ...page } as const;
      const answer = await this.#options.ask(request);
      if (answer.kind !== "rows") throw unexpected();
      return answer;
    };
    await forEachPage(askRows, ({ key, hash }) => {
      const text = textOf(key);
      const seen = seenByKey.get(text);
      if (seen?.here === hash) seenByKey.delete(text);
      else seenByKey.set(text, { key, here: seen?.here, there: hash });
    });
    return seenByKey;
  }
}

async function forEachPage(
  read: (page: { from?: Uint8Array; after: boolean }) => Promise<Page>,
  visit: (row: HashedRow) => void,
): Promise<void> {
  let page = await read({ after: false });
  for (;;) {
    page.rows.forEach(visit);
    const last = page.rows.at(-1);
    if (page.done || last === undefined) return;
    page = await read({ from: last.key, after: true });
  }
}

function textOf(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString("latin1");
}

function unexpected(): ReplicaError {
  return new ReplicaError("PROTOCOL_MALFORMED", "an answer does not fit what was asked", {
    hint: "The peer is damaged, or speaks another protocol.",
  });
}
