/**
 * `verify`: two peers compare digests of key ranges. Ranges that differ are cut into sixteen, down
 * to about a thousand rows, whose keys and hashes are then compared one by one: the number of
 * messages grows with the logarithm of the table, and rows in equal ranges are not looked at.
 */
import type { Clock } from "../clock.ts";
import { ReplicaError } from "../errors.ts";
import type {
  HashedRow,
  KeyRange,
  RangeDigest,
  Rows,
  VerifyAnswer,
  VerifyRequest,
} from "./protocol-verify.ts";
import { verifyLimits } from "./protocol-verify.ts";

/** What verify needs of the store. */
export interface Rangeable {
  ranges(
    table: string,
    range: KeyRange,
    parts: number,
    budgetMs: number,
  ): Pending & { order: bigint; parts: RangeDigest[] };
  rangeRows(
    table: string,
    range: KeyRange & { after: boolean },
    limit: number,
    budgetMs: number,
  ): Pending & { rows: HashedRow[]; lastKey: Uint8Array; done: boolean };
  doubtRanges(table: string): boolean;
}

interface Pending {
  /** Another connection holds the write lock, or the user is inside a transaction. */
  readonly busy: boolean;
  /** Row clocks and digests had to be brought up to date first: call again. */
  readonly more: boolean;
}

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
  readonly differences: number;
}

/** Options of `Replica.verify`. */
export interface VerifyCall {
  readonly signal?: AbortSignal;
  /** How many differences are listed. @default 100 */
  readonly limit?: number;
  /** Read every row again, also where nothing was written since the last time. @default false */
  readonly deep?: boolean;
}

/** Sends a request and resolves with its answer. */
export type Ask = (message: VerifyRequest) => Promise<VerifyAnswer>;

export interface VerifyOptions {
  readonly ask: Ask;
  /** How many differences are listed. */
  readonly limit: number;
  /** Read every row again, also where nothing was written since the last time. */
  readonly deep: boolean;
  readonly clock: Clock;
  readonly signal?: AbortSignal | undefined;
}

const parts = 16;
const sliceMs = 4;
const busyRetryMs = 5;
/** What is still on its way is there by then, or has changed. */
const secondLookMs = 200;
const whole: KeyRange = { from: new Uint8Array(0), to: new Uint8Array(0) };

/** Answers another peer's request; undefined for what is none. */
export async function answerVerify(
  store: Rangeable,
  request: VerifyRequest,
  clock: Clock,
): Promise<VerifyAnswer> {
  const { requestId, table } = request;
  const own = new OwnTable(store, table, { clock });
  if (request.kind === "rowsRequest") {
    return { kind: "rows", requestId, ...(await own.rows(request)) };
  }
  const ranges: { equal: boolean; rows: number }[] = [];
  for (const { from, to, rows, digest } of request.ranges) {
    let here: { order: bigint; parts: RangeDigest[] };
    try {
      here = await own.ranges({ from, to }, 1);
    } catch (error) {
      if (!(error instanceof ReplicaError) || error.code !== "TABLE_NOT_REPLICATED") throw error;
      return { kind: "ranges", requestId, outcome: "unknown", ranges: [] };
    }
    if (here.order !== request.order) {
      return { kind: "ranges", requestId, outcome: "unordered", ranges: [] };
    }
    const [one] = here.parts;
    ranges.push({ equal: one?.digest === digest && one.rows === rows, rows: one?.rows ?? 0 });
  }
  return { kind: "ranges", requestId, outcome: "compared", ranges };
}

/** Compares tables with a peer's. Stops listing, not comparing tables, at `limit` differences. */
export async function verifyTables(
  store: Rangeable,
  tables: readonly string[],
  options: VerifyOptions,
): Promise<Verification> {
  const verified: TableVerification[] = [];
  let differences = 0;
  for (const table of tables) {
    const own = new OwnTable(store, table, options);
    if (options.deep) await own.doubt();
    const one = await verifyTable(own, { ...options, limit: options.limit - differences });
    differences += one.differences.length;
    verified.push(one);
  }
  return { tables: verified, differences };
}

async function verifyTable(own: OwnTable, options: VerifyOptions): Promise<TableVerification> {
  const { table } = own;
  const first = await own.ranges(whole, parts);
  const rows = first.parts.reduce((sum, part) => sum + part.rows, 0);
  let remoteRows = 0;
  const differences: Difference[] = [];
  let compared = await compareRanges(own, first, options);
  if (compared.outcome !== "compared") {
    const key = compared.outcome === "unknown" ? "(the whole table)" : "(the order of its keys)";
    const kind = compared.outcome === "unknown" ? "missing there" : "differs";
    return { table, rows, remoteRows, differences: [{ table, key, kind }] };
  }
  remoteRows = compared.remoteRows;
  while (compared.differing.length > 0 && differences.length < options.limit) {
    const next: RangeDigest[] = [];
    for (const range of compared.differing) {
      if (differences.length >= options.limit) break;
      const { parts: cut } = await own.ranges(range, parts);
      if (cut.length > 1) next.push(...cut);
      else differences.push(...(await compareRows(own, range, options)));
    }
    compared = await compareRanges(own, { order: first.order, parts: next }, options);
  }
  return { table, rows, remoteRows, differences: differences.slice(0, Math.max(options.limit, 0)) };
}

async function compareRanges(
  own: OwnTable,
  { order, parts: ranges }: { order: bigint; parts: readonly RangeDigest[] },
  { ask }: VerifyOptions,
): Promise<{ outcome: string; differing: RangeDigest[]; remoteRows: number }> {
  const differing: RangeDigest[] = [];
  let remoteRows = 0;
  for (let at = 0; at < ranges.length; at += verifyLimits.ranges) {
    const some = ranges.slice(at, at + verifyLimits.ranges);
    const { table } = own;
    const answer = await ask({ kind: "rangesRequest", requestId: 0, table, order, ranges: some });
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
async function compareRows(
  own: OwnTable,
  range: KeyRange,
  options: VerifyOptions,
): Promise<Difference[]> {
  const first = await lookAtRows(own, range, options);
  if (first.size === 0) return [];
  await options.clock.sleep(secondLookMs, { signal: options.signal });
  const second = await lookAtRows(own, range, options);
  const { table } = own;
  return [...second]
    .filter(([key, seen]) => {
      const before = first.get(key);
      return before?.here === seen.here && before?.there === seen.there;
    })
    .map(([key, { here, there }]) => {
      if (here === undefined) return { table, key, kind: "missing here" };
      return { table, key, kind: there === undefined ? "missing there" : "differs" };
    });
}

interface Seen {
  here: bigint | undefined;
  there: bigint | undefined;
}

/** Rows of a range that are not the same on both sides. */
async function lookAtRows(
  own: OwnTable,
  range: KeyRange,
  { ask }: VerifyOptions,
): Promise<Map<string, Seen>> {
  const seenByKey = new Map<string, Seen>();
  await forEachPage(
    (page) => own.rows({ ...range, ...page }),
    ({ key, hash }) => seenByKey.set(key, { here: hash, there: undefined }),
  );
  const askRows = async (page: { from?: Uint8Array; after: boolean }): Promise<Page> => {
    const { table } = own;
    const answer = await ask({ kind: "rowsRequest", requestId: 0, table, ...range, ...page });
    if (answer.kind !== "rows") throw unexpected();
    return answer;
  };
  await forEachPage(askRows, ({ key, hash }) => {
    const seen = seenByKey.get(key);
    if (seen?.here === hash) seenByKey.delete(key);
    else seenByKey.set(key, { here: seen?.here, there: hash });
  });
  return seenByKey;
}

type Page = Pick<Rows, "rows" | "lastKey" | "done">;

async function forEachPage(
  read: (page: { from?: Uint8Array; after: boolean }) => Promise<Page>,
  visit: (row: HashedRow) => void,
): Promise<void> {
  let page = await read({ after: false });
  for (;;) {
    page.rows.forEach(visit);
    if (page.done || page.rows.length === 0) return;
    page = await read({ from: page.lastKey, after: true });
  }
}

/** A table of this side, read in slices: what has to be brought up to date first takes turns. */
class OwnTable {
  readonly table: string;
  readonly #store: Rangeable;
  readonly #clock: Clock;
  readonly #signal: AbortSignal | undefined;

  constructor(
    store: Rangeable,
    table: string,
    { clock, signal }: { clock: Clock; signal?: AbortSignal | undefined },
  ) {
    this.#store = store;
    this.table = table;
    this.#clock = clock;
    this.#signal = signal;
  }

  ranges(range: KeyRange, count: number): Promise<{ order: bigint; parts: RangeDigest[] }> {
    return this.#ready(() => this.#store.ranges(this.table, range, count, sliceMs));
  }

  async rows(range: KeyRange & { after: boolean }): Promise<Page> {
    const limit = verifyLimits.rows;
    const page = await this.#ready(() => this.#store.rangeRows(this.table, range, limit, sliceMs));
    const { lastKey, done } = page;
    const rows = page.rows.map(({ key, hash }) => ({ key: shorten(key, hash), hash }));
    return { rows, lastKey, done };
  }

  async doubt(): Promise<void> {
    await this.#ready(() => ({ busy: this.#store.doubtRanges(this.table), more: false }));
  }

  async #ready<Answer extends Pending>(look: () => Answer): Promise<Answer> {
    for (;;) {
      this.#signal?.throwIfAborted();
      const answer = look();
      if (!answer.busy && !answer.more) {
        await nextTurn();
        return answer;
      }
      if (answer.busy) await this.#clock.sleep(busyRetryMs, { signal: this.#signal });
      else await nextTurn();
    }
  }
}

/** Long keys are told by their beginning and the row's hash: enough to look for them. */
function shorten(key: string, hash: bigint): string {
  return key.length <= 1024 ? key : `${key.slice(0, 1024)}… (${hash.toString(16)})`;
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function unexpected(): ReplicaError {
  return new ReplicaError("PROTOCOL_MALFORMED", "an answer does not fit what was asked", {
    hint: "The peer is damaged, or speaks another protocol.",
  });
}
