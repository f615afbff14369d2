/**
 * A table whose schema changes while the cluster runs: versions that peers go up and down through,
 * each at moments of its own, and what they write meanwhile.
 */
import type Database from "better-sqlite3";
import type { Migration } from "../../src/schema/migrate.ts";
import { prepared } from "./statements.ts";

const create = (name: string, columns: string) =>
  `CREATE TABLE ${name} (${columns}); CREATE VIRTUAL TABLE ${name}_patches USING mergelite(${name})`;

export const migrations: readonly Migration[] = [
  { up: create("memo", "id INTEGER PRIMARY KEY, a, b DEFAULT 'b'") },
  {
    up: "ALTER TABLE memo ADD COLUMN c NOT NULL DEFAULT 'c'; UPDATE memo SET c = coalesce(a, 'none') || id",
    down: "ALTER TABLE memo DROP COLUMN c",
  },
  // Rows that vanish with a table are gone on one file only: it stays when the version goes.
  {
    up: `CREATE TABLE IF NOT EXISTS label (k TEXT PRIMARY KEY NOT NULL, x);
      CREATE VIRTUAL TABLE IF NOT EXISTS label_patches USING mergelite(label)`,
    down: "SELECT 1",
  },
  { up: "ALTER TABLE memo RENAME COLUMN a TO x", down: "ALTER TABLE memo RENAME COLUMN x TO a" },
  {
    up: "ALTER TABLE memo DROP COLUMN b",
    down: "ALTER TABLE memo ADD COLUMN b DEFAULT 'b'",
  },
  {
    up: "ALTER TABLE memo ADD COLUMN d DEFAULT 7; UPDATE memo SET d = c || 'd'",
    down: "ALTER TABLE memo DROP COLUMN d",
  },
];

export const firstVersion = 1;
export const lastVersion: number = migrations.length;

/** The highest that any peer has been at: all agree once they have been there, too. */
export class Versions {
  highest = firstVersion;

  note(version: number): void {
    this.highest = Math.max(this.highest, version);
  }
}

const names = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name IN ('memo', 'label')";

/** Where the file is now; 0 before the first. */
export function versionOf(db: Database.Database): number {
  const sql = "SELECT coalesce(max(version), 0) FROM _mergelite_migrations";
  return prepared(db, sql).pluck().get() as number;
}

/** Tables that come with versions and are here. */
export function versionedTables(db: Database.Database): string[] {
  return (prepared(db, names).pluck().all() as string[]).sort();
}

/** Small numbers that pick what is done to which column of which row. */
export interface VersionedWrite {
  readonly kind: number;
  readonly key: number;
  readonly column: number;
  readonly value: number;
}

/** A statement for the version the file is at; undefined when it has none of the tables. */
export function versionedSql(
  db: Database.Database,
  { kind, key, column, value }: VersionedWrite,
): string | undefined {
  const tables = versionedTables(db);
  const table = tables[kind % 4 === 3 ? 0 : tables.length - 1];
  if (table === undefined) return undefined;
  const columns = db
    .prepare("SELECT name FROM pragma_table_info(?)")
    .pluck()
    .all(table) as string[];
  const [id = "", ...others] = columns;
  const one = others[column % others.length] ?? "";
  const at = table === "label" ? `'k${key % 6}'` : String(key % 6);
  const statements = [
    `INSERT OR REPLACE INTO ${table} (${id}) VALUES (${at})`,
    `INSERT OR IGNORE INTO ${table} (${id}, ${one}) VALUES (${at}, ${value})`,
    `UPDATE ${table} SET ${one} = ${value} WHERE ${id} = ${at}`,
    `UPDATE ${table} SET ${one} = ${value}`,
    `DELETE FROM ${table} WHERE ${id} = ${at}`,
    `INSERT INTO ${table} (${id}) VALUES (${at}) ON CONFLICT DO UPDATE SET ${one} = ${value}`,
  ];
  return statements[kind % statements.length];
}
