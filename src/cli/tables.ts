/** The tables of a file as the command line sees them. */
import { type Database, quoteName } from "./database.ts";

export interface UserTable {
  readonly name: string;
  /** Why it cannot be replicated, when that is plain to see. */
  readonly problem?: string;
  readonly replicated: boolean;
}

/** Ordinary tables of the application, without SQLite's, ours, and the companions. */
export function userTables(db: Database.Database): UserTable[] {
  const names = db
    .prepare(
      `SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table'
       AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT LIKE '\\_mergelite\\_%' ESCAPE '\\'
       ORDER BY name`,
    )
    .pluck()
    .all() as string[];
  const known = new Set(names);
  const replicated = new Set(replicatedTables(db));
  const isCompanion = (name: string) =>
    name.endsWith("_patches") && known.has(name.slice(0, -"_patches".length));
  const hasKey = db.prepare("SELECT 1 FROM pragma_table_xinfo(?, 'main') WHERE pk > 0");
  return names
    .filter((name) => !isCompanion(name))
    .map((name) => ({
      name,
      replicated: replicated.has(name),
      ...(hasKey.get(name) === undefined ? { problem: "no declared primary key" } : {}),
    }));
}

/** Names of the tables a file replicates, in their order; empty when it replicates none. */
export function replicatedTables(
  db: Database.Database,
  schema: "main" | "other" = "main",
): string[] {
  const catalog = `SELECT 1 FROM ${schema}.sqlite_schema WHERE name = '_mergelite_tables'`;
  if (db.prepare(catalog).get() === undefined) return [];
  const sql = `SELECT name FROM ${schema}._mergelite_tables WHERE active ORDER BY name`;
  return db.prepare(sql).pluck().all() as string[];
}

export function hasTable(db: Database.Database, table: string): boolean {
  const sql = "SELECT 1 FROM main.sqlite_schema WHERE type = 'table' AND name = ? COLLATE NOCASE";
  return db.prepare(sql).get(table) !== undefined;
}

export function countRows(db: Database.Database, table: string, schema = "main"): number {
  const sql = `SELECT count(*) FROM ${schema}.${quoteName(table)}`;
  return db.prepare(sql).pluck().get() as number;
}
