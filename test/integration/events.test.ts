/** What a replica tells: collisions, who leads, lines of a log; and what it does at its end. */
import { spawnSync } from "node:child_process";
import Database from "better-sqlite3";
import { describe, expect, it } from "vitest";
import { withoutCredentials } from "../../src/app/log-events.ts";
import type { CollisionEvent, LeaderEvent, Logger } from "../../src/index.ts";
import { wallMsOf } from "../../src/log/timestamp.ts";
import { temporaryFolder } from "../support/folder.ts";
import { converged, join, makePeer, type Peer } from "../support/peer.ts";
import { root } from "../support/ring1.ts";

const folder = temporaryFolder();

/** What is written now has a larger timestamp than what was written before, on whatever peer. */
const later = () => new Promise((resolve) => setTimeout(resolve, 5));

describe("collision", () => {
  function collisionsOf({ replica }: Peer): CollisionEvent[] {
    const told: CollisionEvent[] = [];
    replica.on("collision", (event) => told.push(event));
    return told;
  }

  it("tells of two peers that gave one key to two rows, on the one that wrote last", async () => {
    const peers = [makePeer(), makePeer()] as const;
    const [here, there] = peers;
    const [toldHere, toldThere] = peers.map(collisionsOf);
    for (const id of [1, 2, 3]) here.write(id, "here");
    await later();
    for (const id of [3, 4]) there.write(id, "there");
    join(here, there);
    await converged(...peers);
    const [a, b] = peers.map(({ replica }) => replica.peerId);
    const told = [{ table: "note", key: { id: 3 }, origins: [a, b] }];
    expect(toldThere).toEqual(told);
    expect(there.replica.metrics().keyCollisions).toBe(1);
    // A stamp above all others is merged without a look at what it replaces.
    expect(toldHere).toEqual([]);
  });

  it("does not mean updates, rows inserted again, or rows from before replication", async () => {
    const schema = `CREATE TABLE note (id INTEGER PRIMARY KEY, body);
      INSERT INTO note VALUES (1, 'seed'), (2, 'seed')`;
    const [here, there] = [makePeer({ schema }), makePeer({ schema })];
    join(here, there);
    await converged(here, there);
    here.write(3);
    await converged(here, there);
    there.replica.upsert("note", { id: 3, body: "updated" });
    there.db.exec("DELETE FROM note WHERE id = 1");
    await converged(here, there);
    here.db.exec("INSERT INTO note VALUES (1, 'again')");
    await converged(here, there);
    expect([here, there].map(({ replica }) => replica.metrics().keyCollisions)).toEqual([0, 0]);
  });

  it("counts all and tells the first few of many", async () => {
    const [here, there] = [makePeer(), makePeer()];
    const told = collisionsOf(there);
    for (const { db, write } of [here, there]) {
      await later();
      db.transaction(() => {
        for (let id = 0; id < 500; id++) write(id);
      })();
    }
    join(here, there);
    await converged(here, there);
    expect(there.replica.metrics().keyCollisions).toBe(500);
    expect(told).toHaveLength(16);
  });
});

describe("leader", () => {
  it("is the smallest of those linked, and another when that one has gone", async () => {
    const peers = [0, 1, 2].map(() => makePeer({ leaderGraceMs: 100 }));
    const [hub, ...others] = peers as [Peer, Peer, Peer];
    const told: LeaderEvent[] = [];
    hub.replica.on("leader", (event) => told.push(event));
    expect(hub.replica.leader).toBe(false);
    for (const other of others) join(hub, other);
    const ids = peers.map(({ replica }) => replica.peerId).sort((a, b) => a - b);
    await expect.poll(() => told.at(-1)?.peerId).toBe(ids[0]);
    const smallest = peers.find(({ replica }) => replica.peerId === ids[0]);
    expect(hub.replica.leader).toBe(hub === smallest);
    await expect.poll(() => smallest?.replica.leader).toBe(true);
    await smallest?.replica.close();
    expect(smallest?.replica.leader).toBe(false);
    if (hub !== smallest) await expect.poll(() => told.at(-1)?.peerId).toBe(ids[1]);
  });
});

describe("close", () => {
  it("drains first when asked: peers hold all, and nobody new is let in", async () => {
    const [here, there, late] = [makePeer(), makePeer(), makePeer()];
    join(here, there);
    await converged(here, there);
    for (let id = 0; id < 200; id++) here.write(id, "x".repeat(1000));
    const closing = here.replica.close({ drain: true });
    const refused = join(here, late);
    expect(await closing).toMatchObject({ drained: true });
    await refused();
    expect(there.replica.vector()).toContainEqual({
      peerId: here.replica.peerId,
      held: 200,
      merged: expect.any(Number),
    });
    expect(late.replica.metrics().linksOpened).toBe(0);
    expect(await here.replica.close()).toMatchObject({ drained: false });
  });

  it("does not wait for nobody, nor beyond its signal, nor after the last link", async () => {
    const alone = makePeer();
    expect(await alone.replica.close({ drain: true })).toMatchObject({ drained: true });
    const unlinked = makePeer();
    unlinked.write(1);
    expect(await unlinked.replica.close({ drain: true })).toMatchObject({ drained: false });
    const [impatient, left, other] = [makePeer(), makePeer(), makePeer()];
    join(impatient, other);
    const end = join(left, other);
    await converged(impatient, left, other);
    for (const { write } of [impatient, left]) write(1);
    const signal = AbortSignal.timeout(50);
    expect(await impatient.replica.close({ drain: 5, signal })).toMatchObject({ drained: false });
    const closing = left.replica.close({ drain: "all" });
    await end();
    expect((await closing).drained).toBeTypeOf("boolean");
  });

  it("at once ends one that drains", async () => {
    const [here, there] = [makePeer(), makePeer()];
    join(here, there);
    await converged(here, there);
    here.write(1);
    const draining = here.replica.close({ drain: 7 });
    await here.replica.close();
    expect(await draining).toMatchObject({ drained: false });
    const wrong = { drian: true } as object;
    await expect(there.replica.close(wrong)).rejects.toThrow(/drian/);
    await expect(there.replica.close({ drain: -1 })).rejects.toThrow(/peers must be/);
  });
});

describe("a logger", () => {
  function lines(): { logger: Logger; told: { level: string; fields: object; message: string }[] } {
    const told: { level: string; fields: object; message: string }[] = [];
    const at = (level: string) => (fields: object, message: string) =>
      void told.push({ level, fields, message });
    return {
      logger: { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") },
      told,
    };
  }

  it("is told what happens, and nothing that users wrote", async () => {
    const { logger, told } = lines();
    const [here, there] = [makePeer({ logger }), makePeer()];
    const failing = {
      name: "wss://u:secret@host/path?token=secret",
      dial: async () => {
        throw new Error("no way to wss://u:secret@host/path?token=secret");
      },
    };
    here.replica.connect(failing);
    there.write(1, "secret");
    await later();
    here.write(1, "secret");
    join(here, there);
    await converged(here, there);
    const messages = told.map(({ level, message }) => `${level} ${message}`);
    expect(messages).toEqual(
      expect.arrayContaining([
        "info linked",
        "debug committed",
        "debug merged",
        "warn two peers inserted one key",
        "warn could not connect",
      ]),
    );
    const replica = here.replica.peerId;
    expect(told.every(({ fields }) => "replica" in fields && fields.replica === replica)).toBe(
      true,
    );
    expect(JSON.stringify(told)).not.toContain("secret");
    expect(JSON.stringify(told)).toContain("wss://host/path?...");
  });

  it("must be one", () => {
    const logger = { info: () => undefined } as unknown as Logger;
    expect(() => makePeer({ logger })).toThrow(/logger must have/);
  });

  it("is NODE_DEBUG's when there is none", () => {
    const script = `
      import Database from "better-sqlite3";
      import { attach } from "./dist/index.js";
      const db = new Database(":memory:");
      db.exec("CREATE TABLE t (id INTEGER PRIMARY KEY)");
      const replica = attach(db, { tables: ["t"], watchFile: false });
      db.exec("INSERT INTO t VALUES (1)");
      replica.poll();
      await replica.close();`;
    const run = (debug: string) =>
      spawnSync(process.execPath, ["--input-type=module", "-e", script], {
        cwd: root,
        env: { ...process.env, NODE_DEBUG: debug },
        encoding: "utf8",
      });
    expect(run("mergelite").stderr).toMatch(/^MERGELITE \d+: debug committed \{.*token: '\d+\.1'/m);
    expect(run("")).toMatchObject({ stderr: "", stdout: "", status: 0 });
  });

  it("gets addresses without what is secret in them", () => {
    expect(withoutCredentials("a https://u:p@h:1/x?k=v#f b")).toBe("a https://h:1/x?...#f b");
    expect(withoutCredentials("tcp://127.0.0.1:80 failed?")).toBe("tcp://127.0.0.1:80 failed?");
    expect(withoutCredentials("mail me@example.com")).toBe("mail me@example.com");
  });
});

describe("many databases in one process", () => {
  it("share nothing: clocks, ids and counters are each replica's own", async () => {
    const peers = Array.from({ length: 200 }, (_, i) =>
      makePeer({ clock: undefined as never, cluster: `c${i % 7}` }),
    );
    for (const [i, { write }] of peers.entries()) for (let n = 0; n <= i % 5; n++) write(n);
    expect(new Set(peers.map(({ replica }) => replica.peerId)).size).toBe(200);
    for (const [i, { replica }] of peers.entries()) {
      replica.poll();
      expect(replica.token()).toBe(`${replica.peerId}.${1 + (i % 5)}`);
      expect(replica.metrics()).toMatchObject({ localCommits: 1 + (i % 5), links: 0 });
      expect(replica.vector()).toHaveLength(1);
    }
    const [first, second, far] = [peers[0], peers[7], peers[1]] as [Peer, Peer, Peer];
    const errors: unknown[] = [];
    far.replica.on("link", (event) => errors.push(event));
    join(first, second);
    join(first, far);
    await converged(first, second);
    expect(second.replica.vector()).toHaveLength(2);
    expect(peers.filter(({ replica }) => replica.metrics().links > 0)).toHaveLength(2);
    expect(errors).toEqual([expect.objectContaining({ code: "CLUSTER_MISMATCH" })]);
  });

  it("go on when one of them is closed, and one clock ahead is not the others'", async () => {
    const file = folder.file();
    const before = makePeer({ file });
    before.write(1);
    await before.close();
    const raw = new Database(file);
    raw.exec(`UPDATE _mergelite_log SET timestamp = timestamp + ${3_600_000 * 8192}`);
    raw.close();
    const [ahead, other] = [makePeer({ file }), makePeer()];
    const aheadMs = ({ db }: Peer) => {
      const timestamp = db.prepare("SELECT max(timestamp) FROM _mergelite_log").pluck().get();
      return (wallMsOf(Number(timestamp)) ?? 0) - Date.now();
    };
    ahead.write(2);
    other.write(1);
    expect(aheadMs(ahead)).toBeGreaterThan(3_000_000);
    expect(Math.abs(aheadMs(other))).toBeLessThan(60_000);
    await ahead.close();
    other.write(2);
    expect(other.replica.token()).toMatch(/\.2$/);
  });
});
