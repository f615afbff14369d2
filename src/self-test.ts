/** Proves that a table's columns survive capture, wire and merge: for an application's tests. */
import type { Row } from "./app/rows.ts";
import { attach } from "./attach.ts";
import { ReplicaError } from "./errors.ts";
import type { SqliteDatabase } from "./log/store.ts";
import type { Replica } from "./replica.ts";
import { memoryPair } from "./transport/memory.ts";

export type SelfTestStep = "insert" | "to null" | "back" | "delete";

/** What another peer has of a column, as SQL writes it, and what it should have. */
export interface SelfTestDifference {
  readonly column: string;
  readonly step: SelfTestStep;
  readonly sent: string;
  readonly received: string;
}

export interface SelfTestResult {
  /** Nothing differs, and the row names every column that can be written. */
  readonly ok: boolean;
  readonly differences: readonly SelfTestDifference[];
  /** Columns that the row does not name. */
  readonly untested: readonly string[];
}

interface Copy extends SqliteDatabase {
  close(): unknown;
}

interface Column {
  readonly name: string;
  readonly pk: number | bigint;
  readonly hidden: number | bigint;
}

/** For two replicas in one process a message takes no time; a slow machine takes some. */
const waitMsMax = 30_000;

/**
 * Inserts the row, sets each column to NULL and back, deletes it, on one of two linked copies of
 * the database's schema in memory, and compares the row on the other one. The database itself is
 * only read, and may but need not have a replica.
 * @throws INVALID_ROW, TABLE_MISSING and the other TABLE_… codes, and what the driver throws
 */
export async function selfTest(
  db: SqliteDatabase,
  table: string,
  row: Row,
): Promise<SelfTestResult> {
  const copies = [copyOf(db), copyOf(db)] as const;
  try {
    const [here, there] = copies;
    await using sender = attach(here, { tables: [table], watchFile: false });
    await using receiver = attach(there, { tables: [table], watchFile: false });
    const [a, b] = memoryPair();
    sender.connect(a);
    receiver.connect(b);
    return await new SelfTest({ sender, receiver, here, there, table, row }).run();
  } finally {
    for (const copy of copies) copy.close();
  }
}

interface Parts {
  readonly sender: Replica;
  readonly receiver: Replica;
  readonly here: SqliteDatabase;
  readonly there: SqliteDatabase;
  readonly table: string;
  readonly row: Row;
}

class SelfTest {
  readonly #parts: Parts;
  readonly #columns: readonly Column[];
  readonly #key: Row;
  readonly #differences: SelfTestDifference[] = [];

  constructor(parts: Parts) {
    this.#parts = parts;
    this.#columns = parts.here
      .prepare("SELECT name, pk, hidden FROM pragma_table_xinfo(?) ORDER BY pk")
      .all(parts.table as never) as Column[];
    const keys = this.#columns.filter(({ pk }) => Number(pk) > 0);
    this.#key = Object.fromEntries(keys.map(({ name }) => [name, this.#valueOf(name)]));
  }

  async run(): Promise<SelfTestResult> {
    const { sender, here, table, row } = this.#parts;
    sender.upsert(table, row);
    await this.#compare("insert");
    const written = this.#columns.filter(({ pk, hidden }) => Number(pk) + Number(hidden) === 0);
    const tested = written.filter(({ name }) => this.#valueOf(name) !== undefined);
    for (const { name } of tested) {
      if (!this.#set(name, null)) continue;
      await this.#compare("to null");
      this.#set(name, this.#valueOf(name));
      await this.#compare("back");
    }
    const { where, values } = this.#byKey();
    here.prepare(`DELETE FROM ${quote(table)} WHERE ${where}`).run(...values);
    await this.#compare("delete");
    const untested = written.filter((column) => !tested.includes(column)).map(({ name }) => name);
    const ok = this.#differences.length + untested.length === 0;
    return { ok, differences: this.#differences, untested };
  }

  /** Columns may be named in any case. */
  #valueOf(column: string): Row[string] {
    const { row } = this.#parts;
    const name = Object.keys(row).find((one) => one.toLowerCase() === column.toLowerCase());
    return name === undefined ? undefined : row[name];
  }

  /** `false` where the table does not take it: NOT NULL, or a CHECK. */
  #set(column: string, value: Row[string]): boolean {
    try {
      this.#parts.sender.upsert(this.#parts.table, { ...this.#key, [column]: value });
      return true;
    } catch (error) {
      if (error instanceof ReplicaError || value !== null) throw error;
      return false;
    }
  }

  async #compare(step: SelfTestStep): Promise<void> {
    const { sender, receiver, here, there } = this.#parts;
    await receiver.wait(sender.token(), { signal: AbortSignal.timeout(waitMsMax) });
    const [sent, received] = [this.#read(here), this.#read(there)];
    for (const { name } of this.#columns) {
      const one = { sent: sent.get(name) ?? "no row", received: received.get(name) ?? "no row" };
      if (one.sent !== one.received) this.#differences.push({ column: name, step, ...one });
    }
  }

  /** The row's values as text that differs whenever a value or its type does. */
  #read(db: SqliteDatabase): Map<string, string> {
    const shown = this.#columns.map(({ name }, i) => {
      // quote() ends a text at its first NUL.
      const bytes = `iif(typeof(${quote(name)}) = 'text', hex(${quote(name)}), '')`;
      return `quote(${quote(name)}) AS v${i}, ${bytes} AS b${i}`;
    });
    const { where, values } = this.#byKey();
    const row = db
      .prepare(`SELECT ${shown.join(", ")} FROM ${quote(this.#parts.table)} WHERE ${where}`)
      .get(...values) as Record<string, string> | undefined;
    if (row === undefined) return new Map();
    return new Map(
      this.#columns.map(({ name }, i) => [name, [row[`v${i}`], row[`b${i}`]].join(" ").trim()]),
    );
  }

  #byKey(): { where: string; values: never[] } {
    const where = Object.keys(this.#key).map((name) => `${quote(name)} = ?`);
    return { where: where.join(" AND "), values: Object.values(this.#key) as never[] };
  }
}

/** An empty database with the same schema, in memory, by the same driver. */
function copyOf(db: SqliteDatabase): Copy {
  const Driver = db.constructor as new (file: string, options: object) => Copy;
  // node:sqlite loads extensions when told so; the others do not mind being told.
  const copy = new Driver(":memory:", { allowExtension: true });
  try {
    const { encoding } = db.prepare("PRAGMA encoding").get() as { encoding: string };
    copy.prepare(`PRAGMA encoding = '${encoding}'`).run();
    copy.prepare("PRAGMA foreign_keys = OFF").run();
    const statements = db
      .prepare(
        `SELECT sql FROM sqlite_schema AS s WHERE sql IS NOT NULL
           AND substr(name, 1, 11) <> '_mergelite_' AND substr(name, 1, 7) <> 'sqlite_'
           AND sql NOT LIKE 'CREATE VIRTUAL TABLE % USING mergelite%'
           AND NOT EXISTS (SELECT 1 FROM pragma_table_list AS t
             WHERE t.schema = 'main' AND t.type = 'shadow' AND t.name = s.tbl_name)
         ORDER BY type = 'trigger', type = 'view', type = 'index', rowid`,
      )
      .all() as { sql: string }[];
    for (const { sql } of statements) copy.prepare(sql).run();
    return copy;
  } catch (error) {
    copy.close();
    throw error;
  }
}

function quote(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
