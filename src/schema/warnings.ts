/** What is allowed, and will surprise all the same: told once, as process warnings. */
import type { SqliteDatabase } from "../log/store.ts";

interface SchemaRow {
  type: "table" | "trigger";
  name: string;
  table: string;
  sql: string;
}

export function warnAboutTables(db: SqliteDatabase, tables: readonly string[]): void {
  const rows = db
    .prepare(
      "SELECT type, name, tbl_name AS 'table', sql FROM sqlite_schema WHERE type IN ('table', " +
        "'trigger') AND sql IS NOT NULL AND substr(name, 1, 11) <> '_mergelite_'",
    )
    .all() as SchemaRow[];
  const replicated = new Set(tables.map((table) => table.toLowerCase()));
  for (const row of rows) {
    if (!replicated.has(row.table.toLowerCase())) continue;
    if (row.type === "table") warnAboutKey(row);
    else if (!/mergelite_merging/i.test(row.sql)) warnAboutTrigger(row, replicated);
  }
}

function warnAboutKey({ name, sql }: SchemaRow): void {
  if (/\bAUTOINCREMENT\b/i.test(sql)) {
    warn(
      "MERGELITE_AUTOINCREMENT",
      `table ${name} counts its ids with AUTOINCREMENT: peers that count on their own give one id ` +
        "to two rows, which then are one row. Insert mergelite_id() or a UUID.",
    );
  } else if (/\bINTEGER\s+PRIMARY\s+KEY[^,]*DEFAULT\s*\(\s*mergelite_id/i.test(sql)) {
    warn(
      "MERGELITE_KEY_DEFAULT",
      `table ${name}: SQLite never uses the DEFAULT of an INTEGER PRIMARY KEY, it counts 1, 2, 3. ` +
        "Insert mergelite_id() explicitly, or make the table WITHOUT ROWID.",
    );
  }
}

/** What a trigger deletes from replicated tables it deletes on every peer that merges the row. */
function warnAboutTrigger({ name, sql }: SchemaRow, replicated: ReadonlySet<string>): void {
  const body = sql.slice(sql.search(/\bBEGIN\b/i)).toLowerCase();
  const written = [...body.matchAll(/\bdelete\s+from\s+["'`[]?(\w+)/g)]
    .map(([, table]) => table ?? "")
    .find((table) => replicated.has(table));
  if (written === undefined) return;
  warn(
    "MERGELITE_TRIGGER",
    `trigger ${name} may delete from the replicated table ${written}: it would do so again on every ` +
      "peer, unrecorded. Add WHEN NOT mergelite_merging().",
  );
}

function warn(code: string, message: string): void {
  process.emitWarning(message, { code });
}
