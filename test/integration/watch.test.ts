/** Live queries: what they read, when they run again, and what they tell. */
import Database from "better-sqlite3";
import { describe, expect, it } from "vitest";
import { tablesRead } from "../../src/app/tables-read.ts";
import { extensionPath, type WatchOptions, type WatchResult } from "../../src/index.ts";
import { temporaryFolder } from "../support/folder.ts";
import { converged, join, makePeer, type Peer } from "../support/peer.ts";

const folder = temporaryFolder();
const schema = `
  CREATE TABLE IF NOT EXISTS note (id INTEGER PRIMARY KEY, body);
  CREATE TABLE IF NOT EXISTS tag (name TEXT PRIMARY KEY, note) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS local (id INTEGER PRIMARY KEY, n);
  CREATE INDEX IF NOT EXISTS by_note ON tag (note);
  CREATE VIEW IF NOT EXISTS tagged AS SELECT n.id, t.name FROM note n JOIN tag t ON t.note = n.id;
`;
const makeNotes = (file?: string) =>
  makePeer({ schema, tables: ["note", "tag"], ...(file === undefined ? {} : { file }) });

interface Live {
  told: WatchResult<unknown>[];
  stop: () => void;
  /** What was told last, once it is this. */
  gives: (rows: unknown[]) => Promise<void>;
}

function watch(
  { replica }: Peer,
  sql: string,
  options: WatchOptions = {},
  ...parameters: unknown[]
): Live {
  const told: WatchResult<unknown>[] = [];
  const listener = (result: WatchResult<unknown>) => void told.push(result);
  const stop = replica.watch(sql, parameters, listener, { intervalMs: 5, ...options });
  const gives = async (rows: unknown[]) => {
    await expect.poll(() => told.at(-1), { interval: 5 }).toEqual({ rows });
  };
  return { told, stop, gives };
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

describe("the tables that a query reads", () => {
  const cases: [sql: string, tables: string[] | undefined, parameters?: unknown[]][] = [
    ["SELECT * FROM note", ["note"]],
    ["SELECT count(*) FROM NOTE WHERE id = ?", ["note"], [1]],
    ["SELECT name FROM tag INDEXED BY by_note WHERE note = 1", ["tag"]],
    ["SELECT * FROM tagged", ["note", "tag"]],
    [
      "WITH t AS (SELECT * FROM tagged) SELECT (SELECT max(n) FROM local), * FROM t",
      ["local", "note", "tag"],
    ],
    ["SELECT 1 WHERE EXISTS (SELECT 1 FROM note) OR 1 IN (SELECT n FROM local)", ["local", "note"]],
    [
      "WITH RECURSIVE r(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM r WHERE i < 3) SELECT * FROM r",
      [],
    ],
    ["SELECT * FROM note_patches", undefined],
    ["SELECT * FROM json_each('[1]')", undefined],
    ["SELECT * FROM temp.t", undefined],
    ["SELECT name FROM sqlite_schema", undefined],
  ];

  it("are found through views, indexes, CTEs and subqueries", () => {
    const { db } = makeNotes();
    db.exec("CREATE TEMP TABLE t (id)");
    for (const [sql, tables, parameters = []] of cases) {
      const found = tablesRead(db, sql, parameters);
      expect([sql, found && [...found].sort()]).toEqual([sql, tables]);
    }
    expect(() => tablesRead(db, "DELETE FROM note", [])).toThrow(TypeError);
  });
});

describe("watch", () => {
  it("tells the rows, and again when they have changed, here or by a peer", async () => {
    const [here, there] = [makeNotes(), makeNotes()];
    here.write(1);
    const live = watch(here, "SELECT id FROM note WHERE id > ? ORDER BY id", {}, 0);
    await live.gives([{ id: 1 }]);
    here.write(2);
    await live.gives([{ id: 1 }, { id: 2 }]);
    join(here, there);
    there.write(3);
    await live.gives([{ id: 1 }, { id: 2 }, { id: 3 }]);
    expect(live.told).toHaveLength(3);
    live.stop();
    here.write(4);
    await pause(30);
    expect(live.told).toHaveLength(3);
  });

  it("runs for what peers write under the name that a table had", async () => {
    const [here, there] = [makeNotes(), makeNotes()];
    here.db.exec("ALTER TABLE note RENAME TO memo");
    await expect.poll(() => here.replica.tables()).toContain("memo");
    const live = watch(here, "SELECT id FROM memo ORDER BY id", {});
    await live.gives([]);
    join(here, there);
    there.write(3);
    await live.gives([{ id: 3 }]);
  });

  it("sees that a temporary view is another now", async () => {
    const peer = makeNotes();
    peer.db.exec("CREATE TEMP VIEW shown AS SELECT id FROM note");
    const live = watch(peer, "SELECT id FROM shown");
    await live.gives([]);
    peer.db.exec("DROP VIEW shown; CREATE TEMP VIEW shown AS SELECT name AS id FROM tag");
    peer.write(1);
    await pause(30);
    peer.db.exec("INSERT INTO tag VALUES ('a', 1)");
    await live.gives([{ id: "a" }]);
    peer.db.exec("CREATE TEMP TABLE note (id); INSERT INTO temp.note VALUES (7)");
    const shadowed = watch(peer, "SELECT id FROM note");
    await shadowed.gives([{ id: 7 }]);
    peer.db.exec("DROP TABLE temp.note; DELETE FROM tag");
    await shadowed.gives([{ id: 1 }]);
  });

  it("runs for tables it reads only, and tells what differs only", async () => {
    const peer = makeNotes();
    let runs = 0;
    peer.db.function("ran", { deterministic: false }, () => ++runs && "x");
    const live = watch(peer, "SELECT ran() AS x, count(*) AS n FROM tag");
    const every = watch(peer, "SELECT 1 FROM tag LIMIT 0", { always: true });
    await live.gives([{ x: "x", n: 0 }]);
    const before = runs;
    for (let id = 0; id < 5; id++) {
      peer.write(id);
      await pause(10);
    }
    expect(runs).toBe(before);
    peer.db.exec("INSERT INTO tag VALUES ('a', 1)");
    await live.gives([{ x: "x", n: 1 }]);
    peer.db.exec("UPDATE tag SET note = 2");
    await expect.poll(() => every.told.length).toBe(3);
    expect(live.told).toHaveLength(2);
  });

  it("sees other processes' writes, and local tables", async () => {
    const file = folder.file();
    const peer = makeNotes(file);
    const notes = watch(peer, "SELECT count(*) AS n FROM note");
    const local = watch(peer, "SELECT count(*) AS n FROM local");
    await notes.gives([{ n: 0 }]);
    const other = new Database(file);
    other.loadExtension(extensionPath);
    other.exec("INSERT INTO note VALUES (1, 1)");
    peer.replica.poll();
    await notes.gives([{ n: 1 }]);
    other.exec("INSERT INTO local VALUES (1, 1)");
    peer.replica.poll();
    await local.gives([{ n: 1 }]);
    peer.db.exec("INSERT INTO local VALUES (2, 1)");
    peer.replica.poll();
    await local.gives([{ n: 2 }]);
    other.close();
  });

  it("sees what the application's triggers write when rows are merged", async () => {
    const triggers = `${schema};
      CREATE TRIGGER count_notes AFTER INSERT ON note BEGIN
        INSERT INTO local (n) VALUES (new.id);
      END`;
    const [here, there] = [makePeer({ schema: triggers }), makeNotes()];
    const live = watch(here, "SELECT n FROM local");
    await live.gives([]);
    join(here, there);
    there.write(7);
    await live.gives([{ n: 7 }]);
  });

  it("sees a row that comes back when another gives up its unique value", async () => {
    const unique = "CREATE TABLE note (id INTEGER PRIMARY KEY, body UNIQUE)";
    const peers = [makePeer({ schema: unique }), makePeer({ schema: unique })];
    const [here, there] = peers as [Peer, Peer];
    here.write(1, "one");
    // In one millisecond the peer ids would decide which row was born first.
    await pause(5);
    there.write(2, "one");
    join(here, there);
    const live = watch(here, "SELECT id FROM note ORDER BY id");
    const far = watch(there, "SELECT id FROM note ORDER BY id");
    await converged(here, there);
    await expect.poll(() => here.replica.conflicts().length).toBe(1);
    await live.gives([{ id: 1 }]);
    await far.gives([{ id: 1 }]);
    here.db.exec("UPDATE note SET body = 'two'");
    await far.gives([{ id: 1 }, { id: 2 }]);
    await live.gives([{ id: 1 }, { id: 2 }]);
  });

  it("never shows what is not committed", async () => {
    const peer = makeNotes();
    const live = watch(peer, "SELECT id FROM note");
    await live.gives([]);
    peer.write(1);
    peer.db.exec("BEGIN");
    peer.write(2);
    await pause(40);
    expect(live.told).toHaveLength(1);
    peer.db.exec("ROLLBACK");
    await live.gives([{ id: 1 }]);
    expect(live.told).toHaveLength(2);
  });

  it("runs at most once an interval, and not less than once after the last write", async () => {
    const peer = makeNotes();
    const live = watch(peer, "SELECT count(*) AS n FROM note", { intervalMs: 100 });
    await live.gives([{ n: 0 }]);
    const startMs = performance.now();
    for (let id = 0; id < 40; id++) {
      peer.write(id);
      await pause(5);
    }
    const intervals = Math.ceil((performance.now() - startMs) / 100) + 2;
    await live.gives([{ n: 40 }]);
    expect(live.told.length).toBeLessThanOrEqual(intervals);
  });

  it("tells of errors, and goes on", async () => {
    const peer = makeNotes();
    const live = watch(peer, "SELECT n FROM local");
    await live.gives([]);
    peer.db.exec("ALTER TABLE local RENAME COLUMN n TO m");
    peer.replica.poll();
    await expect.poll(() => live.told.at(-1)?.error).toBeInstanceOf(Error);
    peer.db.exec("ALTER TABLE local RENAME COLUMN m TO n; INSERT INTO local VALUES (1, 2)");
    peer.replica.poll();
    await live.gives([{ n: 2 }]);
  });

  it("refuses what is no query, and ends with the replica", async () => {
    const peer = makeNotes();
    const invalid = { every: 5 } as WatchOptions;
    expect(() => watch(peer, "SELECT 1", invalid)).toThrow(/every/);
    expect(() => watch(peer, "SELECT 1", { intervalMs: -1 })).toThrow(/intervalMs/);
    expect(() => watch(peer, "SELECT nothing FROM note")).toThrow(/nothing/);
    expect(() => watch(peer, "UPDATE note SET body = 1")).toThrow(TypeError);
    const live = watch(peer, "SELECT id FROM note");
    await live.gives([]);
    await peer.replica.close();
    peer.write(1);
    await pause(20);
    expect(live.told).toHaveLength(1);
    expect(() => watch(peer, "SELECT 1")).toThrow(/closed/);
  });
});
