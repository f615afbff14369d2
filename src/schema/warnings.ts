/** What is allowed, and will surprise all the same: told once, as process warnings. */
import type { SqliteDatabase } from "../log/store.ts";

export function warnAboutTables(db: SqliteDatabase, tables: readonly string[]): void {
  const rows = db
    .prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND sql IS NOT NULL")
    .all() as { name: string; sql: string }[];
  for (const { name, sql } of rows) {
    if (!tables.includes(name) || !/\bAUTOINCREMENT\b/i.test(sql)) continue;
    process.emitWarning(
      `table ${name} counts its ids with AUTOINCREMENT: peers that count on their own give one id ` +
        "to two rows, which then are one row. Use DEFAULT (mergelite_id()) or a UUID.",
      { code: "MERGELITE_AUTOINCREMENT" },
    );
  }
}
