/**
 * Statement × conflict clause × state of the transaction, for a kind of table. Three databases run
 * them: one that captures, one that merges what the first has captured, and a plain one, which shows
 * that capture changes nothing of what SQLite does.
 */
import Database from "better-sqlite3";
import { native } from "../../src/native.ts";
import type { Kind } from "./kinds.ts";
import { dumpQuery, dumpWith, maintainAll, openRaw, pull, type RawReplica } from "./replica.ts";
import { Undo } from "./undo.ts";

const clauses = ["", "OR ABORT ", "OR FAIL ", "OR IGNORE ", "OR REPLACE ", "OR ROLLBACK "];

/** Each with what it stands for; `$` is the statement. */
const states: Readonly<Record<string, readonly string[]>> = {
  autocommit: ["$"],
  "in a transaction": ["BEGIN", "$", "$", "COMMIT"],
  "released savepoints": ["SAVEPOINT a", "SAVEPOINT b", "$", "RELEASE b", "RELEASE a"],
  "rolled back to a savepoint, and again": [
    "BEGIN",
    "SAVEPOINT a",
    "$",
    "SAVEPOINT b",
    "$",
    "ROLLBACK TO a",
    "$",
    "RELEASE a",
    "COMMIT",
  ],
  "undone by ROLLBACK TO": ["BEGIN", "SAVEPOINT a", "$", "ROLLBACK TO a", "COMMIT"],
  "rolled back": ["BEGIN", "$", "ROLLBACK"],
};

function columnsOf(kind: Kind): { u: string; v: string; w: string } {
  return kind.columns ?? { u: "u", v: "v", w: "w" };
}

function targetOf(kind: Kind): string {
  return kind.target ?? kind.tables[0] ?? "";
}

/** `(key…, u, v, w)` of row `n`, with a value of `u` and `v` of its own unless they are given. */
function row(kind: Kind, n: number, u = `'U${n}'`, v = `'v${n}'`, w = "9"): string {
  return `(${[...kind.key(n), u, v, w].join(", ")})`;
}

function where(kind: Kind, n: number): string {
  const { u } = columnsOf(kind);
  if (kind.keys.length === 0) return `${u} = 'U${n}'`;
  return kind.keys.map((name, i) => `${name} = ${kind.key(n)[i]}`).join(" AND ");
}

/** Brings the tables to rows 1 to 4, whatever was there. */
export function reset(kind: Kind): string {
  const { u, v, w } = columnsOf(kind);
  const names = [...kind.keys, u, v, w].join(", ");
  const rows = [1, 2, 3, 4].map((n) => row(kind, n, n === 4 ? "NULL" : undefined));
  const target = targetOf(kind);
  // Emptied twice: triggers put rows back.
  const tidy = `DELETE FROM ${target}; DELETE FROM ${target}`;
  const fill = kind.keys.length === 0 ? row(kind, 4) : rows.join(", ");
  return `${tidy}; INSERT OR REPLACE INTO ${target} (${names}) VALUES ${fill}; ${kind.extra ?? ""}`;
}

function inserts(kind: Kind): string[] {
  const { u, v, w } = columnsOf(kind);
  const names = [...kind.keys, u, v, w].join(", ");
  const into = `INTO ${targetOf(kind)} (${names}) VALUES`;
  const middles = [
    row(kind, 2, "'other'"),
    row(kind, 7, "'U1'"),
    row(kind, 7, "'u1  '", "'v7'", "9"),
    row(kind, 7, "'x'", "'bad'"),
    row(kind, 7, "'y'", "'v1'", "NULL"),
    row(kind, 5, "'U3'", "'v2'"),
  ];
  return middles.map((middle) => `INSERT $${into} ${row(kind, 6)}, ${middle}, ${row(kind, 8)}`);
}

function updates(kind: Kind): string[] {
  const { u, v, w } = columnsOf(kind);
  const target = targetOf(kind);
  const assigned = (n: number) => kind.keys.map((name, i) => `${name} = ${kind.key(n)[i]}`);
  const list = [
    `SET ${u} = 'U1'`,
    `SET ${u} = 'u' || (10 - rowid) WHERE ${u} IS NOT NULL`,
    `SET ${v} = CASE WHEN ${where(kind, 3)} THEN 'bad' ELSE 'good' END`,
    `SET ${w} = NULL, ${v} = 'null' WHERE ${where(kind, 2)}`,
    `SET ${v} = ${v}`,
  ];
  if (kind.keys.length > 0) {
    list.push(
      `SET ${assigned(3).join(", ")} WHERE ${where(kind, 1)}`,
      `SET ${assigned(9).join(", ")}, ${v} = 'moved' WHERE ${where(kind, 2)}`,
      `SET ${assigned(5).join(", ")}, ${u} = 'U3' WHERE ${where(kind, 1)}`,
      `SET ${assigned(2).join(", ")}`,
    );
  }
  const hasRowid = !/WITHOUT ROWID/.test(kind.schema) && kind.target !== "seen";
  return list
    .filter((sql) => hasRowid || !sql.includes("rowid"))
    .map((sql) => `UPDATE $${target} ${sql}`);
}

function others(kind: Kind): string[] {
  const { u, v, w } = columnsOf(kind);
  const target = targetOf(kind);
  const names = [...kind.keys, u, v, w].join(", ");
  const list = [
    `DELETE FROM ${target} WHERE ${where(kind, 2)}`,
    `DELETE FROM ${target}`,
    `UPDATE ${target} SET ${v} = s.n FROM (SELECT 'U1' AS x, 1.0 AS n UNION SELECT 'U3', -0.0) AS s WHERE s.x = ${u}`,
    ...(kind.statements ?? []),
  ];
  if (kind.noUpsert) return list;
  const into = `INSERT INTO ${target} (${names}) VALUES ${row(kind, 6)}, ${row(kind, 2, "'U3'")}, ${row(kind, 7, "'U1'")}`;
  list.push(
    `${into} ON CONFLICT DO NOTHING`,
    `${into} ON CONFLICT DO UPDATE SET ${v} = 'again', ${w} = ${w} + 1`,
    `${into} ON CONFLICT DO UPDATE SET ${u} = 'U3' WHERE ${v} <> 'v2'`,
    `INSERT OR REPLACE INTO ${target} (${names}) VALUES ${row(kind, 6, "'U1'")} RETURNING *`,
    `REPLACE INTO ${target} (${[...kind.keys, u].join(", ")}) VALUES (${[...kind.key(2), "'U3'"].join(", ")})`,
    `INSERT OR IGNORE INTO ${target} SELECT * FROM ${target}`,
  );
  if (kind.keys.length > 0) {
    list.push(
      `${into} ON CONFLICT (${kind.keys.join(", ")}) DO UPDATE SET ${u} = excluded.${u}, ${v} = NULL`,
      `${into} ON CONFLICT (${kind.keys.join(", ")}) DO UPDATE SET ${kind.keys.map((k) => `${k} = excluded.${k}`).join(", ")}`,
    );
  }
  return list;
}

/** Every statement with every conflict clause it may have. */
export function statementsFor(kind: Kind): string[] {
  const open = [...inserts(kind), ...updates(kind)];
  // A TEMP trigger fires before ours; failing under OR FAIL it leaves a row that nobody has captured.
  const allowed = kind.name.includes("temporary")
    ? clauses.filter((clause) => clause !== "OR FAIL ")
    : clauses;
  return [
    ...open.flatMap((sql) => allowed.map((clause) => sql.replace("$", clause))),
    ...others(kind),
  ];
}

/** The statement in each state of a transaction: what to run one after the other. */
export function statesFor(sql: string): [name: string, steps: string[]][] {
  return Object.entries(states).map(([name, steps]) => [
    name,
    steps.map((step) => (step === "$" ? sql : step)),
  ]);
}

/** Without what UNIQUE means to merging: here it is the log that is on trial. */
function withoutUnique(schema: string): string {
  return schema
    .replace(/CREATE UNIQUE INDEX[^;]*/g, "")
    .replace(/,\s*UNIQUE\s*\([^)]*\)| UNIQUE\b( ON CONFLICT \w+)?/g, "");
}

const filler = "CREATE TABLE filler (id INTEGER PRIMARY KEY, bytes)";
/** Statements that end a part of a transaction, at once or with one of the next patches. */
export const fillers = [1_048_576, 1_048_540, 1_048_450, 600_000].map(
  (bytes) => `REPLACE INTO filler VALUES (1, zeroblob(${bytes}))`,
);

export class Trio {
  readonly here: RawReplica;
  readonly there: RawReplica;
  readonly plain: Database.Database;
  readonly #reader: Database.Database | undefined;
  readonly #undo: Undo | undefined;
  readonly #changes: readonly Database.Statement[];
  readonly #dumps: readonly { table: string; queries: readonly Database.Statement[] }[];

  /**
   * `oldValues`: what a transaction replaced is kept, and has to give the rows of before.
   * `large`: there is a table to fill parts of transactions with, see `fillers`. `file`: where the
   * capturing one is to be, so that it can be refused a COMMIT; in memory otherwise.
   */
  constructor(
    kind: Kind,
    {
      oldValues = false,
      large = false,
      file,
    }: { oldValues?: boolean; large?: boolean; file?: string | undefined } = {},
  ) {
    const { pragma = "", late = "", tables } = kind;
    const schema = large ? `${filler};${kind.schema}` : kind.schema;
    const replicated = large ? ["filler", ...tables] : tables;
    this.here = openRaw(file ?? ":memory:", `${pragma};${schema}`, replicated);
    if (file !== undefined) {
      this.here.db.exec("PRAGMA journal_mode = DELETE; PRAGMA synchronous = OFF");
      this.here.db.pragma("busy_timeout = 0");
      this.#reader = new Database(file, { readonly: true });
    }
    this.there = openRaw(":memory:", `${pragma};${withoutUnique(schema)}`, replicated);
    this.plain = new Database(":memory:");
    this.plain.function("mergelite_merging", () => 0);
    this.plain.exec(`${pragma};${schema}`);
    const all = [this.here.db, this.there.db, this.plain];
    for (const db of all) db.exec(late);
    // In memory there is no WAL, whose commits make our triggers the youngest again.
    maintainAll(this.here);
    if (oldValues) {
      native.keepOldValues(this.here.handle, [], 1);
      this.#undo = new Undo(this.here, tables);
    }
    this.#changes = [this.here.db, this.plain].map((db) =>
      db.prepare("SELECT changes(), last_insert_rowid()").raw(),
    );
    this.#dumps = tables.map((table) => ({
      table,
      queries: all.map((db) => dumpQuery(db, table)),
    }));
  }

  close(): void {
    for (const db of [this.#reader, this.here.db, this.there.db, this.plain]) db?.close();
  }

  /**
   * COMMIT while another connection reads: it is refused where there is anything to write. Once it
   * was, SQLite lets nobody begin to read, and nothing is done here.
   */
  refuseCommit(): string | undefined {
    const reading = this.#reader?.prepare("SELECT * FROM sqlite_schema").iterate();
    try {
      reading?.next();
    } catch {
      return undefined;
    }
    const error = outcome(this.here.db, "COMMIT");
    reading?.return?.();
    if (error.startsWith("SQLITE_BUSY") && this.here.db.inTransaction) return undefined;
    return error === "" ? outcome(this.plain, "COMMIT") || undefined : error;
  }

  /** Runs SQL on the capturing and the plain database; returns where they differ, if they do. */
  step(sql: string): string | undefined {
    const [here, plain] = [this.here.db, this.plain].map((db, i) => {
      const done = outcome(db, sql);
      const counted = done !== "" || uncounted.test(sql) ? "" : String(this.#changes[i]?.get());
      return `${done}${counted} ${db.inTransaction}`;
    });
    return here === plain ? undefined : `${sql}\n  plain ${plain}\n  here  ${here}`;
  }

  /** Where the three differ once no transaction is open. */
  difference(): string | undefined {
    if (this.here.db.inTransaction) return undefined;
    pull(this.here, this.there);
    for (const { table, queries } of this.#dumps) {
      const [here, there, plain] = queries.map((query) => dumpWith(query).join("\n    "));
      if (here !== plain) return `${table}: plain\n    ${plain}\n  here\n    ${here}`;
      if (here !== there) return `${table}: here\n    ${here}\n  there\n    ${there}`;
    }
    const parked = this.there.db.prepare("SELECT reason, detail FROM _mergelite_parked").all();
    if (parked.length > 0) return `parked: ${JSON.stringify(parked)}`;
    const unknown = this.#undo?.unknown ?? 0;
    const difference = this.#undo?.difference();
    if (difference !== undefined) return difference;
    return this.#undo?.unknown === unknown || this.#undo === undefined ? undefined : "not all told";
  }
}

// After COMMIT, `changes()` counts what the flush has written: there is no way to put it back.
const uncounted = /^(BEGIN|SAVEPOINT|COMMIT|RELEASE|ROLLBACK|DELETE FROM \S+; DELETE)/;

/** The error of a statement, if any. Ends of transactions that a statement has ended are skipped. */
function outcome(db: Database.Database, sql: string): string {
  if (/^(COMMIT|RELEASE|ROLLBACK)/.test(sql) && !db.inTransaction) return "";
  try {
    db.exec(sql);
    return "";
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    return `${code} ${message}`;
  }
}
