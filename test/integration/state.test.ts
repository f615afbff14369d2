/** Replicas whose peers no longer have the log they need: they get the rows instead. */
import Database from "better-sqlite3";
import { afterEach, describe, expect, it } from "vitest";
import { attach } from "../../src/attach.ts";
import type { Conflict } from "../../src/conflict.ts";
import type { AttachOptions } from "../../src/options.ts";
import type { Replica } from "../../src/replica.ts";
import type { StateProgressEvent } from "../../src/replica-events.ts";
import { memoryPair } from "../../src/transport/memory.ts";
import { dump, handleOf, type RawReplica } from "../support/replica.ts";
import { trimAll } from "../support/state.ts";

interface Peer {
  db: Database.Database;
  replica: Replica;
  /** For what only tests do. */
  raw: RawReplica;
}

const peers: Peer[] = [];
afterEach(async () => {
  for (const { db, replica } of peers.splice(0)) {
    await replica.close();
    db.close();
  }
});

const schema = `
  CREATE TABLE note (id INTEGER PRIMARY KEY, a, b);
  CREATE TABLE word (k TEXT PRIMARY KEY NOT NULL, n);`;

function peer(rows = 0, options: Pick<AttachOptions, "trim" | "retentionMs"> = {}): Peer {
  const db = new Database(":memory:");
  db.exec(schema);
  const replica = attach(db, { tables: ["note", "word"], heartbeatMs: 200, ...options });
  db.exec(`
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${rows})
    INSERT INTO note SELECT i, 'a' || i, hex(zeroblob(100)) FROM n WHERE ${rows} > 0;
    INSERT INTO word SELECT 'w' || id, id FROM note;`);
  const made = { db, replica, raw: { db, handle: handleOf(db), peerId: replica.peerId } };
  peers.push(made);
  return made;
}

function join(a: Peer, b: Peer): { close(): Promise<void> } {
  const [left, right] = memoryPair();
  a.replica.connect(left);
  return b.replica.connect(right);
}

function expectSame(a: Peer, b: Peer): void {
  for (const table of ["note", "word"]) expect(dump(a.db, table)).toEqual(dump(b.db, table));
}

const soon = () => ({ signal: AbortSignal.timeout(20_000) });

describe("a peer that the log does not reach", () => {
  it("hears of the conflicts that rows bring", async () => {
    const [here, there] = [peer(10), peer()];
    here.db.exec("CREATE UNIQUE INDEX one ON note (a)");
    there.db.exec("CREATE UNIQUE INDEX one ON note (a)");
    there.db.exec("INSERT INTO note VALUES (77, 'a3', NULL)");
    trimAll(here.raw);
    const conflicts: Conflict[] = [];
    there.replica.on("conflict", (conflict) => conflicts.push(conflict));
    join(here, there);
    await there.replica.wait(here.replica.token(), soon());
    expect(conflicts).toMatchObject([{ table: "note", reason: "unique", key: { id: 77 } }]);
    expect(there.replica.metrics().conflicts.unique).toBe(1);
    await here.replica.wait(there.replica.token(), soon());
    expectSame(here, there);
  });

  it("gets the rows, hears of the progress, and goes on by log", async () => {
    const [here, there] = [peer(20_000), peer()];
    trimAll(here.raw);
    const events: StateProgressEvent[] = [];
    there.replica.on("state", (event) => events.push(event));
    const token = here.replica.token();
    join(here, there);
    await there.replica.wait(token, soon());
    expectSame(here, there);
    expect(events.length).toBeGreaterThan(5);
    expect(events[0]).toMatchObject({ peerId: here.replica.peerId, rows: 0, done: false });
    expect(events.at(-1)).toMatchObject({ rows: 40_000, percent: 100, done: true });
    const percents = events.map(({ percent }) => percent);
    expect(percents).toEqual(percents.toSorted((a, b) => a - b));
    here.db.exec("UPDATE note SET a = 'later' WHERE id = 5; DELETE FROM word WHERE n = 6");
    there.db.exec("INSERT INTO note VALUES (-1, 'there', 1)");
    await there.replica.wait(here.replica.token(), soon());
    await here.replica.wait(there.replica.token(), soon());
    expectSame(here, there);
    expect(there.replica.metrics().mergeErrors).toBe(0);
  });

  it("goes on after the link was cut, reading and writing all the while", async () => {
    const [here, there] = [peer(30_000), peer()];
    trimAll(here.raw);
    const token = here.replica.token();
    let cuts = 0;
    for (let complete = false; !complete; cuts++) {
      const link = join(here, there);
      complete = await new Promise<boolean>((resolve) => {
        let chunks = 0;
        const stop = there.replica.on("state", ({ done }) => {
          there.db.exec(`INSERT OR REPLACE INTO note VALUES (${-1 - cuts}, 'cut', ${chunks})`);
          here.db.exec(`UPDATE note SET a = 'cut ${cuts}' WHERE id % 1000 = ${chunks}`);
          chunks += 1;
          if (!done && chunks < 4) return;
          stop();
          resolve(done);
        });
      });
      if (!complete) await link.close();
      expect(cuts).toBeLessThan(100);
    }
    expect(cuts).toBeGreaterThan(1);
    await there.replica.wait(token, soon());
    await Promise.all([here.replica.synced(soon()), there.replica.synced(soon())]);
    await there.replica.wait(here.replica.token(), soon());
    await here.replica.wait(there.replica.token(), soon());
    expectSame(here, there);
  });

  it("is everyone once the log is trimmed as it should be", async () => {
    const [here, there] = [peer(50, { trim: "held", retentionMs: 1000 }), peer()];
    join(here, there);
    await there.replica.wait(here.replica.token(), soon());
    const logged = () => here.db.prepare("SELECT count(*) FROM _mergelite_log").pluck().get();
    // All but the newest of its own.
    await expect.poll(logged, { timeout: 20_000 }).toBe(1);
    const known = () => here.replica.peers();
    expect(known()).toMatchObject([{ peerId: there.replica.peerId, forgotten: false }]);
    await there.replica.close();
    here.db.exec("DELETE FROM note WHERE id = 1; DELETE FROM note WHERE id = 2");
    here.replica.forget(there.replica.peerId);
    expect(known()).toMatchObject([{ forgotten: true }]);
    expect(() => here.replica.forget(1)).toThrow(expect.objectContaining({ code: "PEER_UNKNOWN" }));
    const late = peer();
    join(here, late);
    await late.replica.wait(here.replica.token(), soon());
    expectSame(here, late);
  });

  it("passes on what it got: the next peer behind is served by it", async () => {
    const [here, middle, there] = [peer(500), peer(), peer()];
    trimAll(here.raw);
    join(here, middle);
    await middle.replica.wait(here.replica.token(), soon());
    join(middle, there);
    await there.replica.wait(here.replica.token(), soon());
    expectSame(here, there);
    there.db.exec("DELETE FROM note WHERE id < 100");
    await here.replica.wait(there.replica.token(), soon());
    expectSame(here, there);
  });

  it("lets two peers that are behind each other both catch up", async () => {
    const [here, there] = [peer(300), peer()];
    there.db.exec("INSERT INTO note SELECT value, 'there', 0 FROM json_each('[1, 2, 1000]')");
    for (const one of [here, there]) trimAll(one.raw);
    here.db.exec("INSERT INTO note VALUES (2000, 'here', 0)");
    there.db.exec("INSERT INTO note VALUES (3000, 'there', 0)");
    for (const one of [here, there]) trimAll(one.raw);
    join(here, there);
    await there.replica.wait(here.replica.token(), soon());
    await here.replica.wait(there.replica.token(), soon());
    expectSame(here, there);
  });
});
