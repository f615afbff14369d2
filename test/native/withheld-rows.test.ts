/** Rows that UNIQUE keeps out of a table when the table changes, or comes back. */
import { expect, it } from "vitest";
import { native } from "../../src/native.ts";
import { closedAfterEach } from "../support/databases.ts";
import { converge, maintainAll, openRaw, type RawReplica } from "../support/replica.ts";

const open = closedAfterEach();

const schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, u UNIQUE, v)";
const rebuild = `BEGIN; ${schema.replace(" t ", " made ")}; INSERT INTO made SELECT * FROM t;
  DROP TABLE t; ALTER TABLE made RENAME TO t; COMMIT`;
const leave = "DROP TABLE t_patches";
const comeBack = "CREATE VIRTUAL TABLE t_patches USING mergelite(t)";
const rows = ({ db }: RawReplica) => db.prepare("SELECT * FROM t ORDER BY id").raw().all();

/** Both show rows 1 and 4; the younger rows 2 and 3 are withheld, and row 3 was updated. */
function withheld(): [RawReplica, RawReplica] {
  const pair: [RawReplica, RawReplica] = [
    openRaw(":memory:", schema, ["t"]),
    openRaw(":memory:", schema, ["t"]),
  ];
  const [here, there] = pair;
  let clockMs = Date.UTC(2026, 0, 1);
  const later = () => {
    clockMs += 1000;
    for (const { handle } of pair) native.setClock(handle, clockMs);
  };
  open.push(here.db, there.db);
  later();
  here.db.exec("INSERT INTO t VALUES (1, 'x', 'first'), (4, 'y', 'fourth')");
  later();
  there.db.exec("INSERT INTO t VALUES (2, 'x', 'second'), (3, 'y', 'third')");
  there.db.exec("UPDATE t SET v = 'updated' WHERE id = 3");
  converge(pair);
  expect(native.status(there.handle).parked).toMatchObject([{ reason: "unique" }]);
  later();
  return pair;
}

it.each([
  ["is rebuilt", [rebuild]],
  ["leaves replication and comes back", [leave, comeBack]],
])("stay, and stay the younger ones, when their table %s", (_, statements) => {
  const [here, there] = withheld();
  for (const sql of statements) there.db.exec(sql);
  native.replicateAll(there.handle, ["t"]);
  maintainAll(there);
  const before = rows(here);
  converge([here, there]);
  expect(rows(here)).toEqual(before);
  expect(rows(there)).toEqual(before);
  here.db.exec("DELETE FROM t");
  converge([here, there]);
  expect(rows(there)).toEqual([
    [2, "x", "second"],
    [3, "y", "updated"],
  ]);
  expect(rows(here)).toEqual(rows(there));
});

it("give way to a row that was inserted under their key meanwhile", () => {
  const [here, there] = withheld();
  there.db.exec(`${leave}; INSERT INTO t VALUES (2, 'w', 'meanwhile'); ${comeBack}`);
  converge([here, there]);
  expect(rows(there)).toEqual([
    [1, "x", "first"],
    [2, "w", "meanwhile"],
    [4, "y", "fourth"],
  ]);
  expect(rows(here)).toEqual(rows(there));
});

it("keep the values of a column that is dropped, for when it comes back", () => {
  const [here, there] = withheld();
  there.db.exec("ALTER TABLE t DROP COLUMN v");
  here.db.exec("DELETE FROM t");
  converge([here, there]);
  expect(rows(there)).toEqual([
    [2, "x"],
    [3, "y"],
  ]);
  there.db.exec("ALTER TABLE t ADD COLUMN v");
  converge([here, there]);
  expect(rows(there)).toEqual([
    [2, "x", "second"],
    [3, "y", "updated"],
  ]);
  expect(rows(here)).toEqual(rows(there));
});
