/** Live queries: run again when a table that they read was written, here or elsewhere. */
import { isDeepStrictEqual } from "node:util";
import { checkFunction, checkNames } from "../arguments.ts";
import type { Clock } from "../clock.ts";
import { ReplicaError } from "../errors.ts";
import type { SqliteDatabase } from "../log/store.ts";
import type { ReplicaCore } from "../replica-core.ts";
import { allRows, type Parameters, tablesRead } from "./tables-read.ts";
import { TouchedTables } from "./touched.ts";

/** One of the two: what the query gives now, or why it cannot be told. */
export type WatchResult<Row> =
  | { readonly rows: Row[]; readonly error?: undefined }
  | { readonly rows?: undefined; readonly error: Error };

export interface WatchOptions {
  /** The query runs no more often than this, in ms. @default 50 */
  readonly intervalMs?: number;
  /** Tells the rows also when they are as before. @default false */
  readonly always?: boolean;
}

type Statement = ReturnType<SqliteDatabase["prepare"]>;

interface Watched {
  readonly sql: string;
  readonly parameters: Parameters;
  readonly listener: (result: WatchResult<unknown>) => void;
  readonly options: Required<WatchOptions>;
}

export class Watches {
  readonly #db: SqliteDatabase;
  readonly #core: ReplicaCore;
  readonly #live = new Set<LiveQuery>();
  #touched: TouchedTables | undefined;

  constructor(db: SqliteDatabase, core: ReplicaCore) {
    this.#db = db;
    this.#core = core;
    core.changed.add((all) => this.#onChanged(all));
  }

  /** @throws INVALID_OPTION, TypeError, and what the driver throws */
  add(watched: Watched): () => void {
    checkFunction(watched.listener, "the listener of a live query");
    this.#touched ??= new TouchedTables(this.#db, this.#core.store, this.#core.refreshMarks());
    const query = new LiveQuery(this.#db, this.#core, watched);
    this.#live.add(query);
    return () => {
      query.stop();
      this.#live.delete(query);
    };
  }

  #onChanged(all: boolean): void {
    if (this.#live.size === 0) {
      this.#touched = undefined;
      return;
    }
    const touched = this.#touched?.look(this.#core.marks);
    for (const query of this.#live) query.onTouched(all ? undefined : touched);
  }
}

class LiveQuery {
  readonly #db: SqliteDatabase;
  readonly #core: ReplicaCore;
  readonly #clock: Clock;
  readonly #watched: Watched;
  readonly #states: Statement;
  readonly #temporary: Statement;
  #statement: Statement;
  /** In lower case; `undefined`: perhaps any. */
  #tables: ReadonlySet<string> | undefined;
  #state: State;
  #last: WatchResult<unknown> | undefined;
  #ranAtMs = Number.NEGATIVE_INFINITY;
  #cancel: (() => void) | undefined;
  #stopped = false;

  constructor(db: SqliteDatabase, core: ReplicaCore, watched: Watched) {
    this.#db = db;
    this.#core = core;
    this.#clock = core.options.clock;
    this.#watched = watched;
    this.#states = db.prepare(
      `SELECT (SELECT schema_version FROM pragma_schema_version) AS schema,
         (SELECT data_version FROM pragma_data_version) AS others, total_changes() AS own`,
    );
    // There is no function of this pragma that takes a schema.
    this.#temporary = db.prepare("PRAGMA temp.schema_version");
    this.#statement = db.prepare(watched.sql);
    this.#tables = tablesRead(db, watched.sql, watched.parameters);
    this.#state = this.#readState();
    this.#clock.nextTurn(() => this.#run());
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel?.();
    this.#cancel = undefined;
  }

  /** Tables were written; `undefined`: perhaps any. */
  onTouched(touched: ReadonlySet<string> | undefined): void {
    if (this.#stopped || this.#cancel !== undefined) return;
    if (this.#isConcerned(touched)) this.#schedule();
  }

  #isConcerned(touched: ReadonlySet<string> | undefined): boolean {
    const tables = this.#tables;
    if (touched === undefined) return true;
    if (tables !== undefined && [...tables].some((table) => touched.has(table))) return true;
    // What is not replicated is not in the log: any write may have been to it.
    const replicated = new Set(this.#core.store.tables().map((name) => name.toLowerCase()));
    const isInLog = tables !== undefined && [...tables].every((table) => replicated.has(table));
    const { schema, temporary, others, own } = this.#readState();
    if (schema !== this.#state.schema || temporary !== this.#state.temporary) return true;
    return !isInLog && (others !== this.#state.others || own !== this.#state.own);
  }

  #schedule(): void {
    const { intervalMs } = this.#watched.options;
    const passedMs = Math.max(this.#clock.now() - this.#ranAtMs, 0);
    this.#cancel = this.#clock.setTimer(Math.max(intervalMs - passedMs, 0), () => {
      this.#cancel = undefined;
      this.#run();
    });
  }

  #run(): void {
    if (this.#stopped || this.#core.closing) return;
    this.#ranAtMs = this.#clock.now();
    let result: WatchResult<unknown>;
    try {
      // What a transaction under way has written may yet be rolled back.
      if (this.#core.store.inTransaction()) {
        if (this.#cancel === undefined) this.#schedule();
        return;
      }
      const state = this.#readState();
      const { sql, parameters } = this.#watched;
      if (state.schema !== this.#state.schema || state.temporary !== this.#state.temporary) {
        this.#statement = this.#db.prepare(sql);
        this.#tables = tablesRead(this.#db, sql, parameters);
      }
      this.#state = state;
      result = { rows: allRows(this.#statement, parameters) };
    } catch (error) {
      result = { error: error instanceof Error ? error : new Error(String(error)) };
    }
    this.#tell(result);
  }

  #tell(result: WatchResult<unknown>): void {
    const { listener, options } = this.#watched;
    const isNew = options.always || !isDeepStrictEqual(result, this.#last);
    this.#last = result;
    if (!isNew) return;
    try {
      listener(result);
    } catch (error) {
      // As from a timer of the application's own.
      queueMicrotask(() => {
        throw error;
      });
    }
  }

  #readState(): State {
    const { schema, others, own } = this.#states.get() as Omit<State, "temporary">;
    const { schema_version: temporary } = this.#temporary.get() as { schema_version: number };
    return {
      schema: Number(schema),
      temporary: Number(temporary),
      others: Number(others),
      own: Number(own),
    };
  }
}

/** Counts that move with the schemas, with commits of other connections, and with own writes. */
interface State {
  readonly schema: number;
  readonly temporary: number;
  readonly others: number;
  readonly own: number;
}

/** @throws INVALID_OPTION */
export function readWatchOptions(options: WatchOptions): Required<WatchOptions> {
  checkNames(options, ["intervalMs", "always"]);
  const { intervalMs = 50, always = false } = options;
  const isInterval = typeof intervalMs === "number" && intervalMs >= 0 && intervalMs <= 3_600_000;
  const fault = !isInterval
    ? "intervalMs must be a number from 0 to 3600000"
    : typeof always !== "boolean"
      ? "always must be a boolean"
      : undefined;
  if (fault === undefined) return { intervalMs, always };
  throw new ReplicaError("INVALID_OPTION", fault, { hint: "See docs/changes.md." });
}
