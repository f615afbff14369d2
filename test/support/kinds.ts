/** Kinds of tables, told in one way: what the statements of the capture matrix are made for. */

export interface Kind {
  name: string;
  /** Runs before anything: pragmas. */
  pragma?: string;
  /** Tables, indexes, and triggers that are older than ours. */
  schema: string;
  /** Triggers and the like that are made when the table is replicated already. */
  late?: string;
  /** Names of the tables whose contents are compared; the first is the one that is written. */
  tables: readonly string[];
  /** Where statements go, when that is not the first table. */
  target?: string;
  keys: readonly string[];
  /** Literals of the key columns of row `n`, 1 to 9; 5 has the key of 1 where spellings differ. */
  key(n: number): readonly string[];
  /** The columns that statements set: `u` may be UNIQUE, `v` is checked, `w` is NOT NULL. */
  columns?: { u: string; v: string; w: string };
  /** Rows of other tables. */
  extra?: string;
  /** Statements of its own. */
  statements?: readonly string[];
  /** Views take no upsert. */
  noUpsert?: true;
}

const number = (n: number) => [String(n)];
const letter = (n: number) => [`'${"-abcdefghi"[n] ?? "z"}'`];
const spelled = (n: number) => [`'${"-abcdAfghi"[n] ?? "z"}'`];
const blob = (n: number) => [["x''", "x'00'", "x'0000'", "x'ff'"][n] ?? `x'0${n}'`];
const both = (n: number) => [String(n % 2), `'${"-abcdAfghi"[n] ?? "z"}'`];
const rest = "u, v CHECK (v <> 'bad'), w NOT NULL DEFAULT 7";

function table(name: string, create: string, more: Partial<Kind> = {}): Kind {
  return { name, schema: create, tables: ["t"], keys: ["k"], key: letter, ...more };
}

const plainKeys: readonly Kind[] = [
  table("INTEGER key", `CREATE TABLE t (k INTEGER PRIMARY KEY, ${rest})`, { key: number }),
  table("AUTOINCREMENT", `CREATE TABLE t (k INTEGER PRIMARY KEY AUTOINCREMENT, ${rest})`, {
    key: number,
  }),
  table("descending rowid", `CREATE TABLE t (k INTEGER PRIMARY KEY DESC, ${rest})`, {
    key: number,
  }),
  table("TEXT key", `CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, ${rest})`, {
    statements: [
      "REPLACE INTO t (rowid, k, v) VALUES (2, 'g', 'by rowid')",
      "INSERT OR REPLACE INTO t (k, _rowid_, v) VALUES ('h', 1, 1), ('i', 3, 1), ('f', 3, 1)",
      "UPDATE OR REPLACE t SET rowid = 3 WHERE k = 'a'",
      "UPDATE OR REPLACE t SET oid = 1, k = 'moved', v = 'moved' WHERE k = 'b'",
      "REPLACE INTO t (rowid, k) VALUES (-7, 'y'), (-7, 'z')",
    ],
  }),
  table("BLOB key", `CREATE TABLE t (k BLOB PRIMARY KEY NOT NULL, ${rest})`, { key: blob }),
  table("key without a type", `CREATE TABLE t (k PRIMARY KEY NOT NULL, ${rest})`, {
    key: (n) => [["'-'", "5", "'5'", "x'35'", "0", "5.0"][n] ?? `${n}.5`],
  }),
  table("REAL key", `CREATE TABLE t (k REAL PRIMARY KEY NOT NULL, ${rest})`, {
    key: (n) => [["0", "1", "-0.0", "1e300", "9007199254740993", "1.0"][n] ?? `${n}.25`],
  }),
  table(
    "composite WITHOUT ROWID",
    `CREATE TABLE t (a INT, b TEXT COLLATE NOCASE, ${rest}, PRIMARY KEY (a, b)) WITHOUT ROWID`,
    { keys: ["a", "b"], key: both },
  ),
  table("composite rowid", `CREATE TABLE t (${rest}, b TEXT, a INT, PRIMARY KEY (a, b))`, {
    keys: ["a", "b"],
    key: both,
  }),
  table("NOCASE key", `CREATE TABLE t (k TEXT COLLATE NOCASE PRIMARY KEY NOT NULL, ${rest})`, {
    key: spelled,
  }),
  table(
    "NOCASE WITHOUT ROWID",
    `CREATE TABLE t (k TEXT COLLATE NOCASE PRIMARY KEY, ${rest}) WITHOUT ROWID`,
    { key: spelled },
  ),
  table("RTRIM key", `CREATE TABLE t (k TEXT COLLATE RTRIM PRIMARY KEY NOT NULL, ${rest})`, {
    key: (n) => [["'-'", "'a'", "'b'", "'c '", "''", "'a  '"][n] ?? `'${n}'`],
  }),
];

const uniques: readonly Kind[] = [
  table("UNIQUE column", `CREATE TABLE t (k INTEGER PRIMARY KEY, ${rest}, UNIQUE (u))`, {
    key: number,
  }),
  table(
    "UNIQUE NOCASE pair",
    `CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, ${rest}, UNIQUE (u COLLATE NOCASE, w))`,
  ),
  table(
    "partial UNIQUE",
    `CREATE TABLE t (k TEXT PRIMARY KEY, ${rest}) WITHOUT ROWID;
     CREATE UNIQUE INDEX part ON t (u) WHERE w > 5 AND v IS NOT NULL`,
  ),
  table(
    "UNIQUE expression",
    `CREATE TABLE t (k INTEGER PRIMARY KEY, ${rest});
     CREATE UNIQUE INDEX "on, (" /* , ( */ ON "t" (lower(u) COLLATE RTRIM DESC, -- ,)
       CASE WHEN v = ',)"' THEN 1 ELSE coalesce(w, ')') END) WHERE "u" <> ''')('`,
    { key: number },
  ),
  table(
    "UNIQUE expression of the key",
    `CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, ${rest}); CREATE UNIQUE INDEX e ON t (upper(k)||u)`,
    { key: spelled },
  ),
  table(
    "UNIQUE generated column",
    `CREATE TABLE t (k INTEGER PRIMARY KEY, ${rest}, g AS (lower(u)) STORED UNIQUE, h AS (u || w))`,
    { key: number },
  ),
  table(
    "UNIQUE ON CONFLICT clauses",
    `CREATE TABLE t (k TEXT PRIMARY KEY ON CONFLICT REPLACE NOT NULL, u UNIQUE ON CONFLICT REPLACE,
      v CHECK (v <> 'bad'), w NOT NULL ON CONFLICT REPLACE DEFAULT 7)`,
  ),
  table(
    "ON CONFLICT IGNORE and FAIL",
    `CREATE TABLE t (k TEXT PRIMARY KEY ON CONFLICT FAIL NOT NULL, u UNIQUE ON CONFLICT IGNORE,
      v CHECK (v <> 'bad'), w NOT NULL DEFAULT 7)`,
  ),
  table(
    "two UNIQUE indexes, recursive triggers",
    `CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, ${rest}, UNIQUE (u)); CREATE UNIQUE INDEX two ON t (v)`,
    { pragma: "PRAGMA recursive_triggers = ON" },
  ),
];

const shapes: readonly Kind[] = [
  table(
    "STRICT with generated columns",
    `CREATE TABLE t (k INTEGER PRIMARY KEY, u ANY, v TEXT CHECK (v <> 'bad'), w INT NOT NULL DEFAULT 7,
      twice INT AS (w * 2), thrice INT AS (w * 3) STORED) STRICT`,
    { key: number },
  ),
  table(
    "names that look like SQL",
    `CREATE TABLE "t ""'"(";select" INTEGER PRIMARY KEY, "from" , "a""b" CHECK ("a""b" <> 'bad'),
      "v'--" NOT NULL DEFAULT 7, UNIQUE ("from"))`,
    {
      tables: [`t "'`],
      keys: [`";select"`],
      columns: { u: '"from"', v: '"a""b"', w: `"v'--"` },
      target: `"t ""'"`,
      key: number,
    },
  ),
  table(
    "100 columns",
    `CREATE TABLE t (k INTEGER PRIMARY KEY, ${rest}, ${Array.from({ length: 96 }, (_, i) => `c${i} DEFAULT ${i}`).join(", ")})`,
    {
      key: number,
      statements: ["UPDATE t SET c0 = 1, c4 = 'x', c50 = NULL, c95 = x'' WHERE k > 1"],
    },
  ),
  table("nothing but a key", "CREATE TABLE t (u, v, w, PRIMARY KEY (u, v, w)) WITHOUT ROWID", {
    keys: [],
    key: () => [],
  }),
];

const children = (action: string) => `CREATE TABLE c (id INTEGER PRIMARY KEY, p DEFAULT 3
  REFERENCES t ON DELETE ${action} ON UPDATE ${action}, deep REFERENCES c ON DELETE CASCADE)`;
const family = (action: string, more: Partial<Kind> = {}): Kind => ({
  ...table(
    `foreign keys with ${action}`,
    `CREATE TABLE t (k INTEGER PRIMARY KEY, ${rest}, UNIQUE (u))`,
  ),
  schema: `CREATE TABLE t (k INTEGER PRIMARY KEY, ${rest}, UNIQUE (u)); ${children(action)}`,
  pragma: "PRAGMA foreign_keys = ON",
  tables: ["t", "c"],
  key: number,
  extra: "DELETE FROM c; INSERT INTO c VALUES (1, 1, NULL), (2, 2, 1), (3, 3, 2), (4, NULL, 3)",
  ...more,
});

const unless = "WHEN NOT mergelite_merging()";
const audit = "CREATE TABLE audit (id INTEGER PRIMARY KEY, what)";
const triggers: Readonly<Record<string, string>> = {
  "AFTER UPDATE": `AFTER UPDATE OF v ON t ${unless} BEGIN UPDATE t SET w = w + 1 WHERE k = NEW.k; END`,
  "BEFORE UPDATE": `BEFORE UPDATE OF v ON t ${unless} BEGIN UPDATE t SET w = w + 1, u = OLD.v WHERE k = NEW.k; END`,
  "AFTER INSERT": `AFTER INSERT ON t ${unless} BEGIN UPDATE t SET w = 5 WHERE k = NEW.k;
    INSERT OR IGNORE INTO t (k, u, w) VALUES (NEW.k || 'x', NEW.u || 'x', 0); END`,
  "BEFORE INSERT": `BEFORE INSERT ON t ${unless} BEGIN UPDATE t SET u = NEW.u WHERE k = 'd';
    DELETE FROM t WHERE k = NEW.k; END`,
  "BEFORE DELETE": `BEFORE DELETE ON t ${unless} BEGIN UPDATE t SET v = 'going' WHERE k <> OLD.k; END`,
  "AFTER DELETE": `AFTER DELETE ON t ${unless} BEGIN INSERT OR REPLACE INTO t (k, v) VALUES (OLD.k, 'back'); END`,
  "RAISE(IGNORE)": `BEFORE INSERT ON t WHEN NEW.k = 'f' AND NOT mergelite_merging() BEGIN SELECT raise(IGNORE); END`,
  auditing: `AFTER UPDATE ON t ${unless} BEGIN INSERT INTO audit (what) VALUES (OLD.k || NEW.k || NEW.w); END`,
};

const made = {
  before: (body: string) => ({ schema: `; CREATE TRIGGER mine ${body}` }),
  after: (body: string) => ({ late: `CREATE TRIGGER mine ${body}` }),
  temporary: (body: string) => ({ late: `CREATE TEMP TRIGGER mine ${body}` }),
};

const withTriggers: readonly Kind[] = ["OFF", "ON"].flatMap((recursive) =>
  Object.entries(triggers).flatMap(([what, body]) =>
    Object.entries(made).flatMap(([when, where]): Kind[] => {
      // A trigger that updates its own table would call itself without end.
      if (recursive === "ON" && !["auditing", "BEFORE INSERT", "RAISE(IGNORE)"].includes(what)) {
        return [];
      }
      const { schema = "", late } = where(body) as { schema?: string; late?: string };
      return [
        {
          name: `trigger ${what} made ${when}, recursive ${recursive}`,
          pragma: `PRAGMA recursive_triggers = ${recursive}`,
          schema: `CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, ${rest}, UNIQUE (u)); ${audit}${schema}`,
          ...(late === undefined ? {} : { late }),
          tables: ["t", "audit"],
          keys: ["k"],
          key: letter,
          extra: "DELETE FROM audit",
        },
      ];
    }),
  ),
);

const view: Kind = {
  name: "INSTEAD OF triggers on a view",
  schema: `CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, ${rest}, UNIQUE (u));
    CREATE VIEW seen AS SELECT k, u, v, w FROM t;
    CREATE TRIGGER i INSTEAD OF INSERT ON seen BEGIN
      INSERT INTO t (k, u, v) VALUES (NEW.k, NEW.u, NEW.v); END;
    CREATE TRIGGER u INSTEAD OF UPDATE ON seen BEGIN
      UPDATE t SET k = NEW.k, u = NEW.u, v = NEW.v WHERE k = OLD.k; END;
    CREATE TRIGGER d INSTEAD OF DELETE ON seen BEGIN DELETE FROM t WHERE k = OLD.k; END`,
  tables: ["t"],
  target: "seen",
  keys: ["k"],
  key: letter,
  noUpsert: true,
};

export const kinds: readonly Kind[] = [
  ...plainKeys,
  ...uniques,
  ...shapes,
  family("CASCADE"),
  family("SET NULL"),
  family("SET DEFAULT"),
  family("CASCADE", {
    name: "foreign keys with CASCADE, recursive triggers",
    pragma: "PRAGMA foreign_keys = ON; PRAGMA recursive_triggers = ON",
  }),
  ...withTriggers,
  view,
];
