/** Capture beside foreign keys and the user's own triggers, which may run before ours and after. */
import { describe, expect, it } from "vitest";
import { everyWay, pair } from "../support/pair.ts";
import { converge, dump, maintainAll, openRaw, progressOf } from "../support/replica.ts";

describe("foreign keys and triggers", () => {
  it("captures cascades, SET NULL and SET DEFAULT", () => {
    const schema = `PRAGMA foreign_keys = ON;
      CREATE TABLE parent (id INTEGER PRIMARY KEY, v);
      CREATE TABLE cascading (id INTEGER PRIMARY KEY, p REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE);
      CREATE TABLE nulled (id TEXT PRIMARY KEY, p REFERENCES parent ON DELETE SET NULL ON UPDATE SET NULL);
      CREATE TABLE reset (id INTEGER PRIMARY KEY, p DEFAULT 1 REFERENCES parent ON DELETE SET DEFAULT)`;
    everyWay(
      schema,
      ["parent", "cascading", "nulled", "reset"],
      [
        "INSERT INTO parent VALUES (1, 1), (2, 2), (3, 3)",
        "INSERT INTO cascading VALUES (1, 1), (2, 2), (3, 3); INSERT INTO nulled VALUES ('a', 1), ('b', 2), ('c', 3); INSERT INTO reset VALUES (1, 1), (2, 2), (3, 3)",
        "UPDATE parent SET id = 9 WHERE id = 2",
        "DELETE FROM parent WHERE id = 3",
        "INSERT INTO cascading VALUES (7, 77)",
        "DELETE FROM parent WHERE id = 1",
        "DELETE FROM reset; DELETE FROM parent",
      ],
    );
  });

  const touching = (when: string) =>
    `CREATE TRIGGER touch_${when.split(" ")[0]} ${when} ON t WHEN NOT mergelite_merging()`;
  it.each([
    [
      "after update",
      `${touching("AFTER UPDATE OF a")} BEGIN UPDATE t SET n = n + 1 WHERE id = NEW.id; END`,
    ],
    [
      "before update",
      `${touching("BEFORE UPDATE OF a")} BEGIN UPDATE t SET n = n + 1, b = OLD.a WHERE id = NEW.id; END`,
    ],
    [
      "after insert",
      `${touching("AFTER INSERT")} BEGIN UPDATE t SET n = 5 WHERE id = NEW.id; INSERT OR IGNORE INTO t VALUES (NEW.id + 100, NEW.a, 0, 0); END`,
    ],
    ["before insert", `${touching("BEFORE INSERT")} BEGIN DELETE FROM t WHERE id = NEW.id; END`],
    [
      "before delete",
      `${touching("BEFORE DELETE")} BEGIN UPDATE t SET a = 'going' WHERE id <> OLD.id; END`,
    ],
    [
      "after delete",
      `${touching("AFTER DELETE")} BEGIN INSERT INTO t VALUES (OLD.id, 'back', 1, 1); END`,
    ],
  ])("captures what a trigger %s makes of a row", (_, trigger) => {
    const schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, a, n DEFAULT 0, b)";
    const steps = [
      "INSERT INTO t (id, a) VALUES (1, 'x'), (2, 'y')",
      "UPDATE t SET a = 'z' WHERE id = 1",
      "UPDATE t SET a = 'z', n = 40, b = 'b'",
      "INSERT OR REPLACE INTO t (id, a) VALUES (1, 'again')",
      "UPDATE t SET id = 50 WHERE id = 2",
      "DELETE FROM t WHERE id = 1",
      "INSERT OR IGNORE INTO t (id, a) VALUES (3, 'w'); UPDATE t SET a = 'v' WHERE id = 3; DELETE FROM t WHERE id = 3",
    ];
    // Made before replication, so that it fires after our triggers.
    everyWay(`${schema};${trigger}`, ["t"], steps);
    // Made afterwards, and as a temporary one.
    for (const late of [trigger, trigger.replace("CREATE TRIGGER", "CREATE TEMP TRIGGER")]) {
      const both = pair(schema, ["t"]);
      both.step("INSERT INTO t VALUES (77, 'before the trigger', 0, 0)");
      both.step(late);
      for (const sql of steps) both.step(sql);
      both.step("BEGIN");
      for (const sql of steps) both.step(sql);
      both.step("COMMIT");
    }
  });

  it("follows triggers that write other tables, with recursive_triggers ON as well", () => {
    for (const recursive of ["ON", "OFF"]) {
      everyWay(
        `PRAGMA recursive_triggers = ${recursive};
         CREATE TABLE t (id INTEGER PRIMARY KEY, u UNIQUE);
         CREATE TABLE audit (id INTEGER PRIMARY KEY, what);
         CREATE TRIGGER t_gone AFTER DELETE ON t WHEN NOT mergelite_merging() BEGIN INSERT INTO audit (what) VALUES ('gone ' || OLD.u); END;
         CREATE TRIGGER t_new AFTER INSERT ON t WHEN NOT mergelite_merging() BEGIN INSERT INTO audit (what) VALUES ('new ' || NEW.u); END`,
        ["t", "audit"],
        [
          "INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')",
          "REPLACE INTO t VALUES (2, 'a')",
          "UPDATE OR REPLACE t SET u = 'c' WHERE id = 2",
          "DELETE FROM t",
        ],
      );
    }
  });

  it("fails the statement, not the transaction, when a trigger raises", () => {
    const both = pair(
      `CREATE TABLE t (id INTEGER PRIMARY KEY, a);
       CREATE TRIGGER no BEFORE UPDATE ON t WHEN NEW.a = 'no' AND NOT mergelite_merging() BEGIN SELECT raise(ABORT, 'no'); END;
       CREATE TRIGGER halt AFTER UPDATE ON t WHEN NEW.a = 'halt' AND NOT mergelite_merging() BEGIN SELECT raise(FAIL, 'halt'); END`,
      ["t"],
    );
    both.step("INSERT INTO t VALUES (1, 1), (2, 2), (3, 3)");
    both.step("BEGIN; UPDATE t SET a = 'yes' WHERE id = 1");
    expect(both.step("UPDATE t SET a = iif(id = 3, 'no', 'lost')")).toBe(
      "SQLITE_CONSTRAINT_TRIGGER",
    );
    expect(both.step("UPDATE t SET a = iif(id = 2, 'halt', 'kept')")).toBe(
      "SQLITE_CONSTRAINT_TRIGGER",
    );
    both.step("COMMIT");
    expect(both.there.db.prepare("SELECT a FROM t ORDER BY id").pluck().all()).toEqual([
      "kept",
      "halt",
      3,
    ]);
  });

  it("keeps what a trigger made of a row before a savepoint, after a large part is undone", () => {
    const both = pair("CREATE TABLE t (id INTEGER PRIMARY KEY, a)", ["t"]);
    both.step(
      "CREATE TEMP TRIGGER early AFTER INSERT ON t BEGIN UPDATE t SET a = 1 WHERE id = NEW.id; END",
    );
    both.step("BEGIN; INSERT INTO t VALUES (1, 'x'); SAVEPOINT s");
    both.step("INSERT INTO t VALUES (2, zeroblob(1100000))");
    both.step("ROLLBACK TO s; COMMIT");
    expect(both.there.db.prepare("SELECT * FROM t").raw().all()).toEqual([[1, 1]]);
  });

  it("keeps the spelling of a key that a trigger changes", () => {
    everyWay(
      `CREATE TABLE t (k TEXT COLLATE NOCASE PRIMARY KEY, v);
       CREATE TRIGGER spell AFTER INSERT ON t WHEN NOT mergelite_merging() BEGIN UPDATE t SET k = upper(k) WHERE k = NEW.k; END`,
      ["t"],
      [
        "INSERT INTO t VALUES ('a', 1), ('b', 1)",
        "UPDATE t SET k = 'b', v = 2 WHERE k = 'b'",
        "REPLACE INTO t VALUES ('a', 3)",
      ],
    );
  });
});

describe("while merging", () => {
  const table = (name: string) => `CREATE TABLE ${name} (id INTEGER PRIMARY KEY, a, n DEFAULT 0)`;
  const schema = `${table("t")}; ${table("other")}; ${table("aside")};
    CREATE TRIGGER made AFTER INSERT ON t BEGIN
      INSERT INTO other VALUES (NEW.id, 'made', random()); INSERT INTO aside (a) VALUES (NEW.a); END;
    CREATE TRIGGER touched AFTER UPDATE OF a ON t BEGIN
      UPDATE t SET n = n + 1 WHERE id = NEW.id; UPDATE other SET n = random(); END`;

  it("makes void what triggers insert into and update in replicated tables, and nothing else", () => {
    const tables = ["t", "other"];
    const [here, there] = [
      openRaw(":memory:", schema, tables),
      openRaw(":memory:", schema, tables),
    ];
    try {
      here.db.exec("INSERT INTO t (id, a) VALUES (1, 'x'), (2, 'y'); UPDATE t SET a = 'z'");
      converge([here, there]);
      there.db.exec("UPDATE t SET a = 'w' WHERE id = 1; INSERT INTO t (id, a) VALUES (3, 'v')");
      converge([here, there]);
      for (const name of tables) expect(dump(there.db, name)).toEqual(dump(here.db, name));
      expect(here.db.prepare("SELECT id, a, n FROM t").raw().all()).toEqual([
        [1, "w", 2],
        [2, "z", 1],
        [3, "v", 0],
      ]);
      // Tables that are not replicated get what the triggers write, on every peer.
      const aside = [here, there].map(({ db }) => db.prepare("SELECT a FROM aside").pluck().all());
      expect(aside).toEqual([
        ["x", "y", "v"],
        ["x", "y", "v"],
      ]);
      expect(progressOf(there).map(({ held, merged }) => held === merged)).toEqual([true, true]);
    } finally {
      for (const { db } of [here, there]) db.close();
    }
  });

  it.each(["IGNORE", "ABORT, 'no'", "FAIL, 'no'", "ROLLBACK, 'no'"])(
    "gives a trigger that says RAISE(%s) no say in what is shown",
    (raise) => {
      const plain = `${table("t")}; ${table("other")}`;
      const vetoes = ["INSERT", "UPDATE", "DELETE"].flatMap((what) =>
        ["BEFORE", "AFTER"].map(
          (when) =>
            `CREATE TRIGGER ${when}_${what} ${when} ${what} ON t BEGIN SELECT raise(${raise}); END`,
        ),
      );
      const tables = ["t", "other"];
      const [here, there] = [
        openRaw(":memory:", plain, tables),
        openRaw(":memory:", plain, tables),
      ];
      there.db.exec(vetoes.join(";"));
      try {
        here.db.exec("INSERT INTO t (id, a) VALUES (1, 'x'), (2, 'y'), (3, 'z')");
        converge([here, there]);
        expect(dump(there.db, "t")).toEqual(dump(here.db, "t"));
        here.db.exec("UPDATE t SET a = 'new' WHERE id = 1; DELETE FROM t WHERE id = 2");
        here.db.exec(
          "INSERT OR REPLACE INTO t VALUES (3, 'replaced', 3); INSERT INTO other (id) VALUES (1)",
        );
        converge([here, there]);
        for (const name of tables) expect(dump(there.db, name)).toEqual(dump(here.db, name));
        expect(there.db.prepare("SELECT * FROM _mergelite_parked").all()).toEqual([]);
        // What is written here, they may refuse as ever.
        const refused = () => there.db.exec("DELETE FROM t WHERE id = 1");
        if (raise === "IGNORE") refused();
        else expect(refused).toThrow("no");
        expect(there.db.prepare("SELECT count(*) FROM t").pluck().get()).toBe(2);
      } finally {
        for (const { db } of [here, there]) db.close();
      }
    },
  );
});

it("shows rows that a trigger fails for, and runs it for the others", () => {
  const plain = "CREATE TABLE t (id INTEGER PRIMARY KEY, a, b UNIQUE CHECK (b <> 'odd'))";
  const [here, there] = [0, 1].map(() => openRaw(":memory:", plain, ["t"]));
  if (here === undefined || there === undefined) return;
  there.db.exec(`
    CREATE TABLE seen (a UNIQUE);
    CREATE TRIGGER once AFTER INSERT ON t BEGIN INSERT INTO seen VALUES (NEW.a); END;
    CREATE TRIGGER odd BEFORE INSERT ON t WHEN NEW.id > 20 AND NEW.id < 60 BEGIN
      SELECT raise(ROLLBACK, 'odd');
    END;
    CREATE TRIGGER sum AFTER UPDATE ON t BEGIN
      SELECT CASE NEW.a WHEN 'overflow' THEN abs(-9223372036854775808) END;
    END;
    CREATE TRIGGER gone AFTER DELETE ON t WHEN OLD.id = 40 BEGIN SELECT raise(ROLLBACK, 'x'); END`);
  try {
    here.db.exec("PRAGMA ignore_check_constraints = ON");
    const insert = here.db.prepare("INSERT INTO t VALUES (?, ?, ?)");
    // In one transaction, and more rows that fail than are tried one by one.
    here.db.transaction(() => {
      for (let i = 0; i < 60; i++) insert.run(i, i < 20 ? i : "same", i === 30 ? "odd" : i);
    })();
    converge([here, there]);
    expect(dump(there.db, "t")).toEqual(dump(here.db, "t"));
    for (const id of [100, 102]) insert.run(id, "later", id);
    here.db.exec("UPDATE t SET a = 'overflow' WHERE id = 1; DELETE FROM t WHERE id = 40");
    here.db.exec("INSERT INTO t VALUES (101, 'last', 'last')");
    converge([here, there]);
    expect(dump(there.db, "t")).toEqual(dump(here.db, "t"));
    const parked = "SELECT reason FROM _mergelite_parked";
    expect(there.db.prepare(parked).pluck().all()).toEqual(["check"]);
    const seen = there.db.prepare("SELECT a FROM seen WHERE typeof(a) = 'text'").pluck().all();
    expect(seen).toEqual(["later", "last"]);
  } finally {
    for (const { db } of [here, there]) db.close();
  }
});

it("captures a row that a younger trigger leaves by failing under OR FAIL", () => {
  const both = pair("CREATE TABLE t (id INTEGER PRIMARY KEY, a)", ["t"]);
  both.here.db.exec(
    `CREATE TRIGGER late AFTER INSERT ON t WHEN NOT mergelite_merging()
     BEGIN SELECT raise(FAIL, 'late') WHERE NEW.a = 'no'; END`,
  );
  // In memory there is no WAL, whose commits make our triggers the youngest again.
  maintainAll(both.here);
  expect(both.step("INSERT INTO t VALUES (1, 'yes'), (2, 'no'), (3, 'never')")).toBeDefined();
  expect(both.there.db.prepare("SELECT a FROM t").pluck().all()).toEqual(["yes", "no"]);
});
