/** What a writer has to know of a table to write rows that its schema accepts. */
import type { Database } from "../database.ts";

export interface ColumnModel {
  readonly name: string;
  readonly affinity: "integer" | "real" | "text" | "blob" | "numeric";
  readonly isNullable: boolean;
  readonly hasDefault: boolean;
  readonly isKey: boolean;
  /** Part of a UNIQUE index besides the key. */
  readonly isUnique: boolean;
  readonly isReference: boolean;
}

export interface Reference {
  readonly table: string;
  readonly from: readonly string[];
  readonly to: readonly string[];
}

export interface TableModel {
  readonly name: string;
  /** Stored columns in declared order. */
  readonly columns: readonly ColumnModel[];
  /** Names of the key's columns in their order. */
  readonly keys: readonly string[];
  readonly references: readonly Reference[];
}

export function readTable(db: Database.Database, name: string): TableModel {
  const columns = db
    .prepare(
      `SELECT name, type, "notnull" AS required, dflt_value AS fallback, pk
       FROM pragma_table_xinfo(?, 'main') WHERE hidden = 0`,
    )
    .all(name) as { name: string; type: string; required: number; fallback: unknown; pk: number }[];
  const references = readReferences(db, name);
  const referring = new Set(references.flatMap((reference) => reference.from));
  const unique = new Set(
    db
      .prepare(
        `SELECT i.name FROM pragma_index_list(?, 'main') AS l, pragma_index_info(l.name) AS i
         WHERE l."unique" AND l.origin <> 'pk' AND i.name IS NOT NULL`,
      )
      .pluck()
      .all(name) as string[],
  );
  return {
    name,
    references,
    keys: columns
      .filter((column) => column.pk > 0)
      .sort((a, b) => a.pk - b.pk)
      .map((column) => column.name),
    columns: columns.map((column) => ({
      name: column.name,
      affinity: affinityOf(column.type),
      isNullable: column.required === 0 && column.pk === 0,
      hasDefault: column.fallback !== null,
      isKey: column.pk > 0,
      isUnique: unique.has(column.name),
      isReference: referring.has(column.name),
    })),
  };
}

function readReferences(db: Database.Database, name: string): Reference[] {
  const rows = db
    .prepare(
      `SELECT id, "table", "from", "to", seq FROM pragma_foreign_key_list(?, 'main')
       ORDER BY id, seq`,
    )
    .all(name) as { id: number; table: string; from: string; to: string | null; seq: number }[];
  const keyOf = db.prepare("SELECT name FROM pragma_table_info(?, 'main') WHERE pk = ?").pluck();
  const referencesById = new Map<number, { table: string; from: string[]; to: string[] }>();
  for (const { id, table, from, to, seq } of rows) {
    const reference = referencesById.get(id) ?? { table, from: [], to: [] };
    reference.from.push(from);
    // Without a column, the parent's primary key is meant.
    reference.to.push(to ?? (keyOf.get(table, seq + 1) as string));
    referencesById.set(id, reference);
  }
  return [...referencesById.values()];
}

/** The rules of SQLite's "Datatypes", section 3.1. */
function affinityOf(type: string): ColumnModel["affinity"] {
  const upper = type.toUpperCase();
  if (upper.includes("INT")) return "integer";
  if (/CHAR|CLOB|TEXT/.test(upper)) return "text";
  if (upper === "" || upper.includes("BLOB")) return "blob";
  if (/REAL|FLOA|DOUB/.test(upper)) return "real";
  return "numeric";
}
