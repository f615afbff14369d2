/** What one connection parks, another one on the same file merges when its row comes alive. */
import Database from "better-sqlite3";
import { expect, test } from "vitest";
import { native } from "../../src/native.ts";
import { temporaryFolder } from "../support/folder.ts";
import { attachRaw, mergeAll, openRaw, pull, recordsOf, teachShapes } from "../support/replica.ts";

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
