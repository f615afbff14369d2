/**
 * Peers that upgrade and downgrade at any moment, while they write and hear of each other, agree
 * once all are at one version, having been at all that others were. For more:
 * `PROPERTY_RUNS=100000 npx vitest run test/property/migrate`.
 */
import Database from "better-sqlite3";
import fc from "fast-check";
import { expect, it } from "vitest";
import { native } from "../../src/native.ts";
import { type Migration, type MigrationHost, migrate } from "../../src/schema/migrate.ts";
import {
  attachRaw,
  converge,
  dump,
  maintainAll,
  pull,
  type RawReplica,
} from "../support/replica.ts";
import { unlimited } from "../support/unlimited.ts";

const runs = Math.ceil(Number(process.env.PROPERTY_RUNS ?? 400) / 4);
const seed = Number(process.env.PROPERTY_SEED ?? 1);

const migrations: readonly Migration[] = [
  {
    up: `CREATE TABLE t (id INTEGER PRIMARY KEY, a, b DEFAULT 'b');
      CREATE VIRTUAL TABLE t_patches USING mergelite(t)`,
  },
  {
    up: "ALTER TABLE t ADD COLUMN c NOT NULL DEFAULT 'c'; UPDATE t SET c = coalesce(a, 'none') || id",
    down: "ALTER TABLE t DROP COLUMN c",
  },
  { up: "ALTER TABLE t RENAME COLUMN a TO x", down: "ALTER TABLE t RENAME COLUMN x TO a" },
  { up: "ALTER TABLE t DROP COLUMN b", down: "ALTER TABLE t ADD COLUMN b DEFAULT 'b'" },
  { up: "ALTER TABLE t RENAME TO u", down: "ALTER TABLE u RENAME TO t" },
  {
    up: "ALTER TABLE u RENAME COLUMN id TO number; ALTER TABLE u ADD COLUMN d; UPDATE u SET d = c || 'd'",
    down: "ALTER TABLE u DROP COLUMN d; ALTER TABLE u RENAME COLUMN number TO id",
  },
];

const small = fc.nat({ max: 5 });
const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("write" as const),
      at: small,
      kind: small,
      key: small,
      column: small,
      value: small,
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("pull" as const), at: small, from: small }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("migrate" as const),
      at: small,
      to: fc.integer({ min: 1, max: migrations.length }),
    }),
  },
);
const history = fc.record({
  peers: fc.integer({ min: 2, max: 3 }),
  steps: fc.array(step, { minLength: 1, maxLength: 40, size: "max" }),
  last: fc.integer({ min: 1, max: migrations.length }),
});

/** The order of columns is not the same for those that were added again. */
function sortedDump(db: Database.Database, table: string): string[] {
  const names = db.prepare(`SELECT name FROM pragma_table_info('${table}') ORDER BY name`).pluck();
  db.exec(`CREATE TEMP VIEW sorted AS SELECT ${names.all().join(", ")} FROM ${table}`);
  const rows = dump(db, "sorted");
  db.exec("DROP VIEW temp.sorted");
  return rows;
}

interface Peer extends RawReplica {
  host: MigrationHost;
}

function open(): Peer {
  const db = new Database(":memory:");
  const { handle, peerId } = attachRaw(db);
  const host: MigrationHost = {
    db,
    nowMs: () => 0,
    step(renames, work) {
      native.beginStep(handle, renames);
      try {
        work();
      } catch (error) {
        native.abandonStep(handle);
        throw error;
      }
      native.commitStep(handle);
    },
  };
  migrate(host, migrations, { to: 1 });
  return { db, handle, peerId, host };
}

function write(
  { db }: Peer,
  { kind, key, column, value }: { kind: number; key: number; column: number; value: number },
): void {
  const names = "SELECT name FROM sqlite_schema WHERE name IN ('t', 'u')";
  const table = String(db.prepare(names).pluck().get());
  const columns = db.prepare(`SELECT name FROM pragma_table_info('${table}')`).pluck().all();
  const [id = "", ...others] = columns as string[];
  const one = others[column % others.length] ?? "";
  const statements = [
    `INSERT OR REPLACE INTO ${table} (${id}) VALUES (${key})`,
    `INSERT OR IGNORE INTO ${table} (${id}, ${one}) VALUES (${key}, ${value})`,
    `UPDATE ${table} SET ${one} = ${value} WHERE ${id} = ${key}`,
    `UPDATE ${table} SET ${one} = ${value}`,
    `DELETE FROM ${table} WHERE ${id} = ${key}`,
    `INSERT INTO ${table} (${id}) VALUES (${key}) ON CONFLICT DO UPDATE SET ${one} = ${value}`,
  ];
  db.exec(statements[kind % statements.length] ?? "");
}

function run({
  peers: count,
  steps,
  last,
}: typeof history extends fc.Arbitrary<infer T> ? T : never): void {
  const peers = Array.from({ length: count }, open);
  const at = (number: number) => peers[number % count] as Peer;
  let now = Date.UTC(2026, 0, 1);
  try {
    for (const one of steps) {
      now += one.at % 2;
      for (const { handle } of peers) native.setClock(handle, now);
      if (one.do === "write") write(at(one.at), one);
      if (one.do === "migrate") migrate(at(one.at).host, migrations, { to: one.to });
      if (one.do === "pull" && at(one.at) !== at(one.from)) {
        pull(at(one.from), at(one.at));
        maintainAll(at(one.at));
      }
    }
    // A peer learns what others have renamed when it goes through that version itself.
    const been = steps.map((one) => (one.do === "migrate" ? one.to : 1));
    for (const to of [Math.max(last, ...been), last]) {
      for (const { host } of peers) migrate(host, migrations, { to });
      converge(peers);
      const [first, ...others] = peers.map(({ db }) => sortedDump(db, to >= 5 ? "u" : "t"));
      for (const other of others) expect(other).toEqual(first);
    }
    for (const { db } of peers) {
      const stuck = db.prepare(
        "SELECT reason FROM _mergelite_parked WHERE reason IN ('table', 'key')",
      );
      expect(stuck.all()).toEqual([]);
    }
  } finally {
    for (const { db } of peers) db.close();
  }
}

/** Down again before what was parked has come back: what the step had computed is not a write. */
const upAndDown: (typeof history extends fc.Arbitrary<infer T> ? T : never)["steps"] = [
  { do: "write", at: 0, kind: 0, key: 1, column: 0, value: 0 },
  { do: "migrate", at: 0, to: 2 },
  { do: "write", at: 0, kind: 2, key: 1, column: 0, value: 0 },
  { do: "migrate", at: 0, to: 1 },
  { do: "migrate", at: 0, to: 2 },
  { do: "migrate", at: 0, to: 1 },
];

it(`converges in ${runs} histories of mixed schemas`, { timeout: unlimited }, () => {
  fc.assert(fc.property(history, run), {
    numRuns: runs,
    seed,
    examples: [[{ peers: 2, steps: upAndDown, last: 1 }]],
  });
});
