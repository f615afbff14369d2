/**
 * Writes that tell their token: conveniences over SQL, which captures them like any other write.
 */
import { kindOf } from "../arguments.ts";
import { ReplicaError } from "../errors.ts";
import type { SqliteDatabase } from "../log/store.ts";
import type { SqlValue } from "../native.ts";

/** Columns by name; `undefined` leaves a column out. */
export type Row = Readonly<Record<string, SqlValue | undefined>>;

export interface RowsOwner {
  /** Names of the replicated tables. */
  tables(): string[];
  inTransaction(): boolean;
  token(): string;
}

interface Upsert {
  readonly insert: Statement;
  /** Updates the row if it is there. */
  readonly change: Statement;
  /** Columns in the order of its parameters. */
  readonly changed: readonly string[];
  /** The key is all that was named: `change` only looks whether the row is there. */
  readonly finds: boolean;
}

type Statement = ReturnType<SqliteDatabase["prepare"]>;

/** Prepared upserts that are kept: one for each set of columns of a table. */
const upsertsMax = 64;

export class Rows {
  readonly #db: SqliteDatabase;
  readonly #owner: RowsOwner;
  readonly #upserts = new Map<string, Upsert>();
  /** Those that begin and end transactions. */
  readonly #statements = new Map<string, Statement>();
  #nextId: Statement | undefined;

  constructor(db: SqliteDatabase, owner: RowsOwner) {
    this.#db = db;
    this.#owner = owner;
  }

  /** An id as `mergelite_id()` makes them. */
  id(): number {
    this.#nextId ??= this.#db.prepare("SELECT mergelite_id() AS id");
    return Number((this.#nextId.get() as { id: number | bigint }).id);
  }

  /** @returns the token, or `undefined` inside a transaction */
  upsert(table: string, row: Row): string | undefined {
    const names = Object.keys(row).filter((name) => row[name] !== undefined);
    for (const name of names) checkValue(name, row[name]);
    const cacheKey = JSON.stringify([table, ...names]);
    const upsert =
      this.#upserts.get(cacheKey) ?? prepareUpsert(this.#db, this.#owner, table, names);
    this.#remember(cacheKey, upsert);
    const values = (order: readonly string[]) => order.map((name) => row[name] ?? null) as never[];
    // Two statements in one transaction, and not ON CONFLICT DO UPDATE: that looks first whether
    // the named columns alone could be inserted, so it cannot leave a NOT NULL column out.
    const write = () => {
      const { change, changed, insert, finds } = upsert;
      const parameters = values(changed);
      const isThere = finds
        ? change.get(...parameters) !== undefined
        : changesOf(change.run(...parameters)) > 0;
      if (!isThere) insert.run(...values(names));
    };
    if (!this.#owner.inTransaction()) return this.transaction(write);
    write();
    return undefined;
  }

  /** @returns the token, or `undefined` when a transaction was under way and goes on */
  transaction(fn: () => unknown): string | undefined {
    const nested = this.#owner.inTransaction();
    this.#run(nested ? "SAVEPOINT _mergelite_nested" : "BEGIN IMMEDIATE");
    try {
      if (isPromise(fn())) {
        throw new TypeError(
          "a transaction function must not return a promise: it would end before",
        );
      }
      this.#run(nested ? "RELEASE _mergelite_nested" : "COMMIT");
    } catch (error) {
      // SQLite itself has rolled back after some errors (a full disk, RAISE(ROLLBACK)).
      if (this.#owner.inTransaction()) {
        this.#run(nested ? "ROLLBACK TO _mergelite_nested" : "ROLLBACK");
        if (nested) this.#run("RELEASE _mergelite_nested");
      }
      throw error;
    }
    return nested ? undefined : this.#owner.token();
  }

  #run(sql: string): void {
    const statement = this.#statements.get(sql) ?? this.#db.prepare(sql);
    this.#statements.set(sql, statement);
    statement.run();
  }

  /** The one used longest ago goes. */
  #remember(cacheKey: string, upsert: Upsert): void {
    this.#upserts.delete(cacheKey);
    this.#upserts.set(cacheKey, upsert);
    const [oldest] = this.#upserts.keys();
    if (this.#upserts.size > upsertsMax && oldest !== undefined) this.#upserts.delete(oldest);
  }
}

/** @throws TABLE_NOT_REPLICATED, INVALID_ROW */
function prepareUpsert(
  db: SqliteDatabase,
  owner: RowsOwner,
  table: string,
  names: readonly string[],
): Upsert {
  if (!owner.tables().some((known) => sameName(known, table))) {
    throw new ReplicaError("TABLE_NOT_REPLICATED", `table ${quote(table)} is not replicated`, {
      hint: "Name it in `tables` of `attach`; for others, use SQL.",
    });
  }
  const keys = checkColumns(db, table, names);
  const isKey = (name: string) => keys.some((key) => sameName(key, name));
  const assigned = names.filter((name) => !isKey(name));
  const keyed = names.filter(isKey);
  const assign = (name: string) => `${quote(name)} = ?`;
  const set = assigned.map(assign).join(", ");
  const where = keyed.map(assign).join(" AND ");
  const name = quote(table);
  const change = set === "" ? `SELECT 1 FROM ${name}` : `UPDATE ${name} SET ${set}`;
  // Where a trigger ignores the update the row is there all the same.
  const insert = `INSERT INTO ${name} (${names.map(quote).join(", ")})
    VALUES (${names.map(() => "?").join(", ")})
    ON CONFLICT (${keys.map(quote).join(", ")}) DO NOTHING`;
  return {
    insert: db.prepare(insert),
    change: db.prepare(`${change} WHERE ${where}`),
    changed: [...assigned, ...keyed],
    finds: set === "",
  };
}

/** The key columns of the table. */
function checkColumns(db: SqliteDatabase, table: string, names: readonly string[]): string[] {
  const columns = db
    .prepare("SELECT name, pk, hidden FROM pragma_table_xinfo(?, 'main') ORDER BY pk")
    .all(table as never) as { name: string; pk: number; hidden: number }[];
  const stored = columns.filter(({ hidden }) => Number(hidden) === 0);
  const hint = `Its columns are ${stored.map(({ name }) => name).join(", ")}.`;
  const unknown = names.find((name) => !stored.some((column) => sameName(column.name, name)));
  if (unknown !== undefined) {
    const message = `table ${quote(table)} has no column ${quote(unknown)} that can be written`;
    throw new ReplicaError("INVALID_ROW", message, { hint });
  }
  const twice = names.find((name, i) => names.slice(0, i).some((one) => sameName(one, name)));
  if (twice !== undefined) {
    throw new ReplicaError("INVALID_ROW", `the row has ${quote(twice)} twice, in two spellings`);
  }
  const keys = stored.filter(({ pk }) => Number(pk) > 0).map(({ name }) => name);
  const missing = keys.find((key) => !names.some((name) => sameName(name, key)));
  if (missing !== undefined) {
    const message = `the row has no ${quote(missing)}, which is part of the key of ${quote(table)}`;
    throw new ReplicaError("INVALID_ROW", message, {
      hint: "`replica.id()` makes a key for a new row.",
    });
  }
  return keys;
}

/** Drivers say that they cannot bind it, and not which. @throws INVALID_ROW */
function checkValue(name: string, value: unknown): void {
  if (["number", "bigint", "string"].includes(typeof value) || value === null) return;
  if (ArrayBuffer.isView(value)) return;
  throw new ReplicaError("INVALID_ROW", `column ${quote(name)} cannot hold ${kindOf(value)}`, {
    hint: "Values are numbers, bigints, strings, Uint8Arrays and null: 0 and 1, say, or JSON.",
  });
}

/** As SQLite compares names. */
function sameName(left: string, right: string): boolean {
  const fold = (name: string) => name.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
  return fold(left) === fold(right);
}

function quote(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

function changesOf(result: unknown): number {
  return Number((result as { changes: number | bigint }).changes);
}

function isPromise(value: unknown): boolean {
  return typeof value === "object" && value !== null && "then" in value;
}
