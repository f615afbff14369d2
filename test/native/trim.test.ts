/** Trimming the log: what may go, what has to stay, and that merging knows as much as before. */
import Database from "better-sqlite3";
import { describe, expect, it } from "vitest";
import { native, type TrimResult } from "../../src/native.ts";
import { closedAfterEach } from "../support/databases.ts";
import { temporaryFolder } from "../support/folder.ts";
import {
  attachRaw,
  dump,
  maintainAll,
  openRaw,
  patiently,
  progressOf,
  pull,
  type RawReplica,
  recordsOf,
} from "../support/replica.ts";

const folder = temporaryFolder();
const open = closedAfterEach();

const schema = "CREATE TABLE note (id INTEGER PRIMARY KEY, a, b)";
const nowMs = Date.UTC(2026, 0, 1);
const timestampOf = (ms: number) => (ms - Date.UTC(2025, 0, 1)) * 8192;
const always = timestampOf(nowMs + 1e9);

function replica(file = ":memory:"): RawReplica {
  const made = openRaw(file, schema, ["note"]);
  open.push(made.db);
  native.setClock(made.handle, nowMs);
  return made;
}

function insert({ db }: RawReplica, from: number, to: number): void {
  for (let id = from; id <= to; id++) db.prepare("INSERT INTO note VALUES (?, ?, 1)").run(id, id);
}

function trim(
  { handle }: RawReplica,
  {
    until = always,
    held = [] as [number, number][],
    all = [] as [number, number][],
    alone = false,
    budgetMs = patiently,
  } = {},
): TrimResult {
  for (;;) {
    const pairs = new Float64Array(held.flat());
    const result = native.trim(
      handle,
      until,
      pairs,
      new Float64Array(all.flat()),
      alone ? 1 : 0,
      budgetMs,
    );
    if (!result.more || result.busy || budgetMs !== patiently) return result;
  }
}

const logged = ({ db }: RawReplica): unknown[] =>
  db.prepare("SELECT _sequenceId FROM note_patches ORDER BY _sequenceId, _patch").pluck().all();

function horizonOf({ handle }: RawReplica): Record<number, number> {
  const flat = native.horizon(handle);
  const pairs: [number, number][] = [];
  for (let i = 0; i < flat.length; i += 2) pairs.push([flat[i] ?? 0, flat[i + 1] ?? 0]);
  return Object.fromEntries(pairs);
}

describe("trim", () => {
  it("removes what is older than the bound, and not the newest of its own", () => {
    const here = replica();
    insert(here, 1, 3);
    native.setClock(here.handle, nowMs + 1000);
    insert(here, 4, 6);
    expect(trim(here, { until: timestampOf(nowMs + 500), alone: true }).changesets).toBe(3);
    expect(logged(here)).toEqual([4, 5, 6]);
    expect(horizonOf(here)).toEqual({ [here.peerId]: 3 });
    expect(trim(here, { alone: true }).changesets).toBe(2);
    expect(logged(here)).toEqual([6]);
    expect(trim(here, { alone: true }).changesets).toBe(0);
    insert(here, 7, 7);
    expect(progressOf(here)).toEqual([{ peerId: here.peerId, held: 7, merged: 7 }]);
  });

  it("keeps what it wrote and nobody else is known to hold", () => {
    const here = replica();
    insert(here, 1, 6);
    expect(trim(here).changesets).toBe(0);
    expect(trim(here, { held: [[here.peerId, 4]] }).changesets).toBe(4);
    // Acknowledged once is acknowledged for ever.
    insert(here, 7, 8);
    expect(trim(here).changesets).toBe(0);
    expect(trim(here, { held: [[here.peerId, 2 ** 39]] }).changesets).toBe(3);
    expect(logged(here)).toEqual([8]);
  });

  it("removes what every peer holds, however new it is", () => {
    const here = replica();
    insert(here, 1, 6);
    const all: [number, number][] = [[here.peerId, 4]];
    expect(trim(here, { until: 0, held: all, all }).changesets).toBe(4);
    expect(logged(here)).toEqual([5, 6]);
  });

  it("removes what came from others, and reads nothing below the horizon", () => {
    const [here, there] = [replica(), replica()];
    insert(there, 1, 5);
    pull(there, here);
    native.setClock(there.handle, nowMs + 1000);
    insert(there, 6, 8);
    pull(there, here);
    expect(trim(here, { until: timestampOf(nowMs + 500) }).changesets).toBe(5);
    expect(recordsOf(here, there.peerId)).toHaveLength(0);
    expect(recordsOf(here, there.peerId, 4)).toHaveLength(0);
    expect(recordsOf(here, there.peerId, 5).length).toBeGreaterThan(0);
    expect(dump(here.db, "note")).toEqual(dump(there.db, "note"));
    expect(progressOf(here)[1]).toEqual({ peerId: there.peerId, held: 8, merged: 8 });
  });

  it("forgets no row clock: an older write still loses, here and after opening again", () => {
    const file = folder.file();
    const [here, late] = [replica(file), replica()];
    native.setClock(late.handle, nowMs - 60_000);
    insert(late, 1, 3);
    late.db.exec("UPDATE note SET b = 'late'");
    insert(here, 1, 3);
    here.db.exec("UPDATE note SET a = 'new' WHERE id = 1; DELETE FROM note WHERE id = 3");
    trim(here, { alone: true });
    const expected = dump(here.db, "note");
    here.db.close();
    const again = attachRaw(new Database(file));
    open.push(again.db);
    pull(late, again);
    expect(dump(again.db, "note")).toEqual(expected);
    const { count } = again.db
      .prepare("SELECT count(*) AS count FROM _mergelite_clock_note")
      .get() as { count: number };
    expect(count).toBe(3);
  });

  it("works in slices, and not while the user is in a transaction", () => {
    const here = replica();
    insert(here, 1, 3000);
    here.db.exec("BEGIN");
    expect(trim(here, { alone: true })).toMatchObject({ busy: true, changesets: 0 });
    here.db.exec("COMMIT");
    let slices = 0;
    for (let more = true; more; slices++) {
      ({ more } = trim(here, { alone: true, budgetMs: 1 }));
      expect(slices).toBeLessThan(3000);
    }
    expect(logged(here)).toEqual([3000]);
    expect(dump(here.db, "note")).toHaveLength(3000);
  });

  it("leaves alone what is not merged yet: a changeset whose clock is ahead", () => {
    const [here, ahead] = [replica(), replica()];
    native.setClock(ahead.handle, nowMs + 120_000);
    insert(ahead, 1, 2);
    pull(ahead, here);
    expect(progressOf(here)[1]).toEqual({ peerId: ahead.peerId, held: 2, merged: 0 });
    expect(trim(here).changesets).toBe(0);
    native.setClock(here.handle, nowMs + 100_000);
    maintainAll(here);
    expect(trim(here).changesets).toBe(2);
    expect(dump(here.db, "note")).toHaveLength(2);
  });

  it("leaves that alone under a former id of its own, too, which another file goes by", () => {
    const [file, copy] = [folder.file(), folder.file()];
    const there = replica(file);
    insert(there, 1, 2);
    there.db.exec(`VACUUM INTO '${copy}'`);
    const here = attachRaw(new Database(copy));
    open.push(here.db);
    here.peerId = native.renewIdentity(here.handle);
    native.setClock(here.handle, nowMs);
    native.setClock(there.handle, nowMs + 120_000);
    insert(there, 3, 5);
    pull(there, here);
    const held: [number, number][] = [[there.peerId, 5]];
    expect(trim(here, { held, all: held }).changesets).toBe(2);
    native.setClock(here.handle, nowMs + 100_000);
    maintainAll(here);
    expect(dump(here.db, "note")).toEqual(dump(there.db, "note"));
  });

  it("takes a new peer id after trimming: the old one keeps its sequence", () => {
    const here = replica();
    insert(here, 1, 5);
    trim(here, { alone: true });
    const peerId = native.renewIdentity(here.handle);
    insert(here, 6, 6);
    expect(progressOf(here)).toEqual([
      { peerId, held: 1, merged: 1 },
      { peerId: here.peerId, held: 5, merged: 5 },
    ]);
  });
});
