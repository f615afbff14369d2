/** Digests of key ranges: kept up to date by what changes, and by nothing else. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { native } from "../../src/native.ts";
import { closedAfterEach } from "../support/databases.ts";
import { temporaryFolder } from "../support/folder.ts";
import { maintainAll, openRaw, patiently, pull, type RawReplica } from "../support/replica.ts";
import { verifyPair } from "../support/verify.ts";

const folder = temporaryFolder();
const open = closedAfterEach();

const notes = "CREATE TABLE note (id INTEGER PRIMARY KEY, a, b)";
const composite =
  "CREATE TABLE note (k TEXT COLLATE NOCASE, id INTEGER, a, b, PRIMARY KEY (k, id)) WITHOUT ROWID";

function replica(schema = notes, file = ":memory:"): RawReplica {
  const made = openRaw(file, schema, ["note"]);
  open.push(made.db);
  return made;
}

function insert({ db }: RawReplica, from: number, to: number): void {
  const one = db.prepare("INSERT INTO note (id, a, b) VALUES (?, ?, 1)");
  db.transaction(() => {
    for (let id = from; id <= to; id++) one.run(id, `text ${id}`);
  })();
}

const none: Uint8Array = new Uint8Array();

function digestOf({ handle }: RawReplica, from = none, to = none) {
  for (;;) {
    const { more, busy, parts } = native.ranges(handle, "note", from, to, 1, patiently);
    expect(busy).toBe(false);
    if (!more) return { rows: parts[0]?.rows, digest: parts[0]?.digest };
  }
}

function rangesOf({ db }: RawReplica): { rows: number; digest: bigint | null }[] {
  return db
    .prepare("SELECT rows, digest FROM _mergelite_ranges_note ORDER BY k0 IS NOT NULL, k0")
    .all() as { rows: number; digest: bigint | null }[];
}

const stale = (one: RawReplica) => rangesOf(one).filter(({ digest }) => digest === null).length;

describe("ranges", () => {
  it("are made when they are first asked for, of about a thousand rows", () => {
    const one = replica();
    insert(one, 1, 10_000);
    expect(() => rangesOf(one)).toThrow("no such table");
    expect(digestOf(one).rows).toBe(10_000);
    expect(rangesOf(one).map(({ rows }) => rows)).toEqual([...Array(9).fill(1024), 784]);
  });

  it("are read again where something was written, and only there", () => {
    const one = replica();
    insert(one, 1, 10_000);
    const before = digestOf(one);
    one.db.exec("UPDATE note SET a = 'new' WHERE id IN (1, 5000)");
    maintainAll(one);
    expect(digestOf(one)).not.toEqual(before);
    one.db.exec("UPDATE note SET a = 'newer' WHERE id IN (1, 2, 5000)");
    // Folding is what tells: asking brings row clocks up to date first.
    native.trim(one.handle, 0, new Float64Array(), new Float64Array(0), 0, patiently);
    native.ranges(one.handle, "note", none, none, 1, 0);
    expect(stale(one)).toBeLessThanOrEqual(2);
    digestOf(one);
    expect(stale(one)).toBe(0);
  });

  it("are cut when they have grown, and taken in when they have shrunk", () => {
    const one = replica();
    insert(one, 1, 3_000);
    digestOf(one);
    insert(one, 10_001, 15_000);
    expect(digestOf(one).rows).toBe(8_000);
    expect(Math.max(...rangesOf(one).map(({ rows }) => rows))).toBeLessThanOrEqual(2_048);
    one.db.exec("DELETE FROM note WHERE id < 14_900");
    expect(digestOf(one).rows).toBe(101);
    expect(rangesOf(one).length).toBeLessThan(4);
    one.db.exec("DELETE FROM note");
    expect(digestOf(one)).toEqual({ rows: 0, digest: 0n });
  });

  it("add up to the same whichever way a range is cut", () => {
    const one = replica(composite);
    const add = one.db.prepare("INSERT INTO note VALUES (?, ?, ?, 1)");
    one.db.transaction(() => {
      for (let id = 0; id < 6_000; id++) add.run(["a", "B", "c"][id % 3], id, id);
    })();
    const whole = digestOf(one);
    for (const parts of [2, 3, 7, 16, 64]) {
      const answer = native.ranges(one.handle, "note", none, none, parts, patiently);
      expect(answer.parts.length).toBeLessThanOrEqual(parts);
      const sum = answer.parts.reduce((total, { digest }) => total + digest, 0n);
      expect(BigInt.asUintN(64, sum)).toBe(whole.digest);
      // Bounds of another peer fall anywhere.
      for (const { from, to, rows, digest } of answer.parts) {
        expect(digestOf(one, from, to)).toEqual({ rows, digest });
      }
    }
    const [some] = native.rangeRows(one.handle, "note", none, none, 0, 3_333, patiently).rows;
    expect(native.keyText(some?.key ?? none)).toBe("'a', 0");
    const { rows } = native.rangeRows(one.handle, "note", none, none, 0, 3_333, patiently);
    const lastKey = rows.at(-1)?.key ?? none;
    const left = digestOf(one, none, lastKey);
    const right = digestOf(one, lastKey, none);
    expect([left.rows, right.rows]).toEqual([3_332, 2_668]);
    expect(BigInt.asUintN(64, (left.digest ?? 0n) + (right.digest ?? 0n))).toBe(whole.digest);
  });

  it("say after any writes what reading everything says", () => {
    const key = fc.integer({ min: 1, max: 4_000 });
    const write = fc.oneof(
      fc.record({ kind: fc.constant("insert"), key, count: fc.integer({ min: 1, max: 900 }) }),
      fc.record({ kind: fc.constant("update"), key, count: fc.integer({ min: 1, max: 50 }) }),
      fc.record({ kind: fc.constant("delete"), key, count: fc.integer({ min: 1, max: 1500 }) }),
      fc.record({ kind: fc.constant("ask"), key, count: fc.constant(0) }),
    );
    fc.assert(
      fc.property(fc.array(write, { maxLength: 25 }), (writes) => {
        const one = replica();
        for (const { kind, key, count } of writes) {
          const last = key + count - 1;
          const rows = `(WITH RECURSIVE n(i) AS (SELECT ${key} UNION ALL SELECT i + 1 FROM n
            WHERE i < ${last}) SELECT i, i, 0 FROM n)`;
          if (kind === "insert") one.db.exec(`INSERT OR REPLACE INTO note SELECT * FROM ${rows}`);
          const where = `WHERE id BETWEEN ${key} AND ${last}`;
          if (kind === "update") one.db.exec(`UPDATE note SET b = b + 1 ${where}`);
          if (kind === "delete") one.db.exec(`DELETE FROM note ${where}`);
          if (kind === "ask") digestOf(one);
        }
        const kept = digestOf(one);
        native.doubtRanges(one.handle, "note");
        expect(kept).toEqual(digestOf(one));
        const rows = one.db.prepare("SELECT count(*) FROM note").pluck().get();
        expect(kept.rows).toBe(rows);
        one.db.close();
      }),
      { numRuns: 40 },
    );
  });

  it("follow the schema, and go with the replication of their table", () => {
    const one = replica(notes, folder.file());
    insert(one, 1, 100);
    const before = digestOf(one);
    one.db.exec("ALTER TABLE note ADD COLUMN c DEFAULT 7");
    maintainAll(one);
    expect(digestOf(one)).toMatchObject({ rows: 100 });
    expect(digestOf(one)).not.toEqual(before);
    native.detach(one.handle);
    const left = "SELECT name FROM sqlite_schema WHERE name LIKE '\\_mergelite%' ESCAPE '\\'";
    expect(one.db.prepare(left).all()).toEqual([]);
  });

  it("notice a row that is withheld, and one that comes back", () => {
    const unique = "CREATE TABLE note (id INTEGER PRIMARY KEY, a UNIQUE, b)";
    const [first, second] = [replica(unique), replica(unique)];
    first.db.exec("INSERT INTO note VALUES (1, 'x', 1)");
    second.db.exec("INSERT INTO note VALUES (2, 'x', 2)");
    digestOf(second);
    pull(first, second);
    pull(second, first);
    expect(digestOf(first)).toEqual(digestOf(second));
    expect(digestOf(first).rows).toBe(1);
    first.db.exec("DELETE FROM note");
    pull(first, second);
    pull(second, first);
    maintainAll(first);
    expect([digestOf(first), digestOf(second)]).toEqual([digestOf(second), digestOf(first)]);
    expect(digestOf(first).rows).toBe(1);
  });

  it("refuse keys that do not decode", () => {
    const one = replica();
    insert(one, 1, 10);
    digestOf(one);
    for (const bytes of [[255], [1, 2, 3], [9, 9]]) {
      const key = Uint8Array.from(bytes);
      expect(() => native.ranges(one.handle, "note", key, none, 1, patiently)).toThrow("damaged");
      expect(() => native.ranges(one.handle, "note", none, key, 1, patiently)).toThrow("damaged");
    }
    expect(() => native.ranges(one.handle, "nothing", none, none, 1, patiently)).toThrow(
      "not replicated",
    );
  });
});

describe("verify", () => {
  it("finds differing rows in a number of messages that grows with the logarithm", async () => {
    const [here, there] = [replica(), replica()];
    insert(here, 1, 100_000);
    pull(here, there);
    const equal = await verifyPair(here, there, ["note"]);
    expect(equal).toMatchObject({ differences: 0, messages: 2 });
    expect(equal.tables[0]).toMatchObject({ rows: 100_000, remoteRows: 100_000 });
    here.db.exec("UPDATE note SET a = 'other' WHERE id = 77_777");
    const one = await verifyPair(here, there, ["note"]);
    expect(one.tables[0]?.differences).toEqual([{ table: "note", key: "77777", kind: "differs" }]);
    // Two levels of sixteen, and two looks at the rows.
    expect(one.messages).toBeLessThanOrEqual(10);
    here.db.exec("DELETE FROM note WHERE id % 10_000 = 5");
    there.db.exec("DELETE FROM note WHERE id = 100_000");
    const ten = await verifyPair(here, there, ["note"]);
    expect(ten.differences).toBe(12);
    expect(ten.messages).toBeLessThanOrEqual(12 * 6);
    const kinds = ten.tables[0]?.differences.map(({ kind }) => kind);
    expect(new Set(kinds)).toEqual(new Set(["differs", "missing here", "missing there"]));
    pull(here, there);
    pull(there, here);
    expect(await verifyPair(there, here, ["note"])).toMatchObject({ differences: 0 });
  });

  it("finds with `deep` what was written behind the library's back", async () => {
    const [here, there] = [replica(), replica()];
    insert(here, 1, 5_000);
    pull(here, there);
    expect(await verifyPair(here, there, ["note"])).toMatchObject({ differences: 0 });
    const triggers = there.db
      .prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")
      .all() as { name: string; sql: string }[];
    there.db.exec("BEGIN");
    for (const { name } of triggers) there.db.exec(`DROP TRIGGER "${name}"`);
    there.db.exec("UPDATE note SET a = 'rot' WHERE id = 4321");
    for (const { sql } of triggers) there.db.exec(sql);
    there.db.exec("COMMIT");
    expect(await verifyPair(there, here, ["note"])).toMatchObject({ differences: 0 });
    const deep = await verifyPair(there, here, ["note"], { deep: true });
    expect(deep.tables[0]?.differences).toEqual([{ table: "note", key: "4321", kind: "differs" }]);
  });

  it("says so when the other side has no such table, or sorts its keys otherwise", async () => {
    const text = (collation: string) =>
      `CREATE TABLE note (id TEXT COLLATE ${collation} PRIMARY KEY, a, b)`;
    const [binary, rtrim] = [replica(text("BINARY")), replica(text("RTRIM"))];
    const other = openRaw(":memory:", "CREATE TABLE tag (id INTEGER PRIMARY KEY)", ["tag"]);
    open.push(other.db);
    const missing = await verifyPair(binary, other, ["note"]);
    expect(missing.tables[0]?.differences[0]).toMatchObject({ kind: "missing there" });
    const unordered = await verifyPair(binary, rtrim, ["note"]);
    expect(unordered.tables[0]?.differences[0]).toMatchObject({ key: "(the order of its keys)" });
  });
});
