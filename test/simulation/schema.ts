/** The tables of simulated peers, and what they write. */
import type Database from "better-sqlite3";
import { prepared } from "./statements.ts";

/** Every row of an account is written with both its sides: readers must never see one of them. */
const tables = {
  note: "CREATE TABLE note (id INTEGER PRIMARY KEY, a, b TEXT, n INTEGER DEFAULT 7)",
  ledger:
    "CREATE TABLE ledger (account INTEGER, side INTEGER, v INTEGER, w INTEGER, PRIMARY KEY (account, side)) WITHOUT ROWID",
  handle: "CREATE TABLE handle (id INTEGER PRIMARY KEY, name TEXT UNIQUE, x)",
  // Numbers that are written once, and perhaps deleted once: see journal.ts.
  journal: "CREATE TABLE journal (id INTEGER PRIMARY KEY, peer INTEGER)",
  late: "CREATE TABLE late (k TEXT PRIMARY KEY NOT NULL, x)",
} as const;

export const tableNames: readonly string[] = Object.keys(tables);

/** What a peer may lack until it migrates. */
export interface Lacks {
  readonly table: boolean;
  readonly column: boolean;
}

const extraColumn = "ALTER TABLE note ADD COLUMN extra DEFAULT 'none'";
// Taking a table back into replication folds all row clocks: this one is there for that.
const spare = "CREATE TABLE spare (id INTEGER PRIMARY KEY)";
export const foldEverything =
  "DROP TABLE spare_patches; CREATE VIRTUAL TABLE spare_patches USING mergelite(spare)";

export function createTables(db: Database.Database, lacks: Lacks): string[] {
  const names = tableNames.filter((name) => name !== "late" || !lacks.table);
  for (const name of names) db.exec(tables[name as keyof typeof tables]);
  db.exec(spare);
  if (!lacks.column) db.exec(extraColumn);
  return [...names, "spare"];
}

/** Brings the schema up to date, if it is not. */
export function migrate(db: Database.Database): boolean {
  const { table, column } = lacksOf(db);
  if (!table && !column) return false;
  const late = `${tables.late}; CREATE VIRTUAL TABLE late_patches USING mergelite(late);`;
  db.exec(`BEGIN; ${table ? late : ""} ${column ? extraColumn : ""}; COMMIT`);
  return true;
}

const hasExtra = "SELECT 1 FROM pragma_table_info('note') WHERE name = 'extra'";

export function lacksOf(db: Database.Database): Lacks {
  const late = prepared(db, "SELECT 1 FROM sqlite_schema WHERE name = 'late'").get();
  const extra = prepared(db, hasExtra).get();
  return { table: late === undefined, column: extra === undefined };
}

/** Small numbers that pick table, kind, key and value. */
export interface Statement {
  readonly table: number;
  readonly kind: number;
  readonly key: number;
  readonly value: number;
}

const values = ["NULL", "0", "1", "1.0", "'x'", "'X'", "''", "x'00ff'", "9007199254740993", "-2.5"];
const literal = (number: number) => values[number % values.length] ?? "NULL";

/** SQL of a statement for this schema; both sides of an account at once. */
export function toSql({ table, kind, key, value }: Statement, lacks: Lacks): string {
  switch (table % 4) {
    case 0:
      return noteSql(kind, key, value, lacks);
    case 1:
      return ledgerSql(kind, key, value);
    case 2:
      return handleSql(kind, key, value);
    default:
      return lacks.table ? noteSql(kind, key, value, lacks) : lateSql(kind, key, value);
  }
}

function noteSql(kind: number, key: number, value: number, lacks: Lacks): string {
  const id = key % 12;
  const one = literal(value);
  const other = literal(value >> 4);
  switch (kind % 8) {
    case 0:
      return `INSERT OR IGNORE INTO note (id, a, b) VALUES (${id}, ${one}, ${other})`;
    case 1:
      return `INSERT OR REPLACE INTO note (id, a, b, n) VALUES (${id}, ${one}, ${other}, ${value})`;
    case 2:
      return `INSERT INTO note (id, a) VALUES (${id}, ${one}) ON CONFLICT DO UPDATE SET a = excluded.a`;
    case 3:
      return `UPDATE note SET b = ${one} WHERE id = ${id}`;
    case 4:
      return `UPDATE note SET a = ${one}, n = ${value} WHERE id = ${id}`;
    case 5:
      return `DELETE FROM note WHERE id = ${id}`;
    case 6:
      return lacks.column
        ? `UPDATE note SET n = n + 1 WHERE id < ${id}`
        : `UPDATE note SET extra = ${one} WHERE id = ${id}`;
    default:
      return `UPDATE OR REPLACE note SET id = ${value % 12} WHERE id = ${id}`;
  }
}

function ledgerSql(kind: number, key: number, value: number): string {
  const account = key % 6;
  switch (kind % 5) {
    case -1:
      // What must never be, for the test of the checks.
      return `INSERT OR REPLACE INTO ledger VALUES (${account}, 0, ${value}, 0)`;
    case 0:
    case 1:
      return `INSERT OR REPLACE INTO ledger VALUES (${account}, 0, ${value}, 0), (${account}, 1, ${value}, 0)`;
    case 2:
      return `DELETE FROM ledger WHERE account = ${account}`;
    case 3:
      return `UPDATE ledger SET w = ${value} WHERE account = ${account}`;
    default:
      return `UPDATE ledger SET v = ${value} WHERE account = ${account}`;
  }
}

function handleSql(kind: number, key: number, value: number): string {
  const id = key % 8;
  const name = value % 6 === 0 ? "NULL" : `'n${value % 6}'`;
  switch (kind % 5) {
    case 0:
    case 1:
      return `INSERT OR IGNORE INTO handle VALUES (${id}, ${name}, ${value})`;
    case 2:
      return `DELETE FROM handle WHERE id = ${id}`;
    case 3:
      return `UPDATE OR IGNORE handle SET name = ${name} WHERE id = ${id}`;
    default:
      return `INSERT OR REPLACE INTO handle VALUES (${id}, ${name}, ${value})`;
  }
}

function lateSql(kind: number, key: number, value: number): string {
  const k = `'k${key % 6}'`;
  if (kind % 3 === 2) return `DELETE FROM late WHERE k = ${k}`;
  return `INSERT INTO late VALUES (${k}, ${literal(value)}) ON CONFLICT DO UPDATE SET x = excluded.x`;
}

/** Accounts of which a reader sees a half. */
export const brokenAccounts =
  "SELECT account FROM ledger GROUP BY account HAVING count(*) <> 2 OR min(v) <> max(v) OR min(w) <> max(w)";
