/** What is parked is merged by whoever comes first, and stays merged. */
import { copyFileSync } from "node:fs";
import Database from "better-sqlite3";
import { describe, expect, test } from "vitest";
import { native } from "../../src/native.ts";
import { temporaryFolder } from "../support/folder.ts";
import {
  attachRaw,
  converge,
  maintainAll,
  mergeAll,
  openRaw,
  patiently,
  pull,
  type RawReplica,
  recordsOf,
  teachShapes,
} from "../support/replica.ts";
import { trimAll } from "../support/state.ts";

const folder = temporaryFolder();
const schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, a, b)";

test("an update parked by one connection shows when another merges the insert", () => {
  const inserter = openRaw(":memory:", schema, ["t"]);
  const updater = openRaw(":memory:", schema, ["t"]);
  const here = openRaw(folder.file(), schema, ["t"]);
  const beside = attachRaw(new Database(here.db.name));
  try {
    for (const from of [inserter, updater]) teachShapes(from, here);
    // By this merge the second connection learns that nothing is parked.
    inserter.db.exec("INSERT INTO t VALUES (1, 'old', 1)");
    mergeAll(beside, recordsOf(inserter, inserter.peerId));
    inserter.db.exec("INSERT INTO t VALUES (2, 'old', 1)");
    pull(inserter, updater);
    updater.db.exec("UPDATE t SET a = 'new' WHERE id = 2");
    mergeAll(here, recordsOf(updater, updater.peerId));
    expect(native.status(here.handle).parked).toEqual([{ table: "t", reason: "row", count: 1 }]);
    mergeAll(beside, recordsOf(inserter, inserter.peerId, 1));
    expect(here.db.prepare("SELECT a FROM t WHERE id = 2").pluck().get()).toBe("new");
    expect(native.status(here.handle).parked).toEqual([]);
  } finally {
    for (const { db } of [inserter, updater, here, beside]) db.close();
  }
});

test("row clocks of what was parked for its table outlast a crash, although the log is trimmed", () => {
  const there = openRaw(":memory:", schema, ["t"]);
  const late = openRaw(":memory:", schema, ["t"]);
  const file = folder.file();
  const here = openRaw(file, "CREATE TABLE other (id INTEGER PRIMARY KEY)", ["other"]);
  const after = folder.file();
  const nowMs = Date.UTC(2026, 0, 1);
  native.setClock(there.handle, nowMs);
  native.setClock(late.handle, nowMs - 1000);
  there.db.exec("INSERT INTO t VALUES (1, 'new', 1), (2, 'new', 1); DELETE FROM t WHERE id = 2");
  late.db.exec("INSERT INTO t VALUES (1, 'old', 2), (2, 'old', 2)");
  try {
    pull(there, here);
    native.trim(here.handle, 2 ** 53 - 1, new Float64Array(), new Float64Array(), 1, patiently);
    here.db.exec(schema);
    native.replicate(here.handle, "t");
    maintainAll(here);
    // As it is on disk at this moment.
    for (const end of ["", "-wal"]) copyFileSync(`${file}${end}`, `${after}${end}`);
    const again = attachRaw(new Database(after));
    pull(late, again);
    const rows = again.db.prepare("SELECT * FROM t").all();
    again.db.close();
    expect(rows).toEqual([{ id: 1, a: "new", b: 1 }]);
  } finally {
    for (const { db } of [there, late, here]) db.close();
  }
});

test("a row deleted and inserted again in one transaction, all of it parked, is there", () => {
  const there = openRaw(":memory:", schema, ["t"]);
  const here = openRaw(":memory:", "CREATE TABLE other (id INTEGER PRIMARY KEY)", ["other"]);
  // More than are looked at in one go.
  const rows = 100;
  const numbers = `WITH n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${rows})`;
  there.db.exec(`INSERT INTO t ${numbers} SELECT i, 'old', i FROM n`);
  there.db.exec(`BEGIN; DELETE FROM t; INSERT INTO t ${numbers} SELECT i, 'new', i FROM n; COMMIT`);
  there.db.exec("BEGIN; DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (1, 'x', 0); COMMIT");
  there.db.exec(
    "BEGIN; INSERT INTO t VALUES (1000, 'y', 0); DELETE FROM t WHERE id = 1000; COMMIT",
  );
  try {
    pull(there, here);
    expect(native.status(here.handle).parked).toMatchObject([{ table: "t", reason: "table" }]);
    here.db.exec(schema);
    native.replicate(here.handle, "t");
    maintainAll(here);
    const all = "SELECT * FROM t ORDER BY id";
    expect(here.db.prepare(all).all()).toEqual(there.db.prepare(all).all());
    expect(native.status(here.handle).parked).toEqual([]);
  } finally {
    for (const { db } of [there, here]) db.close();
  }
});

test("patches of a table whose key has another collation wait for its table", () => {
  const [folds, compares] = ["COLLATE NOCASE", ""].map((collation) =>
    openRaw(":memory:", `CREATE TABLE t (k TEXT ${collation} PRIMARY KEY NOT NULL, v)`, ["t"]),
  ) as [RawReplica, RawReplica];
  try {
    folds.db.exec("INSERT INTO t VALUES ('a', 1)");
    compares.db.exec("INSERT INTO t VALUES ('A', 2), ('a', 3)");
    converge([folds, compares]);
    const rows = ({ db }: RawReplica) => db.prepare("SELECT * FROM t ORDER BY k").raw().all();
    expect(rows(folds)).toEqual([["a", 1]]);
    expect(rows(compares)).toEqual([
      ["A", 2],
      ["a", 3],
    ]);
    expect(native.status(folds.handle).parked).toEqual([{ table: "t", reason: "table", count: 2 }]);
    // The same key here means the same rows again.
    folds.db.exec("DROP TABLE t; CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, v)");
    native.replicate(folds.handle, "t");
    maintainAll(folds);
    expect(rows(folds)).toEqual(rows(compares));
  } finally {
    for (const { db } of [folds, compares]) db.close();
  }
});

/** A table made anew with another key, and the replica's rows in it. */
function rekey({ db, handle }: RawReplica, create: string): void {
  db.exec(`BEGIN; ${create.replace("t (", "made (")}; INSERT INTO made SELECT * FROM t;
    DROP TABLE t; ALTER TABLE made RENAME TO t; COMMIT`);
  maintainAll({ db, handle, peerId: 0 });
  native.replicate(handle, "t");
  maintainAll({ db, handle, peerId: 0 });
}

test("what is withheld of a table is not taken for rows of one with another key", () => {
  const unique = "CREATE TABLE t (id INTEGER PRIMARY KEY, u UNIQUE, v)";
  const [here, there] = [openRaw(":memory:", unique, ["t"]), openRaw(":memory:", unique, ["t"])];
  try {
    native.setClock(here.handle, Date.UTC(2026, 0, 1));
    native.setClock(there.handle, Date.UTC(2026, 0, 2));
    here.db.exec("INSERT INTO t VALUES (1, 'x', 'older')");
    there.db.exec("INSERT INTO t VALUES (2, 'x', 'younger')");
    pull(here, there);
    rekey(there, "CREATE TABLE t (id INTEGER, u UNIQUE, v NOT NULL, PRIMARY KEY (id, v))");
    const shown = there.db.prepare("SELECT * FROM t").raw();
    expect(shown.all()).toEqual([[1, "x", "older"]]);
    expect(native.status(there.handle).parked).toEqual([{ table: "t", reason: "table", count: 1 }]);
    there.db.exec("DELETE FROM t");
    maintainAll(there);
    expect(shown.all()).toEqual([]);
  } finally {
    for (const { db } of [here, there]) db.close();
  }
});

test("what waits for a table with another key outlasts rows whose keys look the same", () => {
  const [byA, byB] = [
    "CREATE TABLE t (a INTEGER PRIMARY KEY, b INTEGER)",
    "CREATE TABLE t (a INTEGER, b INTEGER PRIMARY KEY)",
  ];
  const [here, there] = [openRaw(":memory:", byA, ["t"]), openRaw(":memory:", byB, ["t"])];
  try {
    const nowMs = Date.UTC(2026, 0, 1);
    native.setClock(there.handle, nowMs);
    native.setClock(here.handle, nowMs + 1000);
    there.db.exec("INSERT INTO t VALUES (1, 2)");
    pull(there, here);
    here.db.exec("INSERT INTO t VALUES (2, 3)");
    maintainAll(here);
    rekey(here, byB);
    const rows = ({ db }: RawReplica) => db.prepare("SELECT * FROM t ORDER BY b").raw().all();
    expect(rows(here)).toEqual([
      [1, 2],
      [2, 3],
    ]);
    native.setClock(there.handle, nowMs + 2000);
    converge([here, there]);
    expect(rows(there)).toEqual(rows(here));
  } finally {
    for (const { db } of [here, there]) db.close();
  }
});

describe("what is parked by one connection, of a row that another has inserted again, stays void", () => {
  const none = new Uint8Array();
  const id = ({ db }: RawReplica) =>
    Number(db.prepare("SELECT min(id) FROM _mergelite_parked").pluck().get());
  const reading: Record<string, (beside: RawReplica) => void> = {
    "when state is read": ({ handle }) => {
      while (native.readState(handle, none, 1000, patiently).more);
    },
    "when ranges are read": ({ handle }) => {
      while (native.ranges(handle, "t", none, none, 1, patiently).more);
    },
    "when it is tried again": (beside) => native.retry(beside.handle, id(beside)),
    "in maintenance": (beside) => maintainAll(beside),
  };
  test.each(Object.entries(reading))("%s", (_, read) => {
    const there = openRaw(":memory:", schema, ["t"]);
    const here = openRaw(folder.file(), schema, ["t"]);
    const beside = attachRaw(new Database(here.db.name));
    try {
      const nowMs = Date.UTC(2026, 0, 1);
      for (const { handle } of [there, here, beside]) native.setClock(handle, nowMs);
      here.db.exec("INSERT INTO t VALUES (1, 'first', 1)");
      pull(here, there);
      there.db.exec("DELETE FROM t");
      for (const { handle } of [here, beside]) native.setClock(handle, nowMs + 1000);
      here.db.exec("UPDATE t SET a = 'second'");
      // So far this connection knows all, and folds it.
      trimAll(beside);
      pull(there, here);
      expect(native.status(here.handle).parked).toEqual([{ table: "t", reason: "row", count: 1 }]);
      here.db.exec("INSERT INTO t VALUES (1, 'third', 1)");
      read(beside);
      expect(here.db.prepare("SELECT a FROM t").pluck().get()).toBe("third");
    } finally {
      for (const { db } of [there, here, beside]) db.close();
    }
  });
});
