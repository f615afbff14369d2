/** Makes the file all peers start from, and looks for rows to tell a story about. */
import { join } from "node:path";
import { attach } from "../../index.ts";
import { type Database, openDatabase, quoteName, withDatabase } from "../database.ts";
import { chooseTables, replicateTables } from "../init.ts";
import type { Output } from "../output.ts";
import { countRows } from "../tables.ts";
import type { Cell } from "./messages.ts";
import { seededRandom } from "./random.ts";
import { readTable, type TableModel } from "./schema.ts";
import { makeShop } from "./shop.ts";
import type { Row } from "./values.ts";

export interface Prepared {
  readonly file: string;
  readonly tables: string[];
  readonly rows: number;
  readonly skipped: { table: string; reason: string }[];
  /** Triggers of the application that were dropped in the copies. */
  readonly triggers: string[];
  /** Written by every peer while they are apart. */
  readonly shared: Cell | undefined;
  /** Two columns of one row, each written by another peer. */
  readonly pair: readonly [Cell, Cell] | undefined;
}

export interface PrepareOptions {
  readonly folder: string;
  /** The user's database, which is only read. */
  readonly source: string | undefined;
  readonly seed: number;
  readonly output: Output;
}

export async function prepare(options: PrepareOptions): Promise<Prepared> {
  const { folder, source, seed, output } = options;
  const file = join(folder, "start.db");
  if (source !== undefined) {
    await withDatabase(source, { readonly: true }, (db) => db.backup(file));
  } else {
    const { writeFileSync } = await import("node:fs");
    writeFileSync(file, "");
  }
  return withDatabase(file, {}, async (db) => {
    if (source === undefined) makeShop(db, seededRandom(seed));
    const triggers = dropTriggers(db);
    const chosen = chooseTables(db, source ?? "the sample database", []);
    await attach(db).close();
    const { tables, skipped } = replicateTables(db, { chosen, isNamed: false, output });
    const names = tables.map(({ table }) => table);
    const models = names.map((name) => readTable(db, name));
    return {
      file,
      tables: names,
      rows: names.reduce((sum, name) => sum + countRows(db, name), 0),
      skipped,
      triggers,
      ...chooseCells(db, models),
    };
  });
}

/**
 * Triggers would run for local and for merged changes alike: those that do not ask which it is
 * change rows on every peer on their own.
 */
function dropTriggers(db: Database.Database): string[] {
  const names = db
    .prepare(
      `SELECT name FROM sqlite_schema WHERE type = 'trigger'
       AND name NOT LIKE '\\_mergelite\\_%' ESCAPE '\\' AND sql NOT LIKE '%mergelite_merging%'`,
    )
    .pluck()
    .all() as string[];
  for (const name of names) db.exec(`DROP TRIGGER ${quoteName(name)}`);
  return names;
}

function chooseCells(
  db: Database.Database,
  models: readonly TableModel[],
): Pick<Prepared, "shared" | "pair"> {
  let shared: Cell | undefined;
  let pair: readonly [Cell, Cell] | undefined;
  // A table that refers to none loses no rows by cascades.
  const byReferences = [...models].sort((a, b) => a.references.length - b.references.length);
  for (const table of byReferences) {
    const [first, second = first] = firstRows(db, table);
    if (first === undefined || second === undefined) continue;
    const [column] = editableColumns(table, first);
    if (column !== undefined) shared ??= { table: table.name, key: keyOf(table, first), column };
    const [left, right] = editableColumns(table, second);
    if (second === first || left === undefined || right === undefined) continue;
    const row = { table: table.name, key: keyOf(table, second) };
    pair ??= [
      { ...row, column: left },
      { ...row, column: right },
    ];
  }
  return { shared, pair };
}

function firstRows(db: Database.Database, table: TableModel): Row[] {
  const order = table.keys.map(quoteName).join(", ");
  const sql = `SELECT * FROM ${quoteName(table.name)} ORDER BY ${order} LIMIT 2`;
  return db.prepare(sql).safeIntegers().all() as Row[];
}

/** Short texts without rules that are plain to see; numbers after them. */
function editableColumns(table: TableModel, row: Row): string[] {
  const free = table.columns.filter(
    (column) => !column.isKey && !column.isUnique && !column.isReference,
  );
  const texts = free.filter(({ name }) => {
    const value = row[name];
    return typeof value === "string" && value.length > 0 && value.length < 40;
  });
  const integers = free.filter(({ name }) => typeof row[name] === "bigint");
  return [...texts, ...integers].map((column) => column.name);
}

function keyOf(table: TableModel, row: Row): Row {
  return Object.fromEntries(table.keys.map((key) => [key, row[key] ?? null]));
}

/** What the copy of a peer says now; undefined when the row is gone. */
export async function readCell(file: string, cell: Cell): Promise<unknown> {
  const db = await openDatabase(file, { readonly: true });
  try {
    const names = Object.keys(cell.key);
    const where = names.map((name) => `${quoteName(name)} = ?`).join(" AND ");
    const sql = `SELECT ${quoteName(cell.column)} FROM ${quoteName(cell.table)} WHERE ${where}`;
    return db
      .prepare(sql)
      .pluck()
      .safeIntegers()
      .get(...Object.values(cell.key));
  } finally {
    db.close();
  }
}
