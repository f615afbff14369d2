/** Conflicts as an application meets them: told by events, listed, tried again, given up. */
import Database from "better-sqlite3";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { attach, type Conflict, type Replica } from "../../src/index.ts";
import { memoryPair } from "../../src/transport/memory.ts";
import { forge, forgePayload } from "../support/forge.ts";
import { mergeAll, openRaw } from "../support/replica.ts";

interface Peer {
  db: Database.Database;
  replica: Replica;
  told: Conflict[];
  resolved: unknown[];
}

const open: Peer[] = [];
afterEach(async () => {
  for (const { replica, db } of open.splice(0)) {
    await replica.close();
    db.close();
  }
});

function openPeer(schema: string, tables: readonly string[]): Peer {
  const db = new Database(":memory:");
  db.exec(schema);
  const replica = attach(db, { tables });
  const peer: Peer = { db, replica, told: [], resolved: [] };
  replica.on("conflict", (conflict) => peer.told.push(conflict));
  replica.on("resolved", (event) => peer.resolved.push(event));
  open.push(peer);
  return peer;
}

function link(a: Peer, b: Peer): void {
  const [left, right] = memoryPair();
  a.replica.connect(left);
  b.replica.connect(right);
}

/** Both have everything of each other. */
async function settle(a: Peer, b: Peer): Promise<void> {
  await a.replica.wait(b.replica.token());
  await b.replica.wait(a.replica.token());
}

async function until(holds: () => boolean): Promise<void> {
  const end = Date.now() + 20_000;
  while (!holds() && Date.now() < end) await new Promise((next) => setTimeout(next, 5));
  expect(holds()).toBe(true);
}

const rows = ({ db }: Peer, table = "t") =>
  db.prepare(`SELECT * FROM ${table} ORDER BY id`).raw().all();

describe("a row that UNIQUE keeps apart", () => {
  const schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, u TEXT UNIQUE, v)";
  const large = 2n ** 60n;
  let a: Peer;
  let b: Peer;
  beforeEach(async () => {
    a = openPeer(schema, ["t"]);
    b = openPeer(schema, ["t"]);
    a.db.exec("INSERT INTO t VALUES (1, 'x', 'older')");
    await new Promise((next) => setTimeout(next, 5));
    b.db.prepare("INSERT INTO t VALUES (?, 'x', 'younger')").run(large);
    link(a, b);
    await settle(a, b);
    await until(() => b.told.length > 0);
  });

  test("is told and listed with its values", () => {
    for (const peer of [a, b]) {
      expect(rows(peer)).toEqual([[1, "x", "older"]]);
      expect(peer.told).toEqual(peer.replica.conflicts());
      expect(peer.replica.conflicts()).toMatchObject([
        {
          table: "t",
          key: { id: large },
          reason: "unique",
          detail: expect.stringContaining("UNIQUE constraint failed: t.u"),
          origin: b.replica.peerId,
          values: { u: "x", v: "younger" },
        },
      ]);
      expect(peer.replica.metrics().conflicts.unique).toBe(1);
      expect(peer.replica.status().parked).toEqual([{ table: "t", reason: "unique", count: 1 }]);
      expect(peer.replica.conflicts({ table: "other" })).toEqual([]);
      expect(peer.replica.conflicts({ reason: "check" })).toEqual([]);
    }
  });

  test("is shown as soon as a local write has freed the value", async () => {
    const started = a.replica.metrics().localCommits;
    a.db.exec("UPDATE t SET u = 'free' WHERE id = 1");
    await until(() => a.resolved.length > 0);
    expect(a.replica.metrics().localCommits).toBe(started + 1);
    expect(a.resolved).toEqual([{ table: "t", key: { id: large }, reason: "unique" }]);
    expect(a.db.prepare("SELECT count(*) FROM t").pluck().get()).toBe(2);
    await settle(a, b);
    await until(() => b.resolved.length > 0);
    expect(b.db.prepare("SELECT count(*) FROM t").pluck().get()).toBe(2);
  });

  test("is given up everywhere when one peer discards it", async () => {
    const [conflict] = a.replica.conflicts();
    expect(a.replica.retry(conflict as Conflict)).toBe(false);
    a.replica.discard(conflict as Conflict);
    await settle(a, b);
    for (const peer of [a, b]) {
      await until(() => peer.replica.conflicts().length === 0);
      expect(peer.resolved).toEqual([{ table: "t", key: { id: large }, reason: "unique" }]);
    }
    // Its value is free for it no more: the row is deleted.
    a.db.exec("UPDATE t SET u = 'free' WHERE id = 1");
    await settle(a, b);
    for (const peer of [a, b]) expect(rows(peer)).toEqual([[1, "free", "older"]]);
  });

  test("asks not to be settled inside a transaction", () => {
    const [conflict] = a.replica.conflicts();
    const refusal = expect.objectContaining({ code: "IN_TRANSACTION" });
    a.db.exec("BEGIN");
    expect(() => a.replica.discard(conflict as Conflict)).toThrow(refusal);
    expect(() => a.replica.retry(conflict as Conflict)).toThrow(refusal);
    a.db.exec("COMMIT");
    expect(a.replica.conflicts()).toHaveLength(1);
  });
});

test("a withheld child comes back whatever foreign keys say", async () => {
  const schema =
    "CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE t (id INTEGER PRIMARY KEY, u UNIQUE, " +
    "p REFERENCES p ON DELETE CASCADE); CREATE TABLE g (id INTEGER PRIMARY KEY, t REFERENCES t ON DELETE CASCADE)";
  const [a, b] = [0, 1].map(() => openPeer(schema, ["p", "t", "g"])) as [Peer, Peer];
  a.db.exec("INSERT INTO t VALUES (1, 'x', NULL)");
  await new Promise((next) => setTimeout(next, 5));
  b.db.exec(
    "INSERT INTO p VALUES (7); INSERT INTO t VALUES (2, 'x', 7); INSERT INTO g VALUES (1, 2)",
  );
  link(a, b);
  await settle(a, b);
  // Withholding a row is no delete: nothing cascades from it.
  for (const peer of [a, b]) expect(rows(peer, "g")).toEqual([[1, 2]]);
  b.db.exec("DELETE FROM p");
  a.db.exec("DELETE FROM t WHERE id = 1");
  await settle(a, b);
  for (const peer of [a, b]) {
    await until(() => rows(peer).length === 1);
    expect(rows(peer)).toEqual([[2, "x", 7]]);
    const { counts } = await peer.replica.orphans();
    expect(counts).toEqual([{ table: "t", count: 1 }]);
  }
});

test("a row that a CHECK refuses is shown, told, and marked until it is right", async () => {
  const schema =
    "CREATE TABLE t (id INTEGER PRIMARY KEY, low INTEGER, high INTEGER, CHECK (low <= high))";
  const [a, b] = [0, 1].map(() => openPeer(schema, ["t"])) as [Peer, Peer];
  a.db.exec("INSERT INTO t VALUES (1, 1, 9), (2, 1, 9)");
  link(a, b);
  await b.replica.wait(a.replica.token());
  await settle(a, b);
  // Neither has seen the other's.
  a.db.exec("UPDATE t SET low = 8 WHERE id = 1");
  b.db.exec("UPDATE t SET high = 2 WHERE id = 1");
  await settle(a, b);
  for (const peer of [a, b]) {
    expect(rows(peer)[0]).toEqual([1, 8, 2]);
    expect(peer.told).toMatchObject([
      { table: "t", key: { id: 1 }, reason: "check", values: { low: 8, high: 2 } },
    ]);
    expect(peer.replica.status()).toMatchObject({
      parked: [],
      violations: [{ table: "t", reason: "check", count: 1 }],
    });
  }
  const [conflict] = b.replica.conflicts();
  expect(b.replica.retry(conflict as Conflict)).toBe(false);
  // Giving it up is saying that it may stay so: here, and until it changes.
  b.replica.discard(b.replica.conflicts()[0] as Conflict);
  expect(b.replica.conflicts()).toEqual([]);
  expect(rows(b)[0]).toEqual([1, 8, 2]);
  a.db.exec("UPDATE t SET high = 10 WHERE id = 1");
  await settle(a, b);
  for (const peer of [a, b]) {
    await until(() => peer.resolved.length > 0);
    expect(peer.replica.conflicts()).toEqual([]);
  }
});

test("what waits for another schema is kept, and merged when the schema is there", async () => {
  const a = openPeer(
    "CREATE TABLE t (id INTEGER PRIMARY KEY, a, b); CREATE TABLE s (id INTEGER PRIMARY KEY)",
    ["t", "s"],
  );
  const b = openPeer("CREATE TABLE t (id INTEGER PRIMARY KEY, a)", ["t"]);
  a.db.exec("INSERT INTO t VALUES (1, 'a', 'b'); INSERT INTO s VALUES (1), (2), (3)");
  link(a, b);
  await b.replica.wait(a.replica.token());
  const listed = b.replica.conflicts();
  expect(listed.map(({ table, reason, key, values }) => ({ table, reason, key, values }))).toEqual([
    { table: "t", reason: "column", key: { id: 1 }, values: { b: "b" } },
    ...[1, 2, 3].map((id) => ({ table: "s", reason: "table", key: { id }, values: {} })),
  ]);
  const paged: Conflict[] = [];
  for (;;) {
    const after = paged.at(-1)?.id;
    const page = b.replica.conflicts({ limit: 2, ...(after === undefined ? {} : { after }) });
    if (page.length === 0) break;
    paged.push(...page);
  }
  expect(paged).toEqual(listed);
  for (const conflict of listed) {
    expect(() => b.replica.discard(conflict)).toThrow(
      expect.objectContaining({ code: "CONFLICT_KEPT" }),
    );
  }
  b.db.exec("ALTER TABLE t ADD COLUMN b");
  a.db.exec("UPDATE t SET a = 'new'");
  await until(() => b.replica.conflicts({ reason: "column" }).length === 0);
  expect(rows(b)).toEqual([[1, "new", "b"]]);
});

test("an update of a deleted row is given up by deleting the row again", async () => {
  const schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, v)";
  const [a, b] = [0, 1].map(() => openPeer(schema, ["t"])) as [Peer, Peer];
  a.db.exec("INSERT INTO t VALUES (1, 'first')");
  link(a, b);
  await settle(a, b);
  a.db.exec("DELETE FROM t");
  b.db.exec("UPDATE t SET v = 'second'");
  await settle(a, b);
  const peer = [a, b].find(({ replica }) => replica.conflicts().length > 0) as Peer | undefined;
  // Which of the two was later is for the clocks to say.
  if (peer === undefined) return;
  const [conflict] = peer.replica.conflicts();
  expect(conflict).toMatchObject({ reason: "row", key: { id: 1 }, values: { v: "second" } });
  peer.replica.discard(conflict as Conflict);
  await settle(a, b);
  for (const one of [a, b]) await until(() => one.replica.conflicts().length === 0);
});

describe("foreign keys", () => {
  const schema =
    "CREATE TABLE parent (id INTEGER PRIMARY KEY); CREATE TABLE t (id INTEGER PRIMARY KEY, parent REFERENCES parent)";

  test("a child whose parent a peer has deleted is an orphan, until either is settled", async () => {
    const [a, b] = [0, 1].map(() => openPeer(schema, ["parent", "t"])) as [Peer, Peer];
    a.db.exec("INSERT INTO parent VALUES (1), (2)");
    link(a, b);
    await settle(a, b);
    a.db.exec("DELETE FROM parent");
    b.db.exec("INSERT INTO t VALUES (1, 1), (2, 2), (3, NULL)");
    await settle(a, b);
    for (const peer of [a, b]) {
      const { counts, checkedAtMs } = await peer.replica.orphans();
      expect(counts).toEqual([{ table: "t", count: 2 }]);
      expect(checkedAtMs).toBeGreaterThan(0);
      expect(peer.replica.status().violations).toEqual([
        { table: "t", reason: "foreign-key", count: 2 },
      ]);
      expect(peer.replica.conflicts().map(({ key, values }) => [key, values])).toEqual([
        [{ id: 1 }, { parent: 1 }],
        [{ id: 2 }, { parent: 2 }],
      ]);
      expect(peer.told.map(({ reason }) => reason)).toContain("foreign-key");
    }
    a.replica.discard(a.replica.conflicts()[0] as Conflict);
    b.db.exec("INSERT INTO parent VALUES (2)");
    await settle(a, b);
    for (const peer of [a, b]) {
      expect((await peer.replica.orphans()).counts).toEqual([]);
      expect(rows(peer)).toEqual([
        [2, 2],
        [3, null],
      ]);
      expect(peer.replica.conflicts()).toEqual([]);
      expect(peer.resolved).toHaveLength(2);
    }
  });

  test("are looked at again by themselves after merging", async () => {
    const [a, b] = [0, 1].map(() => openPeer(schema, ["parent", "t"])) as [Peer, Peer];
    a.db.pragma("foreign_keys = OFF");
    a.db.exec("INSERT INTO t VALUES (1, 9)");
    link(a, b);
    await until(() => b.replica.status().violations.length > 0);
    expect(b.told).toMatchObject([{ reason: "foreign-key", table: "t", key: { id: 1 } }]);
  });
});

test("a refused changeset is listed, and can be forgotten", async () => {
  const raw = openRaw(":memory:", "CREATE TABLE t (id INTEGER PRIMARY KEY)", ["t"]);
  mergeAll(
    raw,
    forge({ origin: 77, sequence: 1, timestamp: 1000, payload: forgePayload([], { format: 9 }) }),
  );
  const peer = openPeer("CREATE TABLE t (id INTEGER PRIMARY KEY)", ["t"]);
  const from: Peer = { db: raw.db, replica: attach(raw.db), told: [], resolved: [] };
  open.push(from);
  link(from, peer);
  await until(() => peer.told.length > 0);
  const [refused] = peer.replica.conflicts();
  expect(refused).toMatchObject({
    table: "",
    reason: "changeset",
    detail: "unknown format",
    origin: 77,
    sequence: 1,
  });
  expect(peer.replica.status().refused).toBe(1);
  peer.replica.discard(refused as Conflict);
  expect(peer.replica.conflicts()).toEqual([]);
  expect(peer.replica.status().refused).toBe(0);
});

test("a changeset ahead of its time is listed until its time comes", async () => {
  const a = openPeer("CREATE TABLE t (id INTEGER PRIMARY KEY)", ["t"]);
  const b = openPeer("CREATE TABLE t (id INTEGER PRIMARY KEY)", ["t"]);
  a.db.exec("INSERT INTO t VALUES (1)");
  // Two minutes ahead of the wall clock.
  const ahead = BigInt(Date.now() + 120_000 - Date.UTC(2025)) * 8192n;
  a.db.prepare("UPDATE _mergelite_log SET timestamp = ?").run(ahead);
  link(a, b);
  await until(() => b.told.length > 0);
  expect(b.told).toMatchObject([{ reason: "clock", origin: a.replica.peerId, sequence: 1 }]);
  expect(b.replica.conflicts()).toEqual(b.told);
  expect(() => b.replica.discard(b.told[0] as Conflict)).toThrow(
    expect.objectContaining({ code: "CONFLICT_KEPT" }),
  );
  expect(b.replica.retry(b.told[0] as Conflict)).toBe(false);
});

test("a list asks for what there can be", () => {
  const peer = openPeer("CREATE TABLE t (id INTEGER PRIMARY KEY)", ["t"]);
  for (const limit of [0, -1, 1.5, 10_001]) {
    expect(() => peer.replica.conflicts({ limit })).toThrow(RangeError);
  }
  expect(() => peer.replica.conflicts({ after: "nowhere 1" })).toThrow(RangeError);
});

test("more rows than are told one by one are told together", async () => {
  const schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, a)";
  const a = openPeer(`${schema}; CREATE TABLE late (id INTEGER PRIMARY KEY, v)`, ["t", "late"]);
  const b = openPeer(schema, ["t"]);
  const changes: number[] = [];
  b.replica.on("conflicts", (event) => changes.push(event.changes));
  a.db.exec(`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
    INSERT INTO late SELECT i, i FROM n`);
  link(a, b);
  await settle(a, b);
  await until(() => b.told.length === 256);
  expect(changes).toEqual([744]);
});
