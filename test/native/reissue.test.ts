import { copyFileSync } from "node:fs";
import Database from "better-sqlite3";
import { afterEach, describe, expect, it } from "vitest";
import { native } from "../../src/native.ts";
import { temporaryFolder } from "../support/folder.ts";
import {
  attachRaw,
  heldOf,
  maintainAll,
  openRaw,
  patiently,
  progressOf,
  pull,
  type RawReplica,
} from "../support/replica.ts";

const folder = temporaryFolder();
const open: RawReplica[] = [];
afterEach(() => {
  for (const { db } of open.splice(0)) db.close();
});

function make(): RawReplica {
  const replica = openRaw(":memory:", "CREATE TABLE t (id INTEGER PRIMARY KEY, x)", ["t"]);
  open.push(replica);
  return replica;
}

const rows = ({ db }: RawReplica) => db.prepare("SELECT * FROM t ORDER BY id").raw().all();
const logged = ({ db }: RawReplica) =>
  db.prepare("SELECT _peerId, _sequenceId, id FROM t_patches ORDER BY id").raw().all();

/** Of all row clocks and rows. */
function digests({ handle }: RawReplica, tables: readonly string[] = ["t", "u"]): bigint[] {
  const none = new Uint8Array(0);
  return tables.map((table) => {
    for (;;) {
      const { busy, more, parts } = native.ranges(handle, table, none, none, 1, patiently);
      if (!busy && !more) return parts[0]?.digest ?? 0n;
    }
  });
}

describe("changesets under a former id", () => {
  it("become the first ones of the new id, in their order", () => {
    const here = make();
    const former = here.peerId;
    for (let id = 1; id <= 5; id++) here.db.prepare("INSERT INTO t VALUES (?, 'x')").run(id);
    const stamp = native.fingerprintAt(here.handle, former, 4);
    expect(stamp).toBeGreaterThan(0);
    const peerId = native.reissue(here.handle, 3);
    expect(peerId).not.toBe(former);
    expect(heldOf(here, former)).toBe(3);
    expect(heldOf(here, peerId)).toBe(2);
    expect(native.fingerprintAt(here.handle, peerId, 1)).toBe(stamp);
    expect(native.fingerprintAt(here.handle, former, 4)).toBe(0);
    expect(logged(here)).toEqual([
      [former, 1, 1],
      [former, 2, 2],
      [former, 3, 3],
      [peerId, 1, 4],
      [peerId, 2, 5],
    ]);
    here.db.exec("INSERT INTO t VALUES (6, 'x')");
    expect(heldOf(here, peerId)).toBe(3);
    const there = make();
    pull({ ...here, peerId }, there);
    expect(rows(there)).toEqual(rows(here));
  });

  it("leave room for what others hold under their numbers", () => {
    const [here, there] = [make(), make()];
    const former = here.peerId;
    for (let id = 1; id <= 4; id++) here.db.prepare("INSERT INTO t VALUES (?, 'x')").run(id);
    pull(here, there);
    const peerId = native.reissue(here.handle, 2);
    const renewed = { ...here, peerId };
    pull(there, renewed);
    maintainAll(renewed);
    expect(heldOf(renewed, former)).toBe(4);
    pull(renewed, there);
    expect(progressOf(there).find((one) => one.peerId === peerId)?.merged).toBe(2);
    expect(rows(there)).toEqual(rows(here));
  });

  it("are those of what is withheld of them, too", () => {
    const [here, there] = ["here", "there"].map(() => {
      const schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, x UNIQUE)";
      const replica = openRaw(":memory:", schema, ["t"]);
      open.push(replica);
      return replica;
    }) as [RawReplica, RawReplica];
    const nowMs = Date.UTC(2026, 0, 1);
    native.setClock(there.handle, nowMs);
    native.setClock(here.handle, nowMs + 1);
    there.db.exec("INSERT INTO t VALUES (1, 'x')");
    here.db.exec("INSERT INTO t VALUES (2, 'y'), (3, 'x')");
    pull(there, here);
    const withheld = (replica: RawReplica) =>
      replica.db.prepare("SELECT peer, timestamp, reason FROM _mergelite_parked").raw().all();
    const [[former, ...rest] = []] = withheld(here) as unknown[][];
    expect([former, rest]).toEqual([here.peerId, [expect.anything(), "unique"]]);
    const peerId = native.reissue(here.handle, 0);
    pull({ ...here, peerId }, there);
    expect(withheld(here)).toEqual([[peerId, ...rest]]);
    expect(withheld(there)).toEqual(withheld(here));
    there.db.exec("DELETE FROM t WHERE id = 1");
    maintainAll(there);
    pull(there, { ...here, peerId });
    expect(rows(here)).toEqual(rows(there));
    expect(rows(here)).toHaveLength(2);
  });

  it.each([false, true])("give clocks their stamps, folded before: %s", (folded) => {
    const schema =
      "CREATE TABLE t (id INTEGER PRIMARY KEY, x); CREATE TABLE u (k TEXT, l, y, z, " +
      "PRIMARY KEY (k, l))";
    const both = () => {
      const one = openRaw(":memory:", schema, ["t", "u"]);
      open.push(one);
      return one;
    };
    // The larger of two ids would win: it matters when that is the former one.
    for (;;) {
      const [here, there] = [both(), both()];
      here.db.exec("INSERT INTO t VALUES (1, 'x'), (2, 'x')");
      here.db.exec("INSERT INTO u VALUES ('a', 1, 0, 0), ('b', 2, 0, 0)");
      pull(here, there);
      here.db.exec("UPDATE u SET y = 1 WHERE k = 'a'; INSERT INTO t VALUES (3, 'x')");
      here.db.exec("DELETE FROM t WHERE id = 1; UPDATE u SET k = 'c', z = 1 WHERE k = 'b'");
      if (folded) digests(here);
      const peerId = native.reissue(here.handle, 2);
      if (peerId > here.peerId) continue;
      const renewed = { ...here, peerId };
      pull(renewed, there);
      expect(digests(there)).toEqual(digests(renewed));
      return;
    }
  });

  it("are read again by a connection that hears of the new id late", () => {
    const schema = "CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, x)";
    const [file, copy] = [folder.file(), folder.file()];
    const [here, hub] = [openRaw(file, schema, ["t"]), openRaw(":memory:", schema, ["t"])];
    here.db.exec("INSERT INTO t VALUES (1, 'both')");
    here.db.pragma("wal_checkpoint(TRUNCATE)");
    copyFileSync(file, copy);
    const twin = openRaw(copy, schema, ["t"]);
    twin.db.exec("INSERT INTO t VALUES (2, 'twin')");
    here.db.exec("INSERT INTO t VALUES (3, 'here')");
    maintainAll(here);
    pull(twin, hub);
    // Another process takes the id, and what others hold under the former numbers: as much.
    const other = attachRaw(new Database(file));
    open.push(here, hub, twin, other);
    const renewed = { ...other, peerId: native.reissue(other.handle, 1) };
    pull(hub, renewed);
    pull(renewed, hub);
    maintainAll(here);
    expect(digests(here, ["t"])).toEqual(digests(hub, ["t"]));
  });

  it("are never cut in the middle of a transaction", () => {
    const here = make();
    const former = here.peerId;
    here.db.exec("INSERT INTO t VALUES (1, 'x')");
    here.db.transaction(() => {
      const insert = here.db.prepare("INSERT INTO t VALUES (?, zeroblob(700000))");
      for (let id = 10; id < 15; id++) insert.run(id);
    })();
    expect(heldOf(here, former)).toBeGreaterThan(2);
    native.reissue(here.handle, 2);
    expect(heldOf(here, former)).toBe(1);
  });

  it("all stay when none is to move", () => {
    const here = make();
    const former = here.peerId;
    here.db.exec("INSERT INTO t VALUES (1, 'x')");
    native.reissue(here.handle, 1);
    expect(heldOf(here, former)).toBe(1);
    here.db.exec("BEGIN");
    const busy = expect.objectContaining({ code: "IN_TRANSACTION" });
    expect(() => native.reissue(here.handle, 0)).toThrow(busy);
    here.db.exec("ROLLBACK");
  });
});
