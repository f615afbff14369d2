/**
 * Compares the rows of two files exactly, in SQL: type and bytes of every value, whatever collation
 * or affinity the columns have. Neither file is written.
 */
import type { Difference, TableVerification, Verification } from "../sync/verify.ts";
import { type Database, explain, quoteName, withDatabase } from "./database.ts";
import { countRows, replicatedTables } from "./tables.ts";

export interface CompareOptions {
  /** How many differences are listed; all are counted. */
  readonly limit: number;
  /** @default the tables that either file replicates */
  readonly tables?: readonly string[];
  readonly onTable?: (table: string) => void;
}

export function compareFiles(
  here: string,
  there: string,
  options: CompareOptions,
): Promise<Verification> {
  return withDatabase(here, { readonly: true }, (db) => {
    try {
      // An attached database is opened as the main one is: read-only.
      db.prepare("ATTACH ? AS other").run(there);
      db.prepare("SELECT count(*) FROM other.sqlite_schema").get();
    } catch (error) {
      throw explain(error, there, { readonly: true });
    }
    // One transaction: both files are seen as they are now, whoever writes them meanwhile.
    return db.transaction(() => compareTables(db, options))();
  });
}

function compareTables(db: Database.Database, options: CompareOptions): Verification {
  const { limit, onTable } = options;
  const names = options.tables ?? [
    ...new Set([...replicatedTables(db), ...replicatedTables(db, "other")]),
  ];
  const tables: TableVerification[] = [];
  let differences = 0;
  for (const table of [...names].sort()) {
    onTable?.(table);
    const { count, ...compared } = compareTable(db, table, Math.max(limit - differences, 0));
    differences += count;
    tables.push(compared);
  }
  return { tables, differences };
}

function compareTable(
  db: Database.Database,
  table: string,
  limit: number,
): TableVerification & { count: number } {
  const here = columnsOf(db, "main", table);
  const there = columnsOf(db, "other", table);
  const rows = here.length === 0 ? 0 : countRows(db, table);
  const remoteRows = there.length === 0 ? 0 : countRows(db, table, "other");
  const differences: Difference[] = [];
  let count = 0;
  const add = (key: string, kind: Difference["kind"]) => {
    count++;
    if (differences.length < limit) differences.push({ table, key, kind });
  };
  if (here.length === 0 || there.length === 0) {
    add("(the whole table)", here.length === 0 ? "missing here" : "missing there");
    return { table, rows, remoteRows, differences, count };
  }
  for (const { name } of here) {
    if (!find(there, name)) add(`(the column ${quoteName(name)})`, "missing there");
  }
  for (const { name } of there) {
    if (!find(here, name)) add(`(the column ${quoteName(name)})`, "missing here");
  }
  const keys = here.filter((column) => column.key > 0).sort((a, b) => a.key - b.key);
  const shared = here.filter((column) => find(there, column.name));
  for (const [key, kind] of differingRows(db, table, { keys, shared })) add(key, kind);
  return { table, rows, remoteRows, differences, count };
}

interface Column {
  readonly name: string;
  /** Position in the primary key from 1 on; 0 when it is not part of it. */
  readonly key: number;
}

/** The stored columns; none when there is no such table. */
function columnsOf(db: Database.Database, schema: "main" | "other", table: string): Column[] {
  const sql = "SELECT name, pk AS key FROM pragma_table_xinfo(?, ?) WHERE hidden = 0 OR pk > 0";
  return db.prepare(sql).all(table, schema) as Column[];
}

function find(columns: readonly Column[], name: string): boolean {
  return columns.some((column) => column.name.toLowerCase() === name.toLowerCase());
}

/** Rows are paired by key, so each file is walked once and nothing is sorted. */
function* differingRows(
  db: Database.Database,
  table: string,
  { keys, shared }: { keys: readonly Column[]; shared: readonly Column[] },
): Generator<[string, Difference["kind"]]> {
  const name = quoteName(table);
  const on = keys.map((key) => `a.${quoteName(key.name)} = b.${quoteName(key.name)}`).join(" AND ");
  const literal = (side: string) =>
    keys.map((key) => `quote(${side}.${quoteName(key.name)})`).join(" || ', ' || ");
  const isMissing = (side: string) => `${side}.${quoteName(keys[0]?.name ?? "rowid")} IS NULL`;
  const same = shared.map(({ name: column }) => sameValue(quoteName(column))).join(" AND ");
  const ours = db
    .prepare(
      `SELECT ${literal("a")}, ${isMissing("b")} FROM main.${name} AS a
       LEFT JOIN other.${name} AS b ON ${on} WHERE ${isMissing("b")} OR NOT (${same})`,
    )
    .raw();
  for (const [key, missing] of ours.iterate() as IterableIterator<[string, number]>) {
    yield [key, missing === 1 ? "missing there" : "differs"];
  }
  const theirs = db
    .prepare(
      `SELECT ${literal("b")} FROM other.${name} AS b
       LEFT JOIN main.${name} AS a ON ${on} WHERE ${isMissing("a")}`,
    )
    .pluck();
  for (const key of theirs.iterate() as IterableIterator<string>) yield [key, "missing here"];
}

/** `=` would find 1 = 1.0 and, by collation, 'A' = 'a'. */
function sameValue(column: string): string {
  const bytes = (side: string) =>
    `CASE typeof(${side}.${column}) WHEN 'text' THEN CAST(${side}.${column} AS BLOB) ` +
    `ELSE ${side}.${column} END`;
  return `(typeof(a.${column}) = typeof(b.${column}) AND ${bytes("a")} IS ${bytes("b")})`;
}
