/** What the golden vectors are made of: schemas and statements whose bytes must never change. */

export interface GoldenCase {
  name: string;
  schema: string;
  tables: string[];
  /** Statements before replication begins. */
  before?: string;
  /** Run one after the other; each transaction among them makes one changeset. */
  statements: string[];
}

const integers = [
  "0",
  "1",
  "-1",
  "127",
  "128",
  "-128",
  "-129",
  "32767",
  "32768",
  "8388607",
  "-8388609",
  "2147483647",
  "2147483648",
  "140737488355327",
  "-140737488355329",
  "9223372036854775807",
  "-9223372036854775808",
];
const others = [
  "NULL",
  "1.5",
  "2.0",
  "-1e-300",
  "9e999",
  "''",
  "'a'",
  "'\u00e9\u{1f600}'",
  "'a text of more than fifty-eight bytes has a serial type of two'",
  "x''",
  "x'00ff'",
];

export const goldenCases: readonly GoldenCase[] = [
  {
    name: "values",
    schema: "CREATE TABLE v (id INTEGER PRIMARY KEY, value)",
    tables: ["v"],
    statements: [
      `INSERT INTO v VALUES ${[...integers, ...others].map((value, i) => `(${i}, ${value})`).join(", ")}`,
    ],
  },
  {
    name: "transaction",
    schema: `
      CREATE TABLE customer (id TEXT PRIMARY KEY NOT NULL, name TEXT, credit REAL);
      CREATE TABLE line (customer TEXT, number INT, article TEXT, pieces INT,
                         PRIMARY KEY (customer, number)) WITHOUT ROWID;`,
    tables: ["customer", "line"],
    statements: [
      `BEGIN;
       INSERT INTO customer VALUES ('c1', 'Ann', 10.5);
       INSERT INTO line VALUES ('c1', 1, 'tea', 2), ('c1', 2, 'cup', 4);
       UPDATE line SET pieces = 3 WHERE number = 1;
       SAVEPOINT s; DELETE FROM line; ROLLBACK TO s; RELEASE s;
       DELETE FROM line WHERE number = 2;
       COMMIT`,
      "UPDATE customer SET name = NULL, credit = 2",
      "UPDATE line SET number = 7",
    ],
  },
  {
    name: "columns",
    schema: `CREATE TABLE wide (k INT PRIMARY KEY NOT NULL,
               a, b, c, d, e, f, g, h, i, j, twice AS (k * 2))`,
    tables: ["wide"],
    statements: [
      "INSERT INTO wide (k, a, j) VALUES (300, 1, 2)",
      "UPDATE wide SET a = 5, i = 6, j = 7",
      "UPDATE wide SET h = h",
    ],
  },
  {
    name: "keys",
    schema: `
      CREATE TABLE nocase (word TEXT COLLATE NOCASE PRIMARY KEY NOT NULL, n INT);
      CREATE TABLE blobs (id BLOB PRIMARY KEY NOT NULL) WITHOUT ROWID;`,
    tables: ["nocase", "blobs"],
    statements: ["INSERT INTO nocase VALUES ('Word', 1)", "INSERT INTO blobs VALUES (x'0102')"],
  },
  {
    name: "replace",
    schema: "CREATE TABLE mail (id INTEGER PRIMARY KEY, address TEXT UNIQUE)",
    tables: ["mail"],
    statements: [
      "INSERT INTO mail VALUES (1, 'a@example.org')",
      "INSERT OR REPLACE INTO mail VALUES (2, 'a@example.org')",
    ],
  },
  {
    name: "before replication",
    schema: "CREATE TABLE old (id INTEGER PRIMARY KEY, x)",
    tables: ["old"],
    before: "INSERT INTO old VALUES (1, 'here before'), (2, NULL)",
    statements: ["DELETE FROM old WHERE id = 2"],
  },
];
