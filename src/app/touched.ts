/** Which tables were written since they were looked at last, by what the log has gained. */

import { PayloadReader, readShape } from "../log/payload.ts";
import { readRecords } from "../log/records.ts";
import type { OriginMarks, SqliteDatabase, Store } from "../log/store.ts";
import type { VersionVector } from "../log/vector.ts";

/** Beyond so many changesets, or bytes of an origin, anything may have been written. */
const changesetsMax = 64;
const bytesMax = 256 * 1024;

type Statement = ReturnType<SqliteDatabase["prepare"]>;

export class TouchedTables {
  readonly #store: Store;
  readonly #triggers: Statement;
  readonly #alias: Statement;
  readonly #tableByShape = new Map<string, string>();
  #merged: VersionVector;

  constructor(db: SqliteDatabase, store: Store, marks: readonly OriginMarks[]) {
    this.#store = store;
    this.#merged = mergedOf(marks);
    this.#triggers = db.prepare(
      `SELECT 1 FROM (SELECT type, name FROM sqlite_schema
         UNION ALL SELECT type, name FROM sqlite_temp_schema)
       WHERE type = 'trigger' AND substr(name, 1, 11) <> '_mergelite_' LIMIT 1`,
    );
    this.#alias = db.prepare(
      `SELECT t.name AS name FROM _mergelite_aliases AS a
       JOIN _mergelite_tables AS t ON t.id = a.table_id WHERE a.name = ?`,
    );
  }

  /** Names in lower case; `undefined`: perhaps any. */
  look(marks: readonly OriginMarks[]): ReadonlySet<string> | undefined {
    const before = this.#merged;
    this.#merged = mergedOf(marks);
    const ranges = marks
      .map(({ peerId, merged }) => ({
        origin: peerId,
        first: (before.get(peerId) ?? 0) + 1,
        last: merged,
      }))
      .filter(({ first, last }) => last >= first);
    const count = ranges.reduce((sum, { first, last }) => sum + last - first + 1, 0);
    if (count === 0) return new Set();
    // The application's triggers write other tables, here and when rows are merged.
    if (count > changesetsMax || this.#triggers.get() !== undefined) return undefined;
    const tables = new Set<string>();
    for (const range of ranges) {
      const records = readRecords(this.#store.readLog({ ...range, bytesMax }));
      // Trimmed, or too much to look at.
      if (records.length <= range.last - range.first) return undefined;
      for (const { payload } of records) {
        for (const table of this.#tablesOf(payload)) tables.add(table);
      }
    }
    for (const table of [...tables]) this.#addNameOfToday(tables, table);
    return tables;
  }

  /** Who has not renamed a table yet writes it under the name it had. */
  #addNameOfToday(tables: Set<string>, table: string): void {
    const row = this.#alias.get(table as never) as { name: string } | undefined;
    if (row !== undefined) tables.add(row.name.toLowerCase());
  }

  #tablesOf(payload: Uint8Array): string[] {
    const shapeOf = (hash: string) => ({ table: this.#tableOf(hash), keys: [], columns: [] });
    return new PayloadReader(payload, { shapeOf, safeIntegers: false }).shapes.map(
      ({ table }) => table,
    );
  }

  #tableOf(hash: string): string {
    const known = this.#tableByShape.get(hash);
    if (known !== undefined) return known;
    const [descriptor] = this.#store.descriptors([hash]);
    const table = descriptor === undefined ? "" : readShape(descriptor).table.toLowerCase();
    this.#tableByShape.set(hash, table);
    return table;
  }
}

function mergedOf(marks: readonly OriginMarks[]): VersionVector {
  return new Map(marks.map(({ peerId, merged }) => [peerId, merged]));
}
