/** Migrations up and down, the classic companion, and peers that stand at different versions. */
import Database from "better-sqlite3";
import { afterEach, expect, test } from "vitest";
import { attach } from "../../src/attach.ts";
import type { Replica } from "../../src/replica.ts";
import type { Migration as AnyMigration } from "../../src/schema/migrate.ts";
import { memoryPair } from "../../src/transport/memory.ts";
import { temporaryFolder } from "../support/folder.ts";

type Migration = AnyMigration<Database.Database>;

const folder = temporaryFolder();
const open: { db: Database.Database; replica: Replica }[] = [];

afterEach(async () => {
  for (const { db, replica } of open.splice(0)) {
    await replica.close();
    db.close();
  }
});

const reserved =
  "_patchedAt INTEGER NOT NULL, _sequenceId INTEGER NOT NULL, _peerId INTEGER NOT NULL";
const first: Migration = {
  up: `CREATE TABLE person (id INTEGER PRIMARY KEY, first TEXT, last TEXT) STRICT;
    CREATE TABLE person_patches (${reserved}, id INTEGER, first TEXT, last TEXT) STRICT;
    CREATE TABLE local (id INTEGER PRIMARY KEY)`,
  down: "DROP TABLE person_patches; DROP TABLE person; DROP TABLE local",
};
const full: Migration = {
  up: `ALTER TABLE person ADD COLUMN full TEXT; ALTER TABLE person_patches ADD COLUMN full TEXT;
    UPDATE person SET full = first || ' ' || last`,
  down: "ALTER TABLE person DROP COLUMN full; ALTER TABLE person_patches DROP COLUMN full",
};
const renamed: Migration = {
  up: (db) => {
    db.exec("ALTER TABLE person RENAME COLUMN first TO given");
  },
  down: "ALTER TABLE person RENAME COLUMN given TO first",
};

function peer(
  migrations: readonly Migration[],
  prepare?: (db: Database.Database) => void,
): { db: Database.Database; replica: Replica } {
  const db = new Database(folder.file());
  db.pragma("journal_mode = WAL");
  prepare?.(db);
  const replica = attach(db, { watchFile: false });
  open.push({ db, replica });
  replica.migrate(migrations);
  return { db, replica };
}

const rows = ({ db }: { db: Database.Database }) => db.prepare("SELECT * FROM person").all();
const held = ({ replica }: { replica: Replica }) => replica.vector()[0]?.held;

async function exchange(...peers: { replica: Replica }[]): Promise<void> {
  for (const [i, one] of peers.entries()) {
    for (const other of peers.slice(i + 1)) {
      const [left, right] = memoryPair();
      const links = [one.replica.connect(left), other.replica.connect(right)];
      await Promise.all([one.replica.synced(), other.replica.synced()]);
      await Promise.all(links.map((link) => link.close()));
    }
  }
}

test("steps run once, up and down, and are recorded", () => {
  const here = peer([first, full]);
  expect(here.replica.tables()).toEqual(["person"]);
  here.db.exec("INSERT INTO person VALUES (1, 'Ada', 'Lovelace', NULL)");
  expect(here.replica.migrate([first, full, renamed])).toEqual({ from: 2, to: 3 });
  expect(here.replica.migrate([first, full, renamed])).toEqual({ from: 3, to: 3 });
  expect(rows(here)).toEqual([{ id: 1, given: "Ada", last: "Lovelace", full: null }]);
  expect(here.replica.migrate([first, full, renamed], { to: 1 })).toEqual({ from: 3, to: 1 });
  expect(rows(here)).toEqual([{ id: 1, first: "Ada", last: "Lovelace" }]);
  here.db.exec("UPDATE person SET last = 'King'");
  expect(here.db.prepare("SELECT last FROM person_patches WHERE _op = 'update'").all()).toEqual([
    { last: "King" },
  ]);
  expect(here.replica.migrate([first], { to: 0 })).toEqual({ from: 1, to: 0 });
  expect(here.replica.tables()).toEqual([]);
});

test("a driver that gives bigints is told of the versions as well", () => {
  const here = peer([first]);
  here.db.defaultSafeIntegers(true);
  expect(here.replica.migrate([first, full])).toEqual({ from: 1, to: 2 });
  expect(here.replica.migrate([first, full], { to: 0 })).toEqual({ from: 2, to: 0 });
});

test("a step that another process makes in the meantime is not made again", () => {
  const here = peer([]);
  const db = new Database(here.db.name);
  const there = { db, replica: attach(db, { watchFile: false }) };
  open.push(there);
  const after = (
    migration: Migration,
    others: Migration[],
    options: { to?: number },
  ): Migration => ({
    ...migration,
    // Asked for when what is applied has been read, and the step has not begun.
    get renames() {
      there.replica.migrate(others, options);
      return {};
    },
  });
  const steps = [first, full];
  expect(here.replica.migrate([after(first, steps, {}), full])).toEqual({ from: 0, to: 2 });
  here.db.exec("INSERT INTO person VALUES (1, 'Ada', 'Lovelace', NULL)");
  expect(rows(here)).toHaveLength(1);
  const down = [first, after(full, steps, { to: 1 })];
  expect(here.replica.migrate(down, { to: 1 })).toEqual({ from: 2, to: 1 });
  expect(rows(there)).toEqual([{ id: 1, first: "Ada", last: "Lovelace" }]);
  const other = { ...full, up: `${full.up as string};` };
  const late = [first, after(full, [first, other], {})];
  expect(() => here.replica.migrate(late)).toThrow(
    expect.objectContaining({ code: "MIGRATION_CHANGED" }),
  );
  expect(here.replica.tables()).toEqual(["person"]);
});

test("a changed text, an unknown version and a wrong order are errors", () => {
  const here = peer([first, full]);
  const code = (code: string) => expect.objectContaining({ code, hint: expect.any(String) });
  const changed = { ...full, up: `${full.up as string};` };
  expect(() => here.replica.migrate([first, changed])).toThrow(code("MIGRATION_CHANGED"));
  expect(() => here.replica.migrate([first])).toThrow(code("MIGRATION_CHANGED"));
  expect(() => here.replica.migrate([first, full], { to: 7 })).toThrow(code("INVALID_OPTION"));
  expect(() => here.replica.migrate([{ ...first, version: 2 }, full])).toThrow(
    code("INVALID_OPTION"),
  );
  // What this program does not know is undone as it was recorded.
  expect(here.replica.migrate([first], { to: 1 })).toEqual({ from: 2, to: 1 });
  expect(rows(here)).toEqual([]);
});

test("a step that fails leaves nothing", () => {
  const here = peer([first]);
  here.db.exec("INSERT INTO person VALUES (1, 'Ada', 'Lovelace')");
  const before = here.db.prepare("SELECT name, sql FROM sqlite_schema").all();
  const failing = [
    `${full.up as string}; SELECT no_such_function()`,
    "COMMIT",
    "CREATE TABLE x (id INTEGER PRIMARY KEY); CREATE TABLE x_patches (_peerId)",
    "ROLLBACK",
    () => Promise.resolve() as never,
  ];
  for (const up of failing) {
    expect(() => here.replica.migrate([first, { up }])).toThrow(/MIGRATION|migration|companion/);
    expect(here.db.prepare("SELECT name, sql FROM sqlite_schema").all()).toEqual(before);
    here.replica.poll();
    here.db.exec("UPDATE person SET first = first || '!'");
  }
});

test.each([
  "UPDATE person SET last = upper(last)",
  "DELETE FROM person",
  "INSERT INTO person VALUES (2, 'b', 'b')",
  "REPLACE INTO person VALUES (1, 'b', 'b')",
])("a step must not write what peers would not agree on: %s", (up) => {
  const here = peer([first]);
  here.db.exec("INSERT INTO person VALUES (1, 'Ada', 'Lovelace')");
  expect(() => here.replica.migrate([first, { up }])).toThrow(
    expect.objectContaining({ code: "MIGRATION_WRITES" }),
  );
  expect(rows(here)).toEqual([{ id: 1, first: "Ada", last: "Lovelace" }]);
});

test("rows of a classic companion give the table's rows their age", async () => {
  const at = (Date.UTC(2025, 5, 1) - Date.UTC(2025, 0, 1)) * 8192;
  const prepare = (last: string, patchedAt: number) => (db: Database.Database) => {
    db.exec(first.up as string);
    db.exec(`INSERT INTO person VALUES (1, 'Ada', '${last}'), (2, 'Bea', 'B')`);
    db.exec(`INSERT INTO person_patches VALUES (${patchedAt}, 1, 77, 1, 'Ada', '${last}')`);
  };
  const older = peer([], prepare("Lovelace", at));
  const newer = peer([], prepare("King", at + 8));
  expect(older.replica.tables()).toEqual(["person"]);
  expect(() => older.db.exec("INSERT INTO person_patches (id) VALUES (1)")).toThrow();
  await exchange(older, newer);
  expect(rows(older)).toEqual(rows(newer));
  expect(rows(older)[0]).toEqual({ id: 1, first: "Ada", last: "King" });
  expect(older.db.prepare("SELECT _patchedAt FROM person_patches WHERE id = 2").get()).toEqual({
    _patchedAt: 1,
  });
});

test("a companion that does not fit is refused, and told what it should be", () => {
  const db = new Database(folder.file());
  db.exec(`CREATE TABLE person (id INTEGER PRIMARY KEY, first TEXT);
    CREATE TABLE person_patches (${reserved}, id INTEGER, name TEXT);
    CREATE TABLE note (id INTEGER PRIMARY KEY); CREATE TABLE note_patches (anything)`);
  expect(() => attach(db)).toThrow(
    expect.objectContaining({
      code: "COMPANION_MALFORMED",
      message: expect.stringContaining('_peerId INTEGER NOT NULL, "id", "first"'),
    }),
  );
  db.exec("DROP TABLE person_patches");
  const replica = attach(db);
  expect(replica.tables()).toEqual([]);
  open.push({ db, replica });
});

test("peers at different versions sync, and agree when all are at one", async () => {
  const here = peer([first, full, renamed]);
  const there = peer([first]);
  here.db.exec("INSERT INTO person VALUES (1, 'Ada', 'Lovelace', 'Ada L.')");
  there.db.exec("INSERT INTO person VALUES (2, 'Bea', 'B'), (3, 'Cay', 'C')");
  await exchange(here, there);
  expect(rows(here)[1]).toEqual({ id: 2, given: "Bea", last: "B", full: null });
  expect(rows(there)[0]).toEqual({ id: 1, first: null, last: "Lovelace" });
  here.db.exec("UPDATE person SET full = 'written', given = 'Bee' WHERE id = 2");
  there.db.exec("UPDATE person SET first = 'Cee' WHERE id = 3");
  await exchange(here, there);
  // Under the old name it shows at once; under the new one it waits for the step.
  expect(rows(here)[2]).toMatchObject({ id: 3, given: "Cee" });
  expect(rows(there)[1]).toEqual({ id: 2, first: "Bea", last: "B" });
  there.replica.migrate([first, full, renamed]);
  await exchange(here, there);
  await expect.poll(() => rows(there)).toEqual(rows(here));
  // What was written wins against what a step fills in; what nobody wrote is filled in for all.
  expect(rows(here)).toEqual([
    { id: 1, given: "Ada", last: "Lovelace", full: "Ada L." },
    { id: 2, given: "Bee", last: "B", full: "written" },
    { id: 3, given: "Cee", last: "C", full: "Cee C" },
  ]);
  there.replica.migrate([first, full, renamed], { to: 1 });
  there.db.exec(
    "INSERT INTO person VALUES (4, 'Dee', 'D'); UPDATE person SET last = 'X' WHERE id = 1",
  );
  here.db.exec("UPDATE person SET full = 'later', given = 'Cie' WHERE id = 3");
  await exchange(here, there);
  // A peer that was there before knows the new name, too.
  expect(rows(there)[2]).toEqual({ id: 3, first: "Cie", last: "C" });
  there.replica.migrate([first, full, renamed]);
  await exchange(here, there);
  await expect.poll(() => rows(there)).toEqual(rows(here));
  expect(rows(here)[2]).toEqual({ id: 3, given: "Cie", last: "C", full: "later" });
});

test("columns are added to many rows without a row written or logged", () => {
  const here = peer([first]);
  here.db.exec(
    "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) " +
      "INSERT INTO person SELECT i, 'a', 'b' FROM n",
  );
  const before = held(here);
  const frames = () => {
    const [{ log }] = here.db.pragma("wal_checkpoint(TRUNCATE)") as [{ log: number }];
    return log;
  };
  frames();
  here.db.pragma("wal_autocheckpoint = 0");
  const steps = [
    "ALTER TABLE person ADD COLUMN x TEXT",
    "ALTER TABLE person ADD COLUMN y INTEGER NOT NULL DEFAULT 1",
  ];
  here.replica.migrate([first, ...steps.map((up) => ({ up }))]);
  here.db.exec("ALTER TABLE person ADD COLUMN z BLOB");
  expect(held(here)).toBe(before);
  expect((here.db.pragma("wal_checkpoint(NOOP)") as [{ log: number }])[0].log).toBeLessThan(200);
});
