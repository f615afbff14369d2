/** Merging as a user meets it: gaps, waiting, parked patches, the companion, detaching, closing. */
import Database from "better-sqlite3";
import { describe, expect, it } from "vitest";
import { native } from "../../src/native.ts";
import { closedAfterEach } from "../support/databases.ts";
import { temporaryFolder } from "../support/folder.ts";
import {
  attachRaw,
  dump,
  heldOf,
  maintainAll,
  mergeAll,
  openRaw,
  patiently,
  progressOf,
  pull,
  type RawReplica,
  recordsOf,
  teachShapes,
} from "../support/replica.ts";

const folder = temporaryFolder();
const open = closedAfterEach();

const schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, a, b DEFAULT 'none')";

function replica(sql = schema, tables: readonly string[] = ["t"], file = ":memory:"): RawReplica {
  const made = openRaw(file, sql, tables);
  open.push(made.db);
  return made;
}

const rows = ({ db }: RawReplica, sql = "SELECT * FROM t ORDER BY 1"): unknown[] =>
  db.prepare(sql).raw().all();
const parked = ({ db }: RawReplica): unknown[] =>
  db.prepare("SELECT reason FROM _mergelite_parked ORDER BY id").pluck().all();

describe("delivery", () => {
  it("reports gaps, takes repetition, and asks for shapes it does not know", () => {
    const there = replica();
    const here = replica("CREATE TABLE u (id INTEGER PRIMARY KEY)", ["u"]);
    for (let i = 1; i <= 5; i++) there.db.exec(`INSERT INTO t (id) VALUES (${i})`);
    const from = (first: number, last: number) =>
      native.readLog(there.handle, there.peerId, first, last, 2 ** 30);
    expect(native.merge(here.handle, from(1, 1), 0, 1000).unknownShapes).toEqual([
      native.shapeHash(native.shapes(there.handle, 0).descriptors[0] ?? new Uint8Array()),
    ]);
    expect(heldOf(here, there.peerId)).toBe(0);
    teachShapes(there, here);
    expect(native.merge(here.handle, from(3, 5), 0, 1000)).toMatchObject({
      gaps: [there.peerId, 1],
      changesets: 0,
    });
    expect(native.merge(here.handle, from(1, 2), 0, 1000)).toMatchObject({ changesets: 2 });
    expect(native.merge(here.handle, from(4, 5), 0, 1000).gaps).toEqual([there.peerId, 3]);
    expect(native.merge(here.handle, from(1, 5), 0, 1000)).toMatchObject({
      duplicates: 2,
      changesets: 3,
      gaps: [],
    });
    expect(native.merge(here.handle, from(1, 5), 0, 1000).duplicates).toBe(5);
    expect(recordsOf(here, there.peerId)).toEqual(recordsOf(there, there.peerId));
  });

  it("holds back what comes from the future until its time", () => {
    const nowMs = Date.UTC(2026, 5, 1);
    const ahead = replica();
    const here = replica();
    native.setClock(ahead.handle, nowMs + 90_000);
    native.setClock(here.handle, nowMs);
    ahead.db.exec("INSERT INTO t (id, a) VALUES (1, 'from the future')");
    native.setClock(ahead.handle, nowMs);
    ahead.db.exec("INSERT INTO t (id, a) VALUES (2, 'after it')");
    teachShapes(ahead, here);
    const result = native.merge(here.handle, recordsOf(ahead, ahead.peerId), 0, 1000);
    expect(result.resumeAtMs).toBe(nowMs + 30_000);
    expect(rows(here)).toEqual([]);
    // Held, so that it can be relayed; a local write takes no stamp from it.
    expect(progressOf(here)[1]).toMatchObject({ held: 2, merged: 0 });
    here.db.exec("INSERT INTO t (id, a) VALUES (1, 'local')");
    native.setClock(here.handle, nowMs + 29_999);
    expect(maintainAll(here).resumeAtMs).toBe(nowMs + 30_000);
    expect(rows(here)).toEqual([[1, "local", "none"]]);
    native.setClock(here.handle, nowMs + 30_000);
    expect(maintainAll(here).resumeAtMs).toBe(0);
    expect(rows(here)).toEqual([
      [1, "from the future", "none"],
      [2, "after it", "none"],
    ]);
    native.setDriftMax(here.handle, 0);
    native.setClock(ahead.handle, nowMs + 100_000);
    ahead.db.exec("DELETE FROM t");
    pull(ahead, here);
    expect(rows(here)).toHaveLength(2);
  });

  it("merges a large transaction only when all its parts are here", () => {
    const there = replica();
    there.db.exec(`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4000)
      INSERT INTO t SELECT i, zeroblob(1000), i FROM n`);
    const parts = heldOf(there, there.peerId);
    expect(parts).toBeGreaterThan(3);
    const file = folder.file();
    let here = replica(schema, ["t"], file);
    teachShapes(there, here);
    for (let part = 1; part <= parts; part++) {
      expect(rows(here, "SELECT count(*) FROM t")).toEqual([[0]]);
      mergeAll(here, native.readLog(there.handle, there.peerId, part, part, 2 ** 30));
      maintainAll(here);
      if (part !== 2) continue;
      // What was waiting is still waiting after a restart.
      open.splice(open.indexOf(here.db), 1);
      here.db.close();
      here = attachRaw(new Database(file));
      open.push(here.db);
    }
    expect(dump(here.db, "t")).toEqual(dump(there.db, "t"));
    there.db.exec(
      "BEGIN; UPDATE t SET a = zeroblob(1001); UPDATE t SET a = 1; DELETE FROM t; ROLLBACK",
    );
    there.db.exec(
      "BEGIN; UPDATE t SET a = zeroblob(1001); DELETE FROM t WHERE id % 2; INSERT OR REPLACE INTO t SELECT id + 1, a, b FROM t; COMMIT",
    );
    pull(there, here);
    expect(dump(here.db, "t")).toEqual(dump(there.db, "t"));
  });

  it("waits for the user's transaction, another writer, and its own budget", () => {
    const there = replica();
    const here = replica(schema, ["t"], folder.file());
    there.db.exec("INSERT INTO t (id) VALUES (1)");
    teachShapes(there, here);
    const records = recordsOf(there, there.peerId);
    here.db.exec("BEGIN; INSERT INTO t (id) VALUES (5)");
    expect(native.merge(here.handle, records, 0, 1000)).toMatchObject({ busy: true, consumed: 0 });
    expect(native.maintain(here.handle, 1000).busy).toBe(true);
    here.db.exec("COMMIT");
    const writer = new Database(here.db.name);
    open.push(writer);
    writer.exec("BEGIN IMMEDIATE");
    here.db.pragma("busy_timeout = 0");
    expect(native.merge(here.handle, records, 0, 1000)).toMatchObject({ busy: true, consumed: 0 });
    writer.exec("COMMIT");
    expect(native.merge(here.handle, records, 0, 1000)).toMatchObject({
      busy: false,
      changesets: 1,
    });
  });

  it("keeps last_insert_rowid, and runs beside statements that are not finished", () => {
    const there = replica();
    const here = replica();
    here.db.exec("INSERT INTO t (id) VALUES (3), (4), (7)");
    there.db.exec("INSERT INTO t (id) VALUES (100); UPDATE t SET a = 1");
    const iterator = here.db.prepare("SELECT id FROM t").iterate();
    iterator.next();
    pull(there, here);
    expect([...iterator].length).toBeGreaterThanOrEqual(2);
    expect(here.db.prepare("SELECT last_insert_rowid()").pluck().get()).toBe(7);
    expect(rows(here, "SELECT id FROM t WHERE a = 1")).toEqual([[100]]);
  });
});

describe("what tables and triggers say of conflicts", () => {
  it.each(["REPLACE", "IGNORE", "ROLLBACK", "FAIL"])("does not heed ON CONFLICT %s", (clause) => {
    const sql = `CREATE TABLE t (id INTEGER PRIMARY KEY, u UNIQUE ON CONFLICT ${clause})`;
    const [one, two] = [replica(sql), replica(sql)];
    one.db.exec("INSERT INTO t VALUES (1, 'x')");
    two.db.exec("INSERT INTO t VALUES (2, 'x')");
    pull(one, two);
    pull(two, one);
    expect(rows(two)).toEqual(rows(one));
    expect(rows(one)).toHaveLength(1);
  });

  it("leaves nothing behind when a trigger rolls the merge back", () => {
    const [there, here] = [replica(), replica()];
    here.db.exec(
      "CREATE TRIGGER no BEFORE INSERT ON t WHEN NEW.a = 'no' BEGIN SELECT raise(ROLLBACK, 'no'); END",
    );
    there.db.exec(
      "INSERT INTO t (id) VALUES (1); INSERT INTO t (id, a) VALUES (2, 'no'), (3, 'yes')",
    );
    teachShapes(there, here);
    const records = recordsOf(there, there.peerId);
    const merged = native.merge(here.handle, records, 0, patiently);
    expect(merged).toMatchObject({ busy: true, consumed: 0, changesets: 0, patches: 0 });
    expect([rows(here), parked(here), heldOf(here, there.peerId)]).toEqual([[], [], 0]);
    pull(there, here);
    expect(rows(here)).toEqual(rows(there));
  });
});

describe("what is parked", () => {
  it("merges when the table, the column, or the row appears", () => {
    const there = replica(
      "CREATE TABLE t (id INTEGER PRIMARY KEY, a, b DEFAULT 'none', c); CREATE TABLE late (id INTEGER PRIMARY KEY, v)",
      ["t", "late"],
    );
    const here = replica();
    there.db.exec(
      "INSERT INTO t VALUES (1, 'a', 'b', 'c'); INSERT INTO late VALUES (1, 'v'), (2, 'v')",
    );
    there.db.exec(
      "UPDATE t SET c = 'newer'; BEGIN; UPDATE late SET v = 'w' WHERE id = 1; DELETE FROM late WHERE id = 2; COMMIT",
    );
    pull(there, here);
    expect(rows(here)).toEqual([[1, "a", "b"]]);
    expect(new Set(parked(here))).toEqual(new Set(["column", "table"]));
    here.db.exec("ALTER TABLE t ADD COLUMN c DEFAULT 'default'");
    maintainAll(here);
    expect(rows(here)).toEqual([[1, "a", "b", "newer"]]);
    expect(new Set(parked(here))).toEqual(new Set(["table"]));
    here.db.exec("CREATE TABLE late (id INTEGER PRIMARY KEY, v)");
    native.replicate(here.handle, "late");
    maintainAll(here);
    expect(rows(here, "SELECT * FROM late")).toEqual([[1, "w"]]);
    expect(parked(here)).toEqual([]);
    // Nothing was lost on the way to a third, which may learn it from here.
    const third = replica("CREATE TABLE late (id INTEGER PRIMARY KEY, v)", ["late"]);
    pull(here, third);
    expect(rows(third, "SELECT * FROM late")).toEqual([[1, "w"]]);
  });

  it("writes a row whole when its clock was read before its table came", () => {
    const late = "CREATE TABLE late (id INTEGER PRIMARY KEY, v)";
    const [one, two] = [replica(late, ["late"]), replica(late, ["late"])];
    const nowMs = Date.UTC(2026, 0, 1);
    const at = ({ db, handle }: RawReplica, ms: number, sql: string) => {
      native.setClock(handle, nowMs + ms);
      db.exec(sql);
    };
    at(one, 0, "INSERT INTO late VALUES (1, 'older')");
    at(two, 1, "INSERT INTO late VALUES (1, 'newer')");
    at(one, 2, "UPDATE late SET v = 'newest'");
    const file = folder.file();
    const here = replica(schema, ["t"], file);
    for (const from of [one, two]) pull(from, here);
    expect(new Set(parked(here))).toEqual(new Set(["table"]));
    const later = replica(`DROP TABLE IF EXISTS late; ${late}`, ["late"], file);
    native.setClock(later.handle, nowMs + 3);
    maintainAll(later);
    expect([rows(later, "SELECT * FROM late"), parked(later)]).toEqual([[[1, "newest"]], []]);
    pull(two, one);
    expect(rows(one, "SELECT * FROM late")).toEqual([[1, "newest"]]);
  });

  it("does not let a parked column overrule what was written since", () => {
    const there = replica("CREATE TABLE t (id INTEGER PRIMARY KEY, a, b DEFAULT 'none', c)");
    const here = replica();
    there.db.exec(
      "INSERT INTO t VALUES (1, 1, 1, 'parked'), (2, 1, 1, 'parked'), (3, 1, 1, 'parked')",
    );
    pull(there, here);
    here.db.exec("ALTER TABLE t ADD COLUMN c DEFAULT 'default'");
    maintainAllShapes(here);
    here.db.exec("UPDATE t SET c = 'local' WHERE id = 1; DELETE FROM t WHERE id = 2");
    maintainAll(here);
    expect(rows(here, "SELECT id, c FROM t")).toEqual([
      [1, "local"],
      [3, "parked"],
    ]);
    pull(here, there);
    expect(dump(there.db, "t")).toEqual(dump(here.db, "t"));
  });

  it("brings updates together with the insert that comes later", () => {
    const [one, two, here] = [replica(), replica(), replica()];
    one.db.exec("INSERT INTO t (id, a) VALUES (1, 'old')");
    pull(one, two);
    two.db.exec("UPDATE t SET b = 'updated' WHERE id = 1");
    teachShapes(two, here);
    mergeAll(here, recordsOf(two, two.peerId));
    expect([rows(here), parked(here)]).toEqual([[], ["row"]]);
    pull(one, here);
    expect([rows(here), parked(here)]).toEqual([[[1, "old", "updated"]], []]);
  });

  it("does not let an update overrule the insert that follows it in its own transaction", () => {
    const [one, two, here] = [replica(), replica(), replica()];
    one.db.exec("INSERT INTO t (id, a) VALUES (1, 'old')");
    pull(one, two);
    two.db.exec(
      "BEGIN; UPDATE t SET b = 'void'; INSERT OR REPLACE INTO t VALUES (1, 'new', 'new'); UPDATE t SET a = 'last'; COMMIT",
    );
    // The row that the update was for has not come yet.
    teachShapes(two, here);
    mergeAll(here, recordsOf(two, two.peerId));
    pull(one, here);
    expect([rows(here), parked(here)]).toEqual([[[1, "last", "new"]], []]);
  });

  it("voids what a newer delete overtook", () => {
    const [one, two, here] = [replica(), replica(), replica()];
    one.db.exec("INSERT INTO t (id, a) VALUES (1, 'old')");
    pull(one, two);
    two.db.exec("UPDATE t SET b = 'updated' WHERE id = 1");
    pull(two, one);
    teachShapes(two, here);
    mergeAll(here, recordsOf(two, two.peerId));
    one.db.exec("DELETE FROM t; INSERT INTO t (id) VALUES (1)");
    pull(one, here);
    expect([rows(here), parked(here)]).toEqual([[[1, null, "none"]], []]);
  });
});

/** Renews triggers after a schema change without trying again what is parked. */
function maintainAllShapes(of: RawReplica): void {
  native.open(of.handle, "", "", () => {});
}
