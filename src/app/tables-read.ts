/** Which tables a query reads, by the program that SQLite makes of it: views, CTEs and all. */
import type { SqliteDatabase } from "../log/store.ts";

export type Parameters = readonly unknown[] | Readonly<Record<string, unknown>>;

interface Step {
  readonly opcode: string;
  readonly p2: number | bigint;
  readonly p3: number | bigint;
}

/** What opens a table or an index for reading: `p2` is its root page, `p3` its database. */
const opening: ReadonlySet<string> = new Set(["OpenRead", "ReopenIdx"]);

/**
 * Names in lower case; `undefined` when it reads what cannot be told: a virtual table, a temporary
 * or an attached database.
 * @throws TypeError when the statement writes, and what the driver throws
 */
export function tablesRead(
  db: SqliteDatabase,
  sql: string,
  parameters: Parameters,
): ReadonlySet<string> | undefined {
  const program = allRows(db.prepare(`EXPLAIN ${sql}`), parameters) as Step[];
  if (program.some(({ opcode, p2 }) => opcode === "Transaction" && Number(p2) > 0)) {
    throw new TypeError("a live query must only read");
  }
  if (program.some(({ opcode }) => opcode === "VOpen")) return undefined;
  const tables = new Set<string>();
  const tableByRoot = tablesByRoot(db);
  for (const { opcode, p2, p3 } of program) {
    if (!opening.has(opcode)) continue;
    const table = Number(p3) === 0 ? tableByRoot.get(Number(p2)) : undefined;
    if (table === undefined) return undefined;
    tables.add(table);
  }
  return tables;
}

export function allRows(
  statement: ReturnType<SqliteDatabase["prepare"]>,
  parameters: Parameters,
): unknown[] {
  const given = Array.isArray(parameters) ? parameters : [parameters];
  const isNone = !Array.isArray(parameters) && Object.keys(parameters).length === 0;
  return statement.all(...((isNone ? [] : given) as never[]));
}

function tablesByRoot(db: SqliteDatabase): Map<number, string> {
  const rows = db
    .prepare("SELECT tbl_name AS 'table', rootpage AS root FROM sqlite_schema WHERE rootpage > 0")
    .all() as { table: string; root: number | bigint }[];
  return new Map(rows.map(({ table, root }) => [Number(root), table.toLowerCase()]));
}
