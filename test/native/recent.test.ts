/** Changesets older than the newest: rows nobody has touched since win without a look, others not. */
import Database from "better-sqlite3";
import { afterEach, describe, expect, it } from "vitest";
import { native } from "../../src/native.ts";
import { temporaryFolder } from "../support/folder.ts";
import {
  attachRaw,
  maintainAll,
  openRaw,
  patiently,
  pull,
  type RawReplica,
} from "../support/replica.ts";

const folder = temporaryFolder();
const open: Database.Database[] = [];
afterEach(() => {
  for (const db of open.splice(0)) db.close();
});

const nowMs = Date.UTC(2026, 0, 1);
const rows = 8;

function replica(file = ":memory:"): RawReplica {
  const made = openRaw(file, "CREATE TABLE note (id INTEGER PRIMARY KEY, a, b)", ["note"]);
  open.push(made.db);
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

function notes({ db }: RawReplica): unknown[] {
  return db.prepare("SELECT * FROM note ORDER BY id").all();
}

/** Everything into the clock tables, and nothing left in the log to learn it from. */
function foldAndTrim({ handle }: RawReplica): void {
  const none = new Float64Array();
  while (native.trim(handle, Number.MAX_SAFE_INTEGER, none, none, 1, patiently).more) {}
}

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
});
