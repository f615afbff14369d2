/** Tables with every kind of key, and how random steps become SQL on them. */

export interface TableSpec {
  name: string;
  create: string;
  keys: readonly string[];
  columns: readonly string[];
  nocase?: true;
  /** Literals for the key columns, by a small number: few, so that peers meet on them. */
  key(number: number): readonly string[];
}

const words = ["'a'", "'A'", "'b'", "'B'", "''", "'é'"];

export const tables: readonly TableSpec[] = [
  {
    name: "number",
    create: "CREATE TABLE number (id INTEGER PRIMARY KEY, a, b TEXT, c REAL, d BLOB, e INT)",
    keys: ["id"],
    columns: ["a", "b", "c", "d", "e"],
    key: (n) => [["1", "2", "3", "-7", "9007199254740993"][n % 5] ?? "1"],
  },
  {
    name: "word",
    create: "CREATE TABLE word (k TEXT PRIMARY KEY NOT NULL, a, b)",
    keys: ["k"],
    columns: ["a", "b"],
    key: (n) => [words[n % words.length] ?? "''"],
  },
  {
    name: "pair",
    create:
      "CREATE TABLE pair (y TEXT, a ANY, x INTEGER, b ANY, PRIMARY KEY (x, y)) WITHOUT ROWID, STRICT",
    keys: ["x", "y"],
    columns: ["a", "b"],
    key: (n) => [String(n % 2), words[(n >> 1) % 3] ?? "''"],
  },
  {
    name: "nocase",
    create: "CREATE TABLE nocase (k TEXT COLLATE NOCASE PRIMARY KEY, a, b) WITHOUT ROWID",
    keys: ["k"],
    columns: ["a", "b"],
    nocase: true,
    key: (n) => [words[n % words.length] ?? "''"],
  },
  {
    name: "folded",
    create: "CREATE TABLE folded (a, k TEXT PRIMARY KEY COLLATE NOCASE NOT NULL)",
    keys: ["k"],
    columns: ["a"],
    nocase: true,
    key: (n) => [words[n % words.length] ?? "''"],
  },
  {
    name: "touched",
    create: `CREATE TABLE touched (id INTEGER PRIMARY KEY, a, n INTEGER DEFAULT 0, b);
      CREATE TRIGGER touched_update AFTER UPDATE OF a ON touched WHEN NOT mergelite_merging()
      BEGIN UPDATE touched SET n = coalesce(n, 0) + 1 WHERE id = NEW.id; END`,
    keys: ["id"],
    columns: ["a", "n", "b"],
    key: (n) => [String(n % 4)],
  },
  {
    // No affinity: 5 and 5.0 are one key, '5' and x'35' are others.
    name: "untyped",
    create: "CREATE TABLE untyped (k PRIMARY KEY NOT NULL, a)",
    keys: ["k"],
    columns: ["a"],
    key: (n) => [["5", "5.0", "'5'", "x'35'", "0", "-0.0"][n % 6] ?? "5"],
  },
  {
    name: "keysonly",
    create: "CREATE TABLE keysonly (x INTEGER, y TEXT, PRIMARY KEY (x, y))",
    keys: ["x", "y"],
    columns: [],
    key: (n) => [String(n % 2), words[(n >> 1) % 3] ?? "''"],
  },
];

// Folding everything is what taking a table back into replication does: this one is there for that.
export const spare = "CREATE TABLE spare (id INTEGER PRIMARY KEY)";
export const filler = "CREATE TABLE filler (id INTEGER PRIMARY KEY, bytes)";
/** Ends a part of a transaction. */
export const fill = "REPLACE INTO filler VALUES (1, zeroblob(1048576))";
export const foldEverything =
  "DROP TABLE spare_patches; CREATE VIRTUAL TABLE spare_patches USING mergelite(spare)";

/** One random statement: small numbers that pick table, kind, key and values. */
export interface Write {
  table: number;
  kind: number;
  key: number;
  other: number;
  values: readonly number[];
}

const literals = [
  "NULL",
  "0",
  "1",
  "1.0",
  "-0.0",
  "'x'",
  "'X'",
  "''",
  "x''",
  "x'00ff'",
  "9223372036854775807",
  "1e300",
];
function literal(number: number): string {
  return literals[number % literals.length] ?? "NULL";
}

const kinds = 11;

export function toSql(table: TableSpec, write: Write): string {
  const value = (column: number) => literal(write.values[column % write.values.length] ?? 0);
  const names = [...table.keys, ...table.columns].join(", ");
  const row = [...table.key(write.key), ...table.columns.map((_, i) => value(i))].join(", ");
  const where = condition(table, write.key);
  const set = (columns: readonly string[]) =>
    columns.map((name, i) => `${name} = ${value(i)}`).join(", ");
  const first = write.other % Math.max(1, table.columns.length);
  const one = table.columns.slice(first, first + 1);
  const some = table.columns.slice(first);
  const target = table.keys.map((name, i) => `${name} = ${table.key(write.other)[i]}`).join(", ");
  const { name } = table;
  if (table.columns.length === 0 && [2, 4, 5, 6, 10].includes(write.kind % kinds)) {
    return `DELETE FROM ${name} WHERE ${where}`;
  }
  switch (write.kind % kinds) {
    case 0:
      return `INSERT INTO ${name} (${names}) VALUES (${row})`;
    case 1:
      return `INSERT OR REPLACE INTO ${name} (${names}) VALUES (${row})`;
    case 2:
      return `INSERT INTO ${name} (${names}) VALUES (${row}) ON CONFLICT DO UPDATE SET ${set(some)}`;
    case 3:
      return `INSERT OR IGNORE INTO ${name} (${names}) VALUES (${row})`;
    case 4:
    case 5:
      return `UPDATE ${name} SET ${set(one)} WHERE ${where}`;
    case 6:
      return `UPDATE ${name} SET ${set(some)} WHERE ${where}`;
    case 7:
      return `DELETE FROM ${name} WHERE ${where}`;
    case 8:
      return `UPDATE OR REPLACE ${name} SET ${target} WHERE ${where}`;
    case 9:
      return `UPDATE ${name} SET ${[target, ...(one.length > 0 ? [set(one)] : [])].join(", ")} WHERE ${where}`;
    default:
      return write.other % 4 === 0 ? `DELETE FROM ${name}` : `UPDATE ${name} SET ${set(one)}`;
  }
}

function condition(table: TableSpec, number: number): string {
  return table.keys.map((name, i) => `${name} = ${table.key(number)[i]}`).join(" AND ");
}
