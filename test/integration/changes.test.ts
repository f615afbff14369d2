/** The change feed: in order, exactly once for a cursor, over restarts and new peer ids. */
import { copyFileSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { AttachOptions, ChangeFeed, Changeset } from "../../src/index.ts";
import { temporaryFolder } from "../support/folder.ts";
import { converged, join, makePeer, type Peer } from "../support/peer.ts";

const folder = temporaryFolder();
const schema = `
  CREATE TABLE IF NOT EXISTS note (id INTEGER PRIMARY KEY, body);
  CREATE TABLE IF NOT EXISTS tag (a TEXT, b BLOB, "__proto__" TEXT, PRIMARY KEY (a, b));
`;
const makeNotes = (options: AttachOptions & { file?: string } = {}) =>
  makePeer({ schema, tables: ["note", "tag"], ...options });

async function take(feed: ChangeFeed, count: number): Promise<Changeset[]> {
  const taken: Changeset[] = [];
  while (taken.length < count) {
    const { value, done } = await feed.next();
    if (done === true) throw new Error("the feed has ended");
    taken.push(value);
  }
  return taken;
}

/** Everything that is there now. */
async function drain(feed: ChangeFeed): Promise<Changeset[]> {
  const taken: Changeset[] = [];
  for (;;) {
    const turn = new Promise<undefined>((resolve) => setTimeout(resolve, 60, undefined));
    const next = await Promise.race([feed.next(), turn]);
    if (next?.value === undefined) return taken;
    taken.push(next.value);
  }
}

const tokens = (changesets: readonly Changeset[]) => changesets.map(({ token }) => token);
const code = (name: string) => expect.objectContaining({ code: name });

describe("a change feed", () => {
  it("tells what transactions did, with keys and new values", async () => {
    const { db, replica } = makeNotes();
    const feed = replica.changes();
    const [a, b] = [Buffer.from([1, 2]), 2n ** 60n];
    db.transaction(() => {
      db.prepare("INSERT INTO note VALUES (1, ?), (-5, 1.5), (3, ?)").run(a, b);
      db.prepare("UPDATE note SET body = 'é' WHERE id = 1").run();
      db.prepare(`INSERT INTO tag VALUES ('k', x'', 'proto')`).run();
      db.prepare("DELETE FROM note WHERE id = -5").run();
    })();
    const [first] = await take(feed, 1);
    const { patches, ...rest } = first as Changeset;
    expect(patches).toEqual([
      { table: "note", operation: "insert", key: { id: 1 }, values: { body: new Uint8Array(a) } },
      { table: "note", operation: "insert", key: { id: -5 }, values: { body: 1.5 } },
      { table: "note", operation: "insert", key: { id: 3 }, values: { body: b } },
      { table: "note", operation: "update", key: { id: 1 }, values: { body: "é" } },
      {
        table: "tag",
        operation: "insert",
        key: { a: "k", b: new Uint8Array() },
        values: JSON.parse('{"__proto__":"proto"}'),
      },
      { table: "note", operation: "delete", key: { id: -5 }, values: {} },
    ]);
    expect(rest).toMatchObject({
      origin: replica.peerId,
      sequence: 1,
      token: replica.token(),
      local: true,
      continues: false,
    });
    expect(Math.abs((rest.wallMs ?? 0) - Date.now())).toBeLessThan(60_000);
  });

  it("tells what was replaced under another spelling of the key", async () => {
    const { db, replica, write } = makeNotes({ oldValues: true });
    db.exec("CREATE TABLE word (k TEXT COLLATE NOCASE PRIMARY KEY NOT NULL, v)");
    db.exec("CREATE VIRTUAL TABLE word_patches USING mergelite(word)");
    const feed = replica.changes({ tables: ["word"] });
    db.exec("INSERT INTO word VALUES ('a', 1), ('b', 2)");
    db.transaction(() => {
      write(1);
      db.exec("REPLACE INTO word VALUES ('B', 3), ('A', 4), ('c', 5)");
    })();
    const [, { patches } = { patches: [] }] = await take(feed, 2);
    expect(patches.map(({ key, old }) => [key.k, old])).toEqual([
      ["B", { v: 2 }],
      ["A", { v: 1 }],
      ["c", null],
    ]);
  });

  it("tells what local changes replaced, of tables that keep it", async () => {
    const file = folder.file();
    const [first, there] = [makeNotes({ file, oldValues: ["note"] }), makeNotes()];
    first.write(1, "a");
    await first.close();
    const { db, replica, write } = makeNotes({ file });
    join({ db, replica, write, close: async () => {} }, there);
    const feed = replica.changes();
    db.transaction(() => {
      write(1, "b");
      db.exec("UPDATE note SET body = 'c', id = 2; INSERT INTO tag VALUES ('t', 1, 2)");
    })();
    write(2, Buffer.from("d"));
    db.exec("DELETE FROM note");
    await converged({ db, replica } as Peer, there);
    there.write(3);
    await converged({ db, replica } as Peer, there);
    const told = await take(feed, 4);
    const olds = told.map(({ patches }) =>
      patches.map(({ table, operation, key, old }) => [table, operation, key.id ?? key.a, old]),
    );
    expect(olds).toEqual([
      [
        ["note", "insert", 1, { body: "a" }],
        ["note", "delete", 1, { body: "a" }],
        ["note", "insert", 2, null],
        ["note", "update", 2, null],
        ["tag", "insert", "t", undefined],
      ],
      [["note", "insert", 2, { body: "c" }]],
      [["note", "delete", 2, { body: new Uint8Array(Buffer.from("d")) }]],
      [["note", "insert", 3, undefined]],
    ]);
    expect(() => makeNotes({ oldValues: "note" as unknown as boolean })).toThrow(
      code("INVALID_OPTION"),
    );
    expect(() => makeNotes({ oldValues: ["none"] })).toThrow(code("TABLE_NOT_REPLICATED"));
  });

  it("keeps every integer exact when asked", async () => {
    const { replica, write, db } = makeNotes();
    const sizes = [0, 1, -1, 127, -128, 255, 32767, -32768, 8388607, -8388608, 2 ** 31, -(2 ** 31)];
    const numbers = [...sizes, 2 ** 47 - 1, -(2 ** 47), 2 ** 53 - 1, 1 - 2 ** 53].map(BigInt);
    numbers.push(2n ** 63n - 1n, -(2n ** 63n), 2n ** 53n);
    for (const [i, n] of numbers.entries()) write(i, n);
    db.prepare("INSERT INTO note VALUES (1000, ?)").run(5.0);
    const valuesOf = async (safeIntegers: boolean) => {
      const feed = replica.changes({ since: "oldest", safeIntegers });
      const changesets = await take(feed, numbers.length + 1);
      return changesets.map(({ patches: [patch] }) => patch?.values.body);
    };
    expect(await valuesOf(true)).toEqual([...numbers, 5]);
    const plain = numbers.map((n) => (Number.isSafeInteger(Number(n)) ? Number(n) : n));
    expect(await valuesOf(false)).toEqual([...plain, 5]);
  });

  it("has local and remote changesets, each origin's in order, a cause before its effect", async () => {
    const [here, there] = [makeNotes(), makeNotes()];
    for (let id = 0; id < 20; id++) (id % 3 === 0 ? here : there).write(id);
    join(here, there);
    await converged(here, there);
    there.write(1, "seen by none");
    await converged(here, there);
    here.write(1, "an answer");
    const changesets = await take(here.replica.changes({ since: "oldest" }), 22);
    const stamps = changesets.map(({ timestamp }) => timestamp);
    expect([...stamps].sort((a, b) => a - b)).toEqual(stamps);
    expect(changesets.at(-1)?.local).toBe(true);
    expect(changesets.at(-2)).toMatchObject({ local: false, origin: there.replica.peerId });
    for (const { peerId } of [here.replica, there.replica]) {
      const own = changesets.filter(({ origin }) => origin === peerId);
      expect(own.map(({ sequence }) => sequence)).toEqual(own.map((_, i) => i + 1));
    }
  });

  it("waits for more, and ends with the replica, its signal, or the loop", async () => {
    const { replica, write } = makeNotes();
    const heard: number[] = [];
    const loop = (async () => {
      for await (const { sequence } of replica.changes()) {
        heard.push(sequence);
        if (sequence === 3) break;
      }
    })();
    write(1);
    await new Promise((resolve) => setTimeout(resolve, 20));
    write(2);
    write(3);
    await loop;
    expect(heard).toEqual([1, 2, 3]);
    const abort = new AbortController();
    const aborted = replica.changes({ signal: abort.signal }).next();
    const returned = replica.changes();
    const pending = returned.next();
    const closed = replica.changes().next();
    abort.abort(new Error("enough"));
    await expect(aborted).rejects.toThrow("enough");
    await returned.return?.();
    expect(await pending).toEqual({ done: true, value: undefined });
    await replica.close();
    expect(await closed).toEqual({ done: true, value: undefined });
    expect(() => replica.changes()).toThrow(code("CLOSED"));
  });

  it("has some tables only, and its cursor passes the others", async () => {
    const { db, replica, write } = makeNotes();
    const feed = replica.changes({ tables: ["TAG"] });
    for (let id = 0; id < 5; id++) write(id);
    db.exec(
      "BEGIN; INSERT INTO note VALUES (9, 9); INSERT INTO tag VALUES ('a', 'b', 'c'); COMMIT",
    );
    for (let id = 10; id < 15; id++) write(id);
    const changesets = await drain(feed);
    expect(changesets.map(({ patches }) => patches.map(({ table }) => table))).toEqual([["tag"]]);
    expect(await drain(replica.changes({ since: feed.cursor }))).toEqual([]);
    expect(await drain(replica.changes({ since: changesets[0]?.cursor ?? "" }))).toHaveLength(5);
  });

  it("brings a large transaction in parts, one after the other", async () => {
    const [here, there] = [makeNotes(), makeNotes()];
    join(here, there);
    here.write(1000);
    there.write(2000);
    here.db.transaction(() => {
      for (let id = 0; id < 4; id++) here.write(id, "y".repeat(700_000));
      here.db.exec("INSERT INTO tag VALUES ('a', 'b', 'c')");
    })();
    there.write(2001);
    await converged(here, there);
    const all = await drain(there.replica.changes({ since: "oldest" }));
    const large = all.filter(
      ({ origin, sequence }) => origin === here.replica.peerId && sequence > 1,
    );
    expect(large.length).toBeGreaterThan(1);
    expect(large.map(({ continues }) => continues)).toEqual(
      large.map((_, i) => i < large.length - 1),
    );
    expect(large.flatMap(({ patches }) => patches)).toHaveLength(5);
    const at = all.indexOf(large[0] as Changeset);
    expect(all.slice(at, at + large.length)).toEqual(large);
    const filtered = await drain(there.replica.changes({ since: "oldest", tables: ["tag"] }));
    expect(filtered).toHaveLength(1);
    const notes = await drain(there.replica.changes({ since: "oldest", tables: ["note"] }));
    expect(notes.filter(({ continues }) => continues)).toHaveLength(large.length - 1);
    expect(notes.at(-1)?.continues).toBe(false);
  });

  it("goes on within a large transaction, and tells its end, from a cursor", async () => {
    const [here, there] = [makeNotes(), makeNotes()];
    join(here, there);
    there.write(2000);
    await converged(here, there);
    here.db.transaction(() => {
      for (let id = 0; id < 4; id++) here.write(id, "y".repeat(700_000));
      here.db.exec("INSERT INTO tag VALUES ('a', 'b', 'c')");
    })();
    there.write(2001);
    await converged(here, there);
    const tables = ["note"];
    for (const { replica } of [here, there]) {
      const all = await drain(replica.changes({ since: "oldest", tables }));
      // Of the last part nothing is asked for.
      expect(all.find(({ patches }) => patches.length === 0)?.continues).toBe(false);
      for (const [i, { cursor }] of all.entries()) {
        const rest = await drain(replica.changes({ since: cursor, tables }));
        expect(tokens(rest)).toEqual(tokens(all.slice(i + 1)));
      }
    }
  });

  it("leaves the event loop alone while it replays a long log", async () => {
    const { db, replica } = makeNotes();
    const insert = db.prepare("INSERT INTO note VALUES (?, ?)");
    db.transaction(() => {
      for (let id = 0; id < 30_000; id++) insert.run(id, "text");
    })();
    for (let id = 30_000; id < 33_000; id++) insert.run(id, "text");
    let turns = 0;
    const count = setInterval(() => turns++, 1);
    let patches = 0;
    for await (const changeset of replica.changes({ since: "oldest" })) {
      patches += changeset.patches.length;
      if (patches === 33_000) break;
    }
    clearInterval(count);
    expect(turns).toBeGreaterThan(5);
  });
});

describe("a cursor", () => {
  it("goes on where a reader stopped, exactly once, after restarts", async () => {
    const file = folder.file();
    const other = makeNotes();
    const seen: string[] = [];
    let cursor: string | undefined;
    for (let round = 0; round < 6; round++) {
      const peer = makeNotes({ file });
      join(peer, other);
      const feed = peer.replica.changes(cursor === undefined ? {} : { since: cursor });
      for (let i = 0; i < 10; i++) (i % 2 === 0 ? peer : other).write(round * 10 + i);
      await converged(peer, other);
      // All, or not all of it: the next round brings the rest.
      const changesets = await take(feed, round === 2 ? 4 : 10);
      seen.push(...tokens(changesets));
      cursor = round % 2 === 0 ? changesets.at(-1)?.cursor : feed.cursor;
      await peer.close();
    }
    const last = makeNotes({ file });
    seen.push(...tokens(await drain(last.replica.changes({ since: cursor ?? "" }))));
    expect(seen).toHaveLength(60);
    expect(new Set(seen).size).toBe(60);
  });

  it("of each changeset leads to the next, however many are kept", async () => {
    const { replica, write } = makeNotes();
    for (let id = 0; id < 1200; id++) write(id);
    const changesets = await take(replica.changes({ since: "oldest" }), 1200);
    for (const at of [0, 1, 510, 511, 512, 513, 1023, 1024, 1100]) {
      const [next] = await take(replica.changes({ since: changesets[at]?.cursor ?? "" }), 1);
      expect(next?.sequence).toBe(at + 2);
    }
  });

  it("taken in a transaction fits what that transaction reads", async () => {
    const { db, replica, write } = makeNotes();
    write(1);
    const { rows, since } = db.transaction(() => ({
      since: replica.cursor(),
      rows: db.prepare("SELECT id FROM note").pluck().all(),
    }))();
    write(2);
    expect(rows).toEqual([1]);
    const [next] = await take(replica.changes({ since }), 1);
    expect(next?.patches[0]?.key).toEqual({ id: 2 });
  });

  it("is refused when it is none", async () => {
    const { replica } = makeNotes();
    const cursor = replica.cursor();
    for (const since of [
      "",
      "x",
      "1.5",
      "AAAA",
      ...["A", "AA", "AAA", "AAAA"].map((more) => cursor + more),
    ]) {
      expect(() => replica.changes({ since })).toThrow(code("INVALID_CURSOR"));
    }
    const options = { sinse: "" } as object;
    expect(() => replica.changes(options)).toThrow(code("INVALID_OPTION"));
    const foreign = makeNotes();
    foreign.write(1);
    const feed = replica.changes({ since: foreign.replica.cursor() });
    await expect(feed.next()).rejects.toThrow(code("CHANGES_LOST"));
  });

  it("before the horizon is an error that says what to do", async () => {
    const peer = makeNotes({ retentionMs: 1000 });
    const since = peer.replica.cursor();
    for (let id = 0; id < 10; id++) peer.write(id);
    await expect
      .poll(() => peer.db.prepare("SELECT count(*) FROM _mergelite_log").pluck().get(), {
        timeout: 10_000,
      })
      .toBe(1);
    const error = code("CHANGES_TRIMMED");
    await expect(peer.replica.changes({ since }).next()).rejects.toThrow(error);
    expect(await drain(peer.replica.changes({ since: "oldest" }))).toHaveLength(1);
  });
});

describe("a cursor and a new peer id", () => {
  it("of a file that was restored: what is issued again does not come again", async () => {
    const file = folder.file();
    const hub = makeNotes();
    const first = makeNotes({ file });
    join(first, hub);
    for (let id = 1; id <= 5; id++) first.write(id);
    await converged(first, hub);
    first.db.pragma("wal_checkpoint(TRUNCATE)");
    const backup = readFileSync(file);
    const early = first.replica.cursor();
    for (let id = 6; id <= 8; id++) first.write(id, "lost here, known to the hub");
    await converged(first, hub);
    const late = first.replica.cursor();
    await first.close();
    for (const end of ["-wal", "-shm"]) rmSync(file + end, { force: true });
    writeFileSync(file, backup);
    const again = makeNotes({ file });
    const former = again.replica.peerId;
    const feed = again.replica.changes({ since: early });
    for (let id = 11; id <= 15; id++) again.write(id, "written after the restore");
    expect(tokens(await take(feed, 3))).toEqual([6, 7, 8].map((n) => `${former}.${n}`));
    const renewed = new Promise((resolve) => again.replica.once("identity", resolve));
    join(again, hub);
    await renewed;
    join(again, hub);
    await converged(again, hub);
    // Ids 11 to 13 have come, as 6 to 8 of the former id; these numbers are the hub's rows now.
    const keys = (changesets: Changeset[]) =>
      changesets.map(({ patches }) => Number(patches[0]?.key.id)).sort((a, b) => a - b);
    const rest = keys(await drain(feed));
    expect(rest).toEqual(expect.arrayContaining([6, 7, 8, 14, 15]));
    expect(rest.filter((id) => id > 8)).toEqual([14, 15]);
    const since = keys(await drain(again.replica.changes({ since: early })));
    expect(since).toEqual(expect.arrayContaining([6, 7, 8, 11, 12, 13, 14, 15]));
    expect(await drain(again.replica.changes({ since: feed.cursor }))).toEqual([]);
    // It tells of rows that the restored file did not have.
    await expect(again.replica.changes({ since: late }).next()).resolves.toBeDefined();
  });

  it("of a copy: it goes on, and what the copy writes is local", async () => {
    const file = folder.file();
    const original = makeNotes({ file });
    original.write(1);
    const since = original.replica.cursor();
    original.write(2);
    await original.close();
    const copied = folder.file();
    copyFileSync(file, copied);
    const copy = makeNotes({ file: copied });
    copy.write(3);
    expect(copy.replica.peerId).not.toBe(original.replica.peerId);
    const changesets = await drain(copy.replica.changes({ since }));
    expect(changesets.map(({ patches }) => patches[0]?.key.id)).toEqual([2, 3]);
    expect(changesets.map(({ local }) => local)).toEqual([true, true]);
  });
});
