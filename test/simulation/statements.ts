/** Statements that are prepared once for each connection: the checks ask the same all the time. */
import type Database from "better-sqlite3";

const statementsByDb = new WeakMap<Database.Database, Map<string, Database.Statement>>();

export function prepared(db: Database.Database, sql: string): Database.Statement {
  const statements = statementsByDb.get(db) ?? new Map<string, Database.Statement>();
  statementsByDb.set(db, statements);
  const known = statements.get(sql);
  if (known !== undefined) return known;
  const statement = db.prepare(sql);
  statements.set(sql, statement);
  return statement;
}

/** Rows that the connection has ever written, in whatever table. */
export function changesOf(db: Database.Database): number {
  return prepared(db, "SELECT total_changes()").pluck().get() as number;
}
