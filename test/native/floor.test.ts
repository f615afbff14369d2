/** Tombstones that go, promises that stay, and a file that comes back after it was left behind. */
import type Database from "better-sqlite3";
import { describe, expect, it } from "vitest";
import { native } from "../../src/native.ts";
import { closedAfterEach } from "../support/databases.ts";
import { temporaryFolder } from "../support/folder.ts";
import {
  attachRaw,
  converge,
  dump,
  heldOf,
  maintainAll,
  openRaw,
  patiently,
  progressOf,
  pull,
  type RawReplica,
} from "../support/replica.ts";
import { transferState, trimAll } from "../support/state.ts";

const folder = temporaryFolder();
const open = closedAfterEach();

const nowMs = Date.UTC(2026, 0, 1);
const timestampOf = (ms: number) => (ms - Date.UTC(2025, 0, 1)) * 8192;
const schema = `
  CREATE TABLE note (id INTEGER PRIMARY KEY, a, b);
  CREATE TABLE word (k TEXT PRIMARY KEY NOT NULL COLLATE NOCASE, n UNIQUE)`;

function replica({ file = ":memory:", atMs = nowMs } = {}): RawReplica {
  const made = openRaw(file, schema, ["note", "word"]);
  open.push(made.db);
  native.setClock(made.handle, atMs);
  return made;
}

const at = ({ handle }: RawReplica, ms: number) => native.setClock(handle, nowMs + ms);

function sweep({ handle }: RawReplica, horizon: number, budgetMs = patiently) {
  let dropped = 0;
  let slices = 0;
  let position: { table: string; after: Uint8Array } = { table: "", after: new Uint8Array(0) };
  for (;;) {
    const swept = native.sweepTombstones(handle, horizon, position.table, position.after, budgetMs);
    if (swept.busy) throw new Error("busy");
    dropped += swept.dropped;
    slices += 1;
    if (!swept.more) return { dropped, kept: swept.kept, slices };
    position = swept;
  }
}

const clocks = ({ db }: RawReplica, table = "note") =>
  Number(db.prepare(`SELECT count(*) FROM _mergelite_clock_${table}`).pluck().get());

/** What `to` lets `back` in with: it holds this, and takes nothing unknown below the bound. */
function readmit(back: RawReplica, to: RawReplica, bound: number, budgetMs = patiently): number {
  const known = new Float64Array(progressOf(to).flatMap(({ peerId, held }) => [peerId, held]));
  const members = new Float64Array([to.peerId]);
  const record = native.floor(back.handle);
  native.saveFloor(back.handle, record.state, record.revision, bound);
  const found = native.unsentBelow(back.handle, known, members, bound);
  if (found.own) back.peerId = native.renewIdentity(back.handle);
  let cursor: Uint8Array = new Uint8Array(0);
  let patches = 0;
  for (let more = true; more; ) {
    const slice = native.reissueRows(back.handle, known, members, bound, cursor, budgetMs);
    patches += slice.patches;
    ({ cursor, more } = slice);
  }
  while (native.giveUp(back.handle, known, members, bound, budgetMs).more);
  expect(native.unsentBelow(back.handle, known, members, bound)).toEqual({
    own: false,
    others: false,
  });
  return patches;
}

describe("tombstones", () => {
  it("below the horizon go, in slices; rows, younger ones and what waits above it stay", () => {
    const here = replica();
    for (let id = 1; id <= 3000; id++) here.db.prepare("INSERT INTO note VALUES (?, 1, 1)").run(id);
    here.db.exec("INSERT INTO word VALUES ('old', 1), ('new', 2)");
    here.db.exec("DELETE FROM note WHERE id % 2 = 0; DELETE FROM word WHERE k = 'old'");
    at(here, 1000);
    here.db.exec("DELETE FROM note WHERE id < 10; DELETE FROM word");
    trimAll(here);
    expect(clocks(here)).toBe(3000);
    const shown = dump(here.db, "note");
    expect(sweep(here, timestampOf(nowMs))).toMatchObject({ dropped: 0 });
    const { dropped, slices } = sweep(here, timestampOf(nowMs + 500), 1);
    expect(dropped).toBe(1501);
    expect(slices).toBeGreaterThan(2);
    expect(clocks(here)).toBe(1500);
    expect(clocks(here, "word")).toBe(1);
    expect(dump(here.db, "note")).toEqual(shown);
    expect(sweep(here, timestampOf(nowMs + 500))).toMatchObject({ dropped: 0 });
  });

  it("take with them what waits for the row, and no row that is alive again", () => {
    const [here, there] = [replica(), replica()];
    here.db.exec("INSERT INTO note VALUES (1, 1, 1), (2, 1, 1)");
    pull(here, there);
    here.db.exec("DELETE FROM note");
    at(there, 3);
    there.db.exec("UPDATE note SET a = 'late'");
    at(there, 10);
    there.db.exec("UPDATE note SET b = 'later' WHERE id = 2");
    converge([here, there]);
    const parked = () => here.db.prepare("SELECT count(*) FROM _mergelite_parked").pluck().get();
    trimAll(here);
    expect(parked()).toBe(3);
    // The update of row 2 above the horizon keeps its clock.
    expect(sweep(here, timestampOf(nowMs + 5)).dropped).toBe(1);
    expect(parked()).toBe(2);
    expect(sweep(here, timestampOf(nowMs + 20)).dropped).toBe(1);
    expect(parked()).toBe(0);
    at(here, 50);
    here.db.exec("INSERT INTO note VALUES (1, 'again', 0)");
    pull(here, there);
    expect(dump(there.db, "note")).toEqual(dump(here.db, "note"));
    expect(sweep(here, timestampOf(nowMs + 60)).dropped).toBe(0);
  });

  it("that are gone keep older rows out, here and where rows go from here, at any id", () => {
    const [here, late, there] = [replica(), replica(), replica()];
    here.db.exec("INSERT INTO note VALUES (1, 'here', 1), (2, 'here', 1)");
    late.db.exec("INSERT INTO note VALUES (2, 'late', 1), (3, 'late', 1)");
    at(here, 10);
    here.db.exec("DELETE FROM note WHERE id = 2");
    trimAll(here);
    const horizon = timestampOf(nowMs + 20);
    sweep(here, horizon);
    expect(native.floor(here.handle)).toMatchObject({ swept: horizon, transfer: false });
    const before = dump(here.db, "note");
    const records = native.readLog(late.handle, late.peerId, 1, 1, 1e6);
    const refusedBy = ({ handle }: RawReplica) => {
      const { below, gaps, changesets } = native.merge(handle, records, 0, patiently);
      expect([below, gaps, changesets]).toEqual([1, [late.peerId, 1], 0]);
    };
    refusedBy(here);
    expect(dump(here.db, "note")).toEqual(before);
    expect(heldOf(here, late.peerId)).toBe(0);
    // From the first chunk on: the deletes of rows in it have left no trace.
    transferState(here, there, { bytesMax: 1, chunksMax: 1 });
    expect(native.floor(there.handle)).toMatchObject({ swept: horizon, transfer: true });
    refusedBy(there);
    transferState(here, there);
    expect(native.floor(there.handle)).toMatchObject({ swept: horizon, transfer: false });
    expect(dump(there.db, "note")).toEqual(before);
    there.peerId = native.renewIdentity(there.handle);
    refusedBy(there);
    // What is younger comes in.
    const young = replica({ atMs: nowMs + 30 });
    young.db.exec("INSERT INTO note VALUES (9, 'young', 1)");
    pull(young, there);
    expect(dump(there.db, "note")).toHaveLength(before.length + 1);
  });

  it("that are gone at one side are no difference, and state brings nothing back", () => {
    const [here, there, third] = [replica(), replica(), replica()];
    here.db.exec("INSERT INTO note VALUES (1, 1, 1), (2, 1, 1), (3, 1, 1)");
    pull(here, there);
    pull(here, third);
    here.db.exec("DELETE FROM note WHERE id = 2");
    pull(here, there);
    trimAll(here);
    sweep(here, timestampOf(nowMs + 1000));
    const digest = (one: RawReplica) => {
      for (;;) {
        const none = new Uint8Array(0);
        const read = native.ranges(one.handle, "note", none, none, 1, patiently);
        if (!read.more) return read.parts.map(({ rows, digest: sum }) => ({ rows, sum }));
      }
    };
    expect(digest(here)).toEqual(digest(there));
    // A third peer, which missed the delete, gets the rows and loses the dead one.
    transferState(here, third);
    expect(dump(third.db, "note")).toEqual(dump(here.db, "note"));
    expect(dump(third.db, "note")).toHaveLength(2);
  });
});

describe("what was promised", () => {
  it("is in the file, binds the next write, and never falls", () => {
    const file = folder.file();
    const here = replica({ file });
    const bound = timestampOf(nowMs + 3_600_000);
    const save = (revision: number, at: number, state = "s") =>
      native.saveFloor(here.handle, Buffer.from(state), revision, at);
    expect(save(0, bound)).toEqual({ busy: false, stale: false });
    expect(save(0, bound + 5)).toEqual({ busy: false, stale: true });
    expect(save(1, 5, "later")).toEqual({ busy: false, stale: false });
    here.db.exec("INSERT INTO note VALUES (1, 1, 1)");
    const written = here.db.prepare("SELECT _patchedAt FROM note_patches").pluck().get();
    expect(Number(written)).toBeGreaterThanOrEqual(bound);
    here.db.exec("BEGIN");
    expect(save(2, 6)).toMatchObject({ busy: true });
    here.db.exec("COMMIT");
    here.db.close();
    const again = attachRaw(new (here.db.constructor as typeof Database)(file));
    open.push(again.db);
    const { state, revision, bound: kept } = native.floor(again.handle);
    expect([Buffer.from(state).toString(), revision, kept]).toEqual(["later", 2, bound]);
  });

  it("holds for tables that begin to replicate: their rows are no longer of before all time", () => {
    const [here, there] = [replica(), replica()];
    for (const { db } of [here, there]) {
      db.exec("CREATE TABLE late (id INTEGER PRIMARY KEY, x)");
      db.exec("INSERT INTO late VALUES (1, 'stale'), (2, 'stale')");
    }
    there.db.exec("INSERT INTO late VALUES (3, 'there'); DELETE FROM late WHERE id = 2");
    native.replicate(there.handle, "late");
    there.db.exec("UPDATE late SET x = 'new' WHERE id = 1");
    there.db.exec("INSERT INTO late VALUES (4, 'there'); DELETE FROM late WHERE id = 4");
    pull(there, here);
    here.db.exec("INSERT INTO late VALUES (4, 'stale')");
    native.saveFloor(here.handle, new Uint8Array(0), 0, timestampOf(nowMs));
    native.replicate(here.handle, "late");
    maintainAll(here);
    pull(here, there);
    maintainAll(there);
    expect(dump(here.db, "late")).toEqual(dump(there.db, "late"));
    const rows = here.db.prepare("SELECT id, x FROM late ORDER BY id").raw().all();
    // What the peer wrote wins over what was there; what it never knew is new.
    expect(rows).toEqual([
      [1, "new"],
      [2, "stale"],
      [3, "there"],
    ]);
    const oldest = here.db.prepare("SELECT min(_patchedAt) FROM late_patches WHERE _peerId = ?");
    expect(Number(oldest.pluck().get(here.peerId))).toBeGreaterThan(timestampOf(nowMs));
  });
});

describe("a file that was left behind", () => {
  /** A pair that was in step, then one was away while both wrote, and the other one's tombstones went. */
  function apart(): { here: RawReplica; back: RawReplica; bound: number } {
    const [here, back] = [replica(), replica()];
    here.db.exec("INSERT INTO note VALUES (1, 1, 1), (2, 1, 1), (3, 1, 1), (4, 1, 1), (5, 1, 1)");
    here.db.exec("INSERT INTO word VALUES ('one', 1), ('two', 2)");
    pull(here, back);
    at(back, 1000);
    back.db.exec("INSERT INTO note VALUES (10, 'back', 1), (11, 'back', 1)");
    back.db.exec("UPDATE note SET a = 'back' WHERE id IN (1, 2); DELETE FROM note WHERE id = 3");
    back.db.exec("DELETE FROM note WHERE id = 11; UPDATE note SET b = 'old' WHERE id = 5");
    at(here, 2000);
    here.db.exec("DELETE FROM note WHERE id IN (2, 4); UPDATE note SET b = 'new' WHERE id = 5");
    at(here, 10_000);
    const bound = timestampOf(nowMs + 9000);
    trimAll(here);
    sweep(here, bound);
    expect(clocks(here)).toBe(3);
    return { here, back, bound };
  }

  it("gets the rows, and issues again what still wins, with new stamps under a new id", () => {
    const { here, back, bound } = apart();
    const former = back.peerId;
    transferState(here, back);
    expect(readmit(back, here, bound)).toBe(4);
    expect(back.peerId).not.toBe(former);
    expect(heldOf(back, former)).toBe(0);
    const rest = back.db.prepare("SELECT min(_patchedAt) FROM note_patches WHERE _peerId = ?");
    expect(Number(rest.pluck().get(back.peerId))).toBeGreaterThanOrEqual(bound);
    converge([here, back]);
    expect(dump(here.db, "note")).toEqual(dump(back.db, "note"));
    expect(here.db.prepare("SELECT id, a, b FROM note ORDER BY id").raw().all()).toEqual([
      [1, "back", 1],
      [5, 1, "new"],
      [10, "back", 1],
    ]);
    // What is written next wins on both sides: clocks know of the new stamps.
    at(back, 20_000);
    back.db.exec("UPDATE note SET a = 'next' WHERE id = 10; DELETE FROM note WHERE id = 5");
    at(here, 30_000);
    here.db.exec("INSERT OR REPLACE INTO note VALUES (5, 'next', 0)");
    converge([here, back]);
    expect(dump(here.db, "note")).toEqual(dump(back.db, "note"));
  });

  it("wins against nothing that was written from the bound on", () => {
    const { here, back, bound } = apart();
    // Neither knows: what a third one deletes and changes, having had it from the second.
    const third = replica();
    converge([back, third]);
    transferState(here, third);
    at(third, 9001);
    third.db.exec("DELETE FROM note WHERE id = 10; UPDATE note SET a = 'third' WHERE id = 1");
    transferState(here, back);
    at(back, 60_000);
    readmit(back, here, bound);
    const stamps = back.db.prepare(
      "SELECT DISTINCT _patchedAt FROM note_patches WHERE _peerId = ?",
    );
    expect(stamps.pluck().all(back.peerId)).toEqual([bound]);
    converge([here, back, third]);
    for (const { db } of [here, back, third]) {
      expect(db.prepare("SELECT id, a, b FROM note ORDER BY id").raw().all()).toEqual([
        [1, "third", 1],
        [5, 1, "new"],
      ]);
    }
  });

  it("keeps the order of what it wrote after the bound", () => {
    const { here, back, bound } = apart();
    at(back, 9500);
    back.db.exec("INSERT INTO note VALUES (20, 'young', 1)");
    at(back, 9600);
    back.db.exec("UPDATE note SET b = 'younger' WHERE id IN (10, 20)");
    const third = replica();
    converge([back, third]);
    transferState(here, third);
    at(third, 9550);
    third.db.exec("UPDATE note SET a = 'third' WHERE id IN (10, 20)");
    transferState(here, back);
    readmit(back, here, bound);
    converge([here, back, third]);
    for (const one of [here, back, third]) {
      maintainAll(one);
      const rows = one.db.prepare("SELECT id, a, b FROM note WHERE id >= 10 ORDER BY id");
      expect(rows.raw().all()).toEqual([
        [10, "third", "younger"],
        [20, "third", "younger"],
      ]);
    }
  });

  it("does it in slices, and again after a crash between any two", () => {
    const { here, back, bound } = apart();
    for (let id = 100; id < 400; id++) back.db.prepare("INSERT INTO note VALUES (?, 2, 2)").run(id);
    transferState(here, back);
    // A first try that comes half way.
    const known = new Float64Array(progressOf(here).flatMap(({ peerId, held }) => [peerId, held]));
    const members = new Float64Array([here.peerId]);
    native.saveFloor(back.handle, new Uint8Array(0), 0, bound);
    back.peerId = native.renewIdentity(back.handle);
    const none = new Uint8Array(0);
    const half = native.reissueRows(back.handle, known, members, bound, none, 1);
    expect(half.more).toBe(true);
    const patches = readmit(back, here, bound, 1);
    expect(patches).toBeGreaterThan(100);
    expect(patches + half.patches).toBe(304);
    converge([here, back]);
    expect(dump(here.db, "note")).toEqual(dump(back.db, "note"));
    expect(dump(here.db, "note")).toHaveLength(303);
  });

  it("has nothing to issue when the member holds all of it", () => {
    const [here, back] = [replica(), replica()];
    back.db.exec("INSERT INTO note VALUES (1, 1, 1)");
    converge([here, back]);
    const { peerId } = back;
    expect(readmit(back, here, timestampOf(nowMs + 1000))).toBe(0);
    expect(back.peerId).toBe(peerId);
    expect(heldOf(back, here.peerId)).toBe(heldOf(here, here.peerId));
  });

  it("issues again what it withholds, and rows from before replication", () => {
    const [here, back] = [replica(), openRaw(":memory:", schema, [])];
    open.push(back.db);
    native.setClock(back.handle, nowMs);
    here.db.exec("INSERT INTO word VALUES ('older', 7)");
    back.db.exec("INSERT INTO note VALUES (1, 'before', 1)");
    native.replicate(back.handle, "note");
    native.replicate(back.handle, "word");
    at(back, 500);
    back.db.exec("INSERT INTO word VALUES ('younger', 7)");
    at(here, 10_000);
    pull(here, back);
    maintainAll(back);
    expect(dump(back.db, "word")).toHaveLength(1);
    readmit(back, here, timestampOf(nowMs + 9000));
    converge([here, back]);
    for (const { db } of [here, back]) {
      expect(dump(db, "note")).toHaveLength(1);
      expect(db.prepare("SELECT k FROM word").pluck().all()).toEqual(["older"]);
    }
    here.db.exec("DELETE FROM word WHERE k = 'older'");
    converge([here, back]);
    for (const { db } of [here, back]) {
      expect(db.prepare("SELECT k FROM word").pluck().all()).toEqual(["younger"]);
    }
  });

  it("keeps what another connection knows of the moved rows", () => {
    const file = folder.file();
    const back = replica({ file });
    const other = attachRaw(new (back.db.constructor as typeof Database)(file));
    open.push(other.db);
    native.setClock(other.handle, nowMs);
    const here = replica();
    back.db.exec("INSERT INTO note VALUES (1, 1, 1), (2, 1, 1)");
    // In the other connection's memory.
    maintainAll(other);
    readmit(back, here, timestampOf(nowMs + 5000));
    at(here, 2000);
    here.db.exec("INSERT INTO note VALUES (1, 'older than what was issued again', 0)");
    pull(here, other);
    at(here, 9000);
    converge([here, back]);
    expect(dump(here.db, "note")).toEqual(dump(other.db, "note"));
    expect(dump(other.db, "note")).toContain("integer 1 | integer 1 | integer 1");
  });
});
