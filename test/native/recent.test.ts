/** Changesets older than the newest: rows nobody has touched since win without a look, others not. */
import Database from "better-sqlite3";
import { describe, expect, it } from "vitest";
import { native } from "../../src/native.ts";
import { closedAfterEach } from "../support/databases.ts";
import { temporaryFolder } from "../support/folder.ts";
import {
  attachRaw,
  maintainAll,
  openRaw,
  patiently,
  pull,
  type RawReplica,
  teachShapes,
} from "../support/replica.ts";
import { transferState } from "../support/state.ts";

const folder = temporaryFolder();
const open = closedAfterEach();

const nowMs = Date.UTC(2026, 0, 1);
const rows = 8;

function replica(file = ":memory:"): RawReplica {
  const made = openRaw(file, "CREATE TABLE note (id INTEGER PRIMARY KEY, a, b)", ["note"]);
  open.push(made.db);
  return made;
}

/** One that has a second table, too. */
function aside(ms: number, file?: string): RawReplica {
  const made = replica(file);
  made.db.exec("CREATE TABLE aside (id INTEGER PRIMARY KEY, n)");
  native.replicate(made.handle, "aside");
  native.setClock(made.handle, nowMs + ms);
  return made;
}

/** `here` has written last, `middle` before it and `early` first; all know the same rows. */
function threePeers(file?: string): { here: RawReplica; middle: RawReplica; early: RawReplica } {
  const here = replica(file);
  native.setClock(here.handle, nowMs);
  const insert = here.db.prepare("INSERT INTO note VALUES (?, 'first', 0)");
  for (let id = 1; id <= rows; id++) insert.run(id);
  const [middle, early] = [replica(), replica()];
  [early, middle, here].forEach((peer, i) => {
    pull(here, peer);
    native.setClock(peer.handle, nowMs + 1000 * (i + 1));
  });
  early.db.exec("UPDATE note SET a = 'early' WHERE id <= 4; UPDATE note SET b = 1 WHERE id = 5");
  middle.db.exec("UPDATE note SET a = 'middle' WHERE id <= 2; DELETE FROM note WHERE id = 4");
  middle.db.exec("DELETE FROM note WHERE id = 6; UPDATE note SET a = 'middle' WHERE id = 5");
  here.db.exec("UPDATE note SET a = 'here' WHERE id = 1; DELETE FROM note WHERE id = 7");
  return { here, middle, early };
}

const merged = [
  { id: 1, a: "here", b: 0 },
  { id: 2, a: "middle", b: 0 },
  { id: 3, a: "early", b: 0 },
  { id: 5, a: "middle", b: 1 },
  { id: 8, a: "first", b: 0 },
];

function notes({ db }: RawReplica): { id: number }[] {
  return db.prepare("SELECT * FROM note ORDER BY id").all() as { id: number }[];
}

/** Everything into the clock tables, and nothing left in the log to learn it from. */
function foldAndTrim({ handle }: RawReplica): void {
  const none = new Float64Array();
  while (native.trim(handle, Number.MAX_SAFE_INTEGER, none, none, 1, patiently).more) {}
}

/** Row clocks that `work` has looked for in their table. */
function readsOf({ handle }: RawReplica, work: () => void): number {
  const before = native.counters(handle).clockReads;
  work();
  return native.counters(handle).clockReads - before;
}

/** More of a row than its key, so that few rows make a generation of clocks. */
function insertLong({ db }: RawReplica, first: number, last: number): void {
  const sql = `WITH RECURSIVE n (i) AS (SELECT ? UNION ALL SELECT i + 1 FROM n WHERE i < ?)
    INSERT INTO note SELECT printf('%01500d', i * 7919 % 1000003), i, 0 FROM n`;
  db.prepare(sql).run(first, last);
}

const last = 14_000;

/** A replica with folded clocks whose newest columns are its own, and a peer that wrote before. */
function foldedBefore(file: string): { here: RawReplica; early: RawReplica; expected: unknown } {
  const schema = "CREATE TABLE note (k TEXT PRIMARY KEY NOT NULL, a, b); CREATE TABLE local (n)";
  const [here, early] = [openRaw(file, schema, ["note"]), openRaw(":memory:", schema, ["note"])];
  open.push(here.db, early.db);
  native.setClock(here.handle, nowMs);
  insertLong(here, 1, 3000);
  pull(here, early);
  native.setClock(early.handle, nowMs + 1000);
  native.setClock(here.handle, nowMs + 2000);
  const some = "(SELECT k FROM note ORDER BY a LIMIT 2000)";
  early.db.exec(`UPDATE note SET b = 'early' WHERE k IN ${some}`);
  here.db.exec(`UPDATE note SET b = 'here' WHERE k IN ${some}`);
  insertLong(here, 3001, last);
  maintainAll(here);
  return { here, early, expected: here.db.prepare("SELECT * FROM note").all() };
}

describe("what memory holds of rows", () => {
  it("decides against what is older, after folding and commits of other tables", () => {
    const { here, early, expected } = foldedBefore(folder.file());
    teachShapes(early, here);
    here.db.exec("INSERT INTO local VALUES (1)");
    expect(readsOf(here, () => pull(early, here))).toBe(0);
    expect(here.db.prepare("SELECT * FROM note").all()).toEqual(expected);
  });

  it("decides nothing once another connection has written", () => {
    const file = folder.file();
    const { here, early, expected } = foldedBefore(file);
    const db = new Database(file);
    open.push(db);
    db.exec("INSERT INTO local VALUES (1)");
    expect(readsOf(here, () => pull(early, here))).toBe(2000);
    expect(here.db.prepare("SELECT * FROM note").all()).toEqual(expected);
  });

  it("is forgotten when all is folded", () => {
    const { here, early, expected } = foldedBefore(folder.file());
    foldAndTrim(here);
    expect(native.counters(here.handle).clockCacheBytes).toBe(0);
    expect(readsOf(here, () => pull(early, here))).toBe(2000);
    expect(here.db.prepare("SELECT * FROM note").all()).toEqual(expected);
  });
});

describe("rows that nobody has touched lately", () => {
  it("win, and lose to what came in between", () => {
    const { here, middle, early } = threePeers();
    pull(middle, here);
    pull(early, here);
    expect(notes(here)).toEqual(merged);
  });

  it("are told apart after folding, too", () => {
    const { here, middle, early } = threePeers();
    pull(middle, here);
    foldAndTrim(here);
    pull(early, here);
    expect(notes(here)).toEqual(merged);
  });

  it("are not taken for it when another connection has merged, folded and trimmed", () => {
    const file = folder.file();
    const { here, middle, early } = threePeers(file);
    maintainAll(here);
    const db = new Database(file);
    open.push(db);
    const beside = attachRaw(db);
    native.setClock(beside.handle, nowMs + 4000);
    pull(middle, beside);
    foldAndTrim(beside);
    pull(early, here);
    expect(notes(here)).toEqual(merged);
  });

  it("are not taken for it when state has brought them, many at a time", () => {
    const { here, middle, early } = threePeers();
    native.setClock(here.handle, nowMs - 20_000);
    const long = here.db.prepare("INSERT INTO note VALUES (?, 'long', zeroblob(200))");
    here.db.transaction(() => {
      for (let id = 100; id < 600; id++) long.run(id);
    })();
    pull(middle, here);
    foldAndTrim(here);
    // What makes a replica look at row clocks, and know of them from there on.
    const [late, soon, later] = [aside(4000, folder.file()), aside(-9000), aside(-8000)];
    for (const { db } of [soon, later]) {
      db.exec("INSERT INTO aside VALUES (1, 1)");
      db.exec("UPDATE aside SET n = n + 1");
    }
    pull(later, late);
    pull(soon, late);
    transferState(here, late, { bytesMax: 50_000, chunksMax: 1 });
    pull(early, late);
    transferState(here, late);
    expect(notes(late).filter((row) => row.id < 100)).toEqual(merged);
  });
});
