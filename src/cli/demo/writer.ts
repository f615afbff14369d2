/** Writes random changes into any schema, as plain SQL, the way an application would. */
import type { Random } from "../../clock.ts";
import { type Database, quoteName } from "../database.ts";
import type { RowKey } from "./messages.ts";
import { between, pick } from "./random.ts";
import { type ColumnModel, type Reference, readTable, type TableModel } from "./schema.ts";
import { freshValue, inventedValue, type Row, type SqlValue, variedValue } from "./values.ts";

export interface WriteCounts {
  transactions: number;
  /** Rows inserted, updated and deleted. */
  changes: number;
  /** Statements that a constraint did not let pass. */
  refused: number;
}

export interface WriterOptions {
  readonly tables: readonly string[];
  readonly random: Random;
  /** The peer's: it marks the texts this writer changes. */
  readonly name: string;
  /** Rows that are left alone. */
  readonly reserved: readonly RowKey[];
}

/** Rows read of each end of a table. All peers read the same first ones, and so they collide. */
const sampleRows = { first: 150, last: 50 };
const hotRows = 25;
/** Transactions after which a table is read anew. */
const sampleLife = 40;

export class Writer {
  readonly counts: WriteCounts = { transactions: 0, changes: 0, refused: 0 };
  readonly #db: Database.Database;
  readonly #random: Random;
  readonly #name: string;
  readonly #reserved: readonly RowKey[];
  readonly #tables: TableModel[];
  readonly #samples = new Map<string, { rows: Row[]; readAt: number }>();
  readonly #statements = new Map<string, Database.Statement>();

  constructor(db: Database.Database, { tables, random, name, reserved }: WriterOptions) {
    this.#db = db;
    this.#random = random;
    this.#name = name;
    this.#reserved = reserved;
    this.#tables = tables.map((table) => readTable(db, table));
  }

  /** One transaction of one statement, or of a few. */
  write(): void {
    const statements = this.#random() < 0.75 ? 1 : between(this.#random, { min: 2, max: 4 });
    const before = this.counts.changes;
    this.#db.transaction(() => {
      for (let i = 0; i < statements; i++) this.#change();
    })();
    if (this.counts.changes > before) this.counts.transactions++;
  }

  #change(): void {
    const table = pick(this.#random, this.#tables);
    if (table === undefined) return;
    const rows = this.#sample(table);
    const dice = this.#random();
    try {
      if (rows.length === 0 || dice < 0.3) this.#insert(table, rows);
      else if (dice < 0.88) this.#update(table, rows);
      else this.#delete(table, rows);
    } catch (error) {
      const code = error instanceof Error && "code" in error ? String(error.code) : "";
      if (!code.startsWith("SQLITE_CONSTRAINT")) throw error;
      this.counts.refused++;
    }
  }

  #insert(table: TableModel, rows: readonly Row[]): void {
    const parents = this.#parentValues(table);
    if (parents === undefined) return;
    const template = pick(this.#random, rows);
    const names: string[] = [];
    const expressions: string[] = [];
    const values: SqlValue[] = [];
    for (const column of table.columns) {
      if (template === undefined && column.hasDefault && !column.isKey) continue;
      names.push(quoteName(column.name));
      const parent = parents.get(column.name);
      if (parent === undefined && table.keys.length === 1 && isIntegerKey(column)) {
        expressions.push("mergelite_id()");
        continue;
      }
      expressions.push("?");
      values.push(parent ?? this.#newValue(column, rows, template));
    }
    this.#run(
      `INSERT INTO ${quoteName(table.name)} (${names.join(", ")}) VALUES (${expressions.join(", ")})`,
      values,
    );
  }

  #newValue(column: ColumnModel, rows: readonly Row[], template: Row | undefined): SqlValue {
    if (column.isReference) return null;
    if (column.isKey || column.isUnique) return freshValue(this.#random, column);
    if (template === undefined) return inventedValue(this.#random, column);
    if (this.#random() < 0.5) return template[column.name] ?? null;
    return this.#varied(column, rows);
  }

  #update(table: TableModel, rows: readonly Row[]): void {
    // Most updates meet in a few rows, as they do in life.
    const isHot = this.#random() < 0.6;
    const row = pick(this.#random, isHot ? rows.slice(0, hotRows) : rows);
    const columns = table.columns.filter((column) => !column.isKey);
    const column = pick(this.#random, columns);
    if (row === undefined || column === undefined) return;
    const values = new Map<string, SqlValue>();
    if (column.isReference) {
      const reference = table.references.find(({ from }) => from.includes(column.name));
      const parent = reference && this.#parentOf(reference);
      if (reference === undefined || parent === undefined) return;
      reference.from.forEach((name, i) => {
        values.set(name, parent[reference.to[i] ?? ""] ?? null);
      });
      if (table.keys.some((key) => values.has(key))) return;
    } else {
      const isUnique = column.isUnique;
      values.set(
        column.name,
        isUnique ? freshValue(this.#random, column) : this.#varied(column, rows),
      );
    }
    const set = [...values.keys()].map((name) => `${quoteName(name)} = ?`).join(", ");
    this.#run(`UPDATE ${quoteName(table.name)} SET ${set} WHERE ${keyCondition(table)}`, [
      ...values.values(),
      ...keyValues(table, row),
    ]);
  }

  #delete(table: TableModel, rows: readonly Row[]): void {
    const row = pick(this.#random, rows);
    if (row === undefined) return;
    const sql = `DELETE FROM ${quoteName(table.name)} WHERE ${keyCondition(table)}`;
    this.#run(sql, keyValues(table, row));
  }

  #varied(column: ColumnModel, rows: readonly Row[]): SqlValue {
    const seen = rows.map((row) => row[column.name] ?? null).filter((value) => value !== null);
    const mark = `${this.#name}${this.counts.changes}`;
    return variedValue(this.#random, { column, seen, mark });
  }

  /** Values of a new row's referring columns; undefined when a parent it needs is not there. */
  #parentValues(table: TableModel): Map<string, SqlValue> | undefined {
    const values = new Map<string, SqlValue>();
    for (const reference of table.references) {
      const columns = table.columns.filter(({ name }) => reference.from.includes(name));
      const isOptional = columns.every((column) => column.isNullable);
      if (isOptional && this.#random() < 0.3) continue;
      const parent = this.#parentOf(reference);
      if (parent === undefined) {
        if (isOptional) continue;
        return undefined;
      }
      reference.from.forEach((name, i) => {
        values.set(name, parent[reference.to[i] ?? ""] ?? null);
      });
    }
    return values;
  }

  #parentOf(reference: Reference): Row | undefined {
    const table = this.#tables.find(
      ({ name }) => name.toLowerCase() === reference.table.toLowerCase(),
    );
    return table && pick(this.#random, this.#sample(table));
  }

  #sample(table: TableModel): Row[] {
    const known = this.#samples.get(table.name);
    const now = this.counts.transactions;
    if (known !== undefined && now - known.readAt < sampleLife) return known.rows;
    const read = (order: "ASC" | "DESC", limit: number) => {
      const by = table.keys.map((key) => `${quoteName(key)} ${order}`).join(", ");
      const statement = this.#prepare(
        `SELECT * FROM ${quoteName(table.name)} ORDER BY ${by} LIMIT ?`,
      );
      return statement.safeIntegers().all(limit) as Row[];
    };
    const rows = read("ASC", sampleRows.first);
    if (rows.length === sampleRows.first) rows.push(...read("DESC", sampleRows.last));
    const free = rows.filter((row) => !this.#isReserved(table, row));
    this.#samples.set(table.name, { rows: free, readAt: now });
    return free;
  }

  #isReserved(table: TableModel, row: Row): boolean {
    return this.#reserved.some(
      (reserved) =>
        reserved.table === table.name && table.keys.every((key) => reserved.key[key] === row[key]),
    );
  }

  #run(sql: string, values: readonly SqlValue[]): void {
    this.counts.changes += this.#prepare(sql).run(...values).changes;
  }

  #prepare(sql: string): Database.Statement {
    let statement = this.#statements.get(sql);
    if (statement === undefined) {
      statement = this.#db.prepare(sql);
      this.#statements.set(sql, statement);
    }
    return statement;
  }
}

function isIntegerKey({ isKey, affinity }: ColumnModel): boolean {
  return isKey && affinity === "integer";
}

function keyCondition(table: TableModel): string {
  return table.keys.map((key) => `${quoteName(key)} = ?`).join(" AND ");
}

function keyValues(table: TableModel, row: Row): SqlValue[] {
  return table.keys.map((key) => row[key] ?? null);
}
