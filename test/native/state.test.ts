/** State transfer: rows with their stamps in place of a log that has been trimmed. */
import Database from "better-sqlite3";
import { describe, expect, it } from "vitest";
import { readRecords } from "../../src/log/records.ts";
import { native } from "../../src/native.ts";
import { closedAfterEach } from "../support/databases.ts";
import { forge } from "../support/forge.ts";
import {
  attachRaw,
  dump,
  maintainAll,
  mergeAll,
  openRaw,
  progressOf,
  pull,
  type RawReplica,
  recordsOf,
  teachShapes,
} from "../support/replica.ts";
import { horizonOf, transferState, trimAll } from "../support/state.ts";

const open = closedAfterEach();

const schema = `
  CREATE TABLE note (id INTEGER PRIMARY KEY, a, b DEFAULT 'b');
  CREATE TABLE word (k TEXT PRIMARY KEY COLLATE NOCASE NOT NULL, n INTEGER NOT NULL DEFAULT 0);
  CREATE TABLE pair (x TEXT NOT NULL, y INTEGER NOT NULL, v, PRIMARY KEY (x, y)) WITHOUT ROWID;`;
const tables = ["note", "word", "pair"];
const nowMs = Date.UTC(2026, 0, 1);
let clockMs = nowMs;

function replica(file = ":memory:", sql = schema, names: readonly string[] = tables): RawReplica {
  const made = openRaw(file, sql, names);
  open.push(made.db);
  native.setClock(made.handle, clockMs);
  return made;
}

function later(...replicas: RawReplica[]): void {
  clockMs += 10;
  for (const { handle } of replicas) native.setClock(handle, clockMs);
}

function write({ db }: RawReplica, count: number): void {
  const note = db.prepare("INSERT INTO note VALUES (?, ?, ?)");
  const word = db.prepare("INSERT INTO word VALUES (?, ?)");
  const pair = db.prepare("INSERT INTO pair VALUES (?, ?, ?)");
  for (let i = 0; i < count; i++) {
    note.run(i, `a ${i}`, i % 3 === 0 ? null : i / 7);
    word.run(`w${i}`, i);
    pair.run(`x${i % 5}`, i, Buffer.from([i & 255]));
  }
}

function expectSame(...replicas: RawReplica[]): void {
  const [first, ...others] = replicas;
  for (const table of tables) {
    for (const other of others) {
      expect([table, ...dump(other.db, table)]).toEqual([
        table,
        ...dump((first as RawReplica).db, table),
      ]);
    }
  }
}

/** Row clocks with peer ids instead of ordinals, so that files can be compared. */
function parkedOf({ db }: RawReplica): unknown[] {
  return db
    .prepare(
      "SELECT table_name, key, peer, timestamp, reason, patch FROM _mergelite_parked ORDER BY 1, 2, 3, 4",
    )
    .all();
}

describe("state transfer", () => {
  it.each([1, 700, 1 << 19])(
    "brings an empty replica what the log no longer has: %i bytes a chunk",
    (bytesMax) => {
      const [here, there] = [replica(), replica()];
      write(here, 60);
      here.db.exec("UPDATE note SET a = NULL WHERE id % 4 = 0; DELETE FROM word WHERE n % 5 = 0");
      trimAll(here);
      pull(here, there);
      expect(dump(there.db, "note")).toEqual([]);
      const { complete, chunks } = transferState(here, there, { bytesMax });
      expect(complete).toBe(true);
      if (bytesMax === 1) expect(chunks).toBeGreaterThan(150);
      expectSame(here, there);
      expect(progressOf(there)[1]).toEqual({ ...progressOf(here)[0] });
      expect(horizonOf(there).get(here.peerId)).toBe(progressOf(here)[0]?.held);
      expect(there.db.prepare("SELECT * FROM _mergelite_meta WHERE key = 'state'").all()).toEqual(
        [],
      );
    },
  );

  it("goes on by log from there, in both directions", () => {
    const [here, there] = [replica(), replica()];
    write(here, 20);
    trimAll(here);
    transferState(here, there);
    later(here, there);
    here.db.exec("UPDATE note SET a = 'here' WHERE id = 1; DELETE FROM note WHERE id = 2");
    there.db.exec("UPDATE note SET b = 'there' WHERE id = 1; INSERT INTO note VALUES (100, 1, 2)");
    pull(here, there);
    pull(there, here);
    expectSame(here, there);
    expect(here.db.prepare("SELECT a, b FROM note WHERE id = 1").get()).toEqual({
      a: "here",
      b: "there",
    });
  });

  it("merges with writes of its own, older and newer", () => {
    const [here, there] = [replica(), replica()];
    write(there, 10);
    there.db.exec("UPDATE note SET a = 'old' WHERE id = 3");
    later(here, there);
    write(here, 10);
    here.db.exec("UPDATE note SET a = 'mid'");
    later(here, there);
    there.db.exec(
      "UPDATE note SET b = 'new' WHERE id = 4; DELETE FROM note WHERE id = 5; INSERT INTO word VALUES ('own', 1)",
    );
    trimAll(here);
    transferState(here, there);
    expect(there.db.prepare("SELECT a, b FROM note WHERE id = 4").get()).toEqual({
      a: "mid",
      b: "new",
    });
    expect(there.db.prepare("SELECT a FROM note WHERE id = 3").get()).toEqual({ a: "mid" });
    expect(there.db.prepare("SELECT * FROM note WHERE id = 5").all()).toEqual([]);
    pull(there, here);
    expectSame(here, there);
  });

  it("is gone on with after a cut, also from another peer", () => {
    const [here, middle, there] = [replica(), replica(), replica()];
    write(here, 100);
    pull(here, middle);
    for (const one of [here, middle]) trimAll(one);
    expect(transferState(here, there, { bytesMax: 500, chunksMax: 3 }).complete).toBe(false);
    for (const { held } of progressOf(there)) expect(held).toBe(0);
    const before = dump(there.db, "note").length;
    expect(before).toBeGreaterThan(0);
    expect(before).toBeLessThan(100);
    const rest = transferState(middle, there, { bytesMax: 500 });
    expect(rest.complete).toBe(true);
    expectSame(here, middle, there);
    expect(progressOf(there)[1]).toEqual({ ...progressOf(here)[0] });
  });

  it("claims only what all senders of it had", () => {
    const [here, stranger, there] = [replica(), replica(), replica()];
    write(here, 5);
    stranger.db.exec("INSERT INTO note VALUES (1, 'stranger', 1)");
    for (const one of [here, stranger]) trimAll(one);
    transferState(stranger, there, { bytesMax: 1, chunksMax: 1 });
    later(here);
    here.db.exec("DELETE FROM note WHERE id = 1");
    trimAll(here);
    expect(transferState(here, there, { bytesMax: 1 }).complete).toBe(true);
    for (const { held } of progressOf(there)) expect(held).toBe(0);
    expect(transferState(here, there).complete).toBe(true);
    expectSame(here, there);
  });

  it("is gone on with by another connection on the file", () => {
    const here = replica();
    write(here, 50);
    trimAll(here);
    const there = replica();
    transferState(here, there, { bytesMax: 300, chunksMax: 7 });
    const content = there.db.serialize();
    there.db.close();
    const again = attachRaw(new Database(content));
    open.push(again.db);
    native.setClock(again.handle, clockMs);
    expect(transferState(here, again, { bytesMax: 300 }).complete).toBe(true);
    expectSame(here, again);
  });

  it("begins a table although folding what was written takes all of a slice first", () => {
    const [here, there] = [replica(), replica()];
    write(here, 20);
    trimAll(here);
    let left = 40_000;
    const insert = there.db.prepare("INSERT INTO note (id, a) VALUES (?, 1)");
    const between = () => {
      const last = left - 8_000;
      there.db.exec("BEGIN");
      while (left > Math.max(last, 0)) insert.run(100_000 + left--);
      there.db.exec("COMMIT");
    };
    // Every look at the clock counts as a millisecond.
    native.setClock(there.handle, nowMs);
    expect(transferState(here, there, { bytesMax: 300, sliceMs: 1, between })).toMatchObject({
      complete: true,
    });
    expect(dump(there.db, "word")).toEqual(dump(here.db, "word"));
  });

  it("sees what is written meanwhile, on either side", () => {
    const [here, there] = [replica(), replica()];
    write(here, 60);
    trimAll(here);
    let turn = 0;
    const between = () => {
      turn++;
      later(here, there);
      here.db.exec(
        `UPDATE note SET a = 'turn ${turn}' WHERE id = ${(turn * 7) % 60}; DELETE FROM word WHERE n = ${(turn * 11) % 60}`,
      );
      there.db.exec(`INSERT OR REPLACE INTO note VALUES (${(turn * 13) % 60}, 'own', ${turn})`);
    };
    expect(transferState(here, there, { bytesMax: 400, between }).complete).toBe(true);
    for (let round = 0; round < 2; round++) {
      pull(here, there);
      pull(there, here);
    }
    expectSame(here, there);
  });

  it("keeps deleted rows deleted, and their older writers losing", () => {
    const [here, late, there] = [replica(), replica(), replica()];
    write(late, 10);
    later(here, late, there);
    write(here, 10);
    here.db.exec("DELETE FROM note WHERE id < 5");
    trimAll(here);
    transferState(here, there);
    pull(late, there);
    pull(late, here);
    expectSame(here, there);
    expect(there.db.prepare("SELECT count(*) FROM note").pluck().get()).toBe(5);
  });

  it("takes updates of rows that nobody has inserted yet along", () => {
    const [writer, here, there] = [replica(), replica(), replica()];
    writer.db.exec("INSERT INTO note VALUES (1, 'first', 0)");
    const insert = native.readLog(writer.handle, writer.peerId, 1, 1, 1e6);
    const second = replica();
    pull(writer, second);
    later(second);
    second.db.exec("UPDATE note SET a = 'second' WHERE id = 1");
    pull({ ...second }, here);
    // Only the update of the second peer, without the insert.
    const alone = replica();
    native.learnShapes(alone.handle, native.shapes(second.handle, 0).descriptors);
    native.merge(alone.handle, native.readLog(second.handle, second.peerId, 1, 1, 1e6), 0, 1000);
    expect(parkedOf(alone)).toHaveLength(1);
    trimAll(alone);
    transferState(alone, there);
    transferState(alone, there);
    expect(parkedOf(there)).toEqual(parkedOf(alone));
    native.merge(there.handle, insert, 0, 1000);
    expect(there.db.prepare("SELECT a FROM note").pluck().all()).toEqual(["second"]);
  });

  it("takes rows of unknown tables and columns along", () => {
    const newer = replica(
      ":memory:",
      `${schema} ALTER TABLE note ADD COLUMN c; CREATE TABLE extra (id INTEGER PRIMARY KEY, v)`,
      [...tables, "extra"],
    );
    const [older, there] = [
      replica(),
      replica(
        ":memory:",
        `${schema} ALTER TABLE note ADD COLUMN c; CREATE TABLE extra (id INTEGER PRIMARY KEY, v)`,
        [...tables, "extra"],
      ),
    ];
    newer.db.exec(
      "INSERT INTO note VALUES (1, 2, 3, 4), (2, 2, 3, 4); INSERT INTO extra VALUES (1, 'x')",
    );
    later(newer, older, there);
    newer.db.exec("UPDATE note SET c = 5 WHERE id = 2");
    pull(newer, older);
    trimAll(older);
    transferState(older, there);
    for (const table of ["note", "extra"])
      expect(dump(there.db, table)).toEqual(dump(newer.db, table));
    expect(progressOf(there).find(({ peerId }) => peerId === newer.peerId)).toEqual(
      progressOf(newer)[0],
    );
  });

  it("keeps apart what UNIQUE keeps apart", () => {
    const unique = "CREATE TABLE name (id INTEGER PRIMARY KEY, n TEXT UNIQUE, v)";
    const [a, b, there] = [
      replica(":memory:", unique, ["name"]),
      replica(":memory:", unique, ["name"]),
      replica(":memory:", unique, ["name"]),
    ];
    a.db.exec("INSERT INTO name VALUES (9, 'x', 'a')");
    later(a, b);
    b.db.exec("INSERT INTO name VALUES (1, 'x', 'b'), (2, 'y', 'b')");
    pull(a, b);
    pull(b, a);
    expect(dump(b.db, "name")).toEqual(dump(a.db, "name"));
    trimAll(a);
    transferState(a, there);
    expect(dump(there.db, "name")).toEqual(dump(a.db, "name"));
    for (const one of [a, b, there]) later(one);
    a.db.exec("DELETE FROM name WHERE id = 9");
    pull(a, b);
    pull(a, there);
    expect(dump(b.db, "name")).toEqual(dump(there.db, "name"));
    expect(there.db.prepare("SELECT id, v FROM name ORDER BY id").raw().all()).toEqual([
      [1, "b"],
      [2, "b"],
    ]);
  });

  it("does not let stamps far ahead in", () => {
    const [here, there] = [replica(), replica()];
    native.setClock(here.handle, clockMs + 300_000);
    write(here, 3);
    trimAll(here);
    expect(transferState(here, there)).toMatchObject({ rows: 0, complete: false });
    native.setClock(there.handle, clockMs + 290_000);
    expect(transferState(here, there).complete).toBe(true);
    expectSame(here, there);
    maintainAll(there);
  });
});

describe("rows whose tombstone is gone", () => {
  /** Deletes the row clocks of deleted rows, as dropping tombstones does. */
  function dropTombstones(one: RawReplica): void {
    trimAll(one);
    one.db.exec(
      "DELETE FROM _mergelite_clock_note WHERE hex(substr(_mergelite_clock, 1, 1)) = '01'",
    );
    sayDropped(one);
  }
  /** So low that nothing which is merged here counts as too old. */
  function sayDropped({ db }: RawReplica): void {
    db.exec("INSERT OR REPLACE INTO _mergelite_meta (key, value) VALUES ('swept', 2)");
  }

  it.each([1, 400, 1 << 19])(
    "are deleted at a peer that had them: %i bytes a chunk",
    (bytesMax) => {
      const [here, there] = [replica(), replica()];
      write(here, 50);
      pull(here, there);
      later(here, there);
      here.db.exec("DELETE FROM note WHERE id % 3 = 0; DELETE FROM note WHERE id > 40");
      // Its own, unsent: new rows stay, updates of deleted rows are void, a deleted row's again is new.
      there.db.exec(
        "INSERT INTO note VALUES (1000, 'own', 1), (-5, 'own', 2); UPDATE note SET a = 'own'",
      );
      later(there);
      there.db.exec("DELETE FROM note WHERE id = 6; INSERT INTO note VALUES (6, 'again', 1)");
      const old = there.db.serialize();
      dropTombstones(here);
      expect(transferState(here, there, { bytesMax, sliceMs: 1 }).complete).toBe(true);
      const ids = there.db.prepare("SELECT id FROM note ORDER BY id").pluck().all() as number[];
      const kept = Array.from({ length: 41 }, (_, i) => i).filter((i) => i % 3 !== 0 || i === 6);
      expect(ids).toEqual([-5, ...kept, 1000]);
      pull(there, here);
      expectSame(here, there);
      // A copy of the old file under the same id learns the same.
      const copy = attachRaw(new Database(old));
      open.push(copy.db);
      native.renewIdentity(copy.handle);
      native.setClock(copy.handle, clockMs);
      expect(transferState(here, copy, { bytesMax })).toMatchObject({ complete: true });
      expectSame(here, copy);
    },
  );

  it("stay when the sender has never dropped one and has merged a twin's changesets", () => {
    const [here, other, there] = [replica(), replica(), replica()];
    write(here, 2);
    const twin = attachRaw(new Database(here.db.serialize()));
    open.push(twin.db);
    native.setClock(twin.handle, clockMs);
    here.db.exec("INSERT INTO note VALUES (100, 'here', 1)");
    later(twin);
    twin.db.exec("INSERT INTO note VALUES (200, 'twin', 1)");
    pull(here, there);
    pull(twin, other);
    const has = (id: number) =>
      there.db.prepare("SELECT count(*) FROM note WHERE id = ?").pluck().get(id) === 1;
    transferState(other, there);
    expect([has(100), has(200)]).toEqual([true, true]);
    // A sender without a tombstone looks the same: only that it has dropped some tells the two apart.
    sayDropped(other);
    transferState(other, there, { restart: true });
    expect([has(100), has(200)]).toEqual([false, true]);
  });

  it("stay when the sender lacks a changeset that is older than one before it", () => {
    const [origin, here, there] = [replica(), replica(), replica()];
    origin.db.exec("INSERT INTO note VALUES (1, 'older', 1)");
    later(origin);
    origin.db.exec("INSERT INTO note VALUES (2, 'newer', 1)");
    // As a file that comes back issues again what only it knew: in the order of keys, not of stamps.
    const [older, newer] = readRecords(recordsOf(origin, origin.peerId));
    if (older === undefined || newer === undefined) throw new Error("two changesets");
    const [first, second] = [
      { ...newer, sequence: 1 },
      { ...older, sequence: 2 },
    ].map(forge) as [Uint8Array, Uint8Array];
    for (const to of [here, there]) {
      teachShapes(origin, to);
      later(to);
      mergeAll(to, first);
    }
    mergeAll(there, second);
    sayDropped(here);
    transferState(here, there);
    expect(there.db.prepare("SELECT id FROM note ORDER BY id").pluck().all()).toEqual([1, 2]);
    mergeAll(here, second);
    expectSame(here, there);
  });

  it("stay when the sender does not know of them", () => {
    const [here, other, there] = [replica(), replica(), replica()];
    write(other, 5);
    write(here, 2);
    pull(other, there);
    trimAll(here);
    transferState(here, there);
    expect(dump(there.db, "word")).toHaveLength(5);
    pull(other, here);
    pull(there, here);
    expectSame(here, there);
  });
});
