/** Floors between real replicas: tombstones go, and who was left behind comes back without harm. */
import Database from "better-sqlite3";
import { afterEach, describe, expect, it } from "vitest";
import { attach } from "../../src/attach.ts";
import type { Replica } from "../../src/replica.ts";
import type { MembershipEvent } from "../../src/replica-events.ts";
import { newFloor } from "../../src/sync/floor.ts";
import { encodeMessage, type Message } from "../../src/sync/protocol.ts";
import { memoryPair } from "../../src/transport/memory.ts";
import { temporaryFolder } from "../support/folder.ts";
import { dump } from "../support/replica.ts";

const folder = temporaryFolder();
const peers: Peer[] = [];
afterEach(async () => {
  for (const one of peers.splice(0)) await one.close();
});

interface Peer {
  db: Database.Database;
  replica: Replica;
  file: string;
  events: MembershipEvent[];
  errors: string[];
  close(): Promise<void>;
}

/** Keeps tombstones for a second only, and agrees many times a second. */
function open(file = folder.file(), rows = ""): Peer {
  const db = new Database(file);
  db.pragma("journal_mode = WAL");
  db.exec("CREATE TABLE IF NOT EXISTS note (id INTEGER PRIMARY KEY, body, tag)");
  db.exec(rows);
  const replica = attach(db, {
    tables: ["note"],
    tombstones: "drop",
    retentionMs: 1000,
    heartbeatMs: 200,
  });
  const events: MembershipEvent[] = [];
  const errors: string[] = [];
  replica.on("membership", (event) => events.push(event));
  replica.on("error", ({ error }) => errors.push(`${error.code}: ${error.message}`));
  const made: Peer = {
    db,
    replica,
    file,
    events,
    errors,
    close: async () => {
      await replica.close();
      db.close();
    },
  };
  peers.push(made);
  return made;
}

/** Links again whenever a link ends, as with a dialler. */
function join(left: Peer, right: Peer): { cut(): void } {
  let stopped = false;
  let end: (() => void) | undefined;
  const links = async () => {
    while (!stopped && left.db.open && right.db.open) {
      const [a, b] = memoryPair();
      const connection = left.replica.connect(a);
      end = () => void connection.close();
      right.replica.connect(b);
      await connection.closed;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };
  void links();
  return {
    cut: () => {
      stopped = true;
      end?.();
    },
  };
}

const rows = ({ db }: Peer) => dump(db, "note");
const clocks = ({ db }: Peer) =>
  Number(db.prepare("SELECT count(*) FROM _mergelite_clock_note").pluck().get());
const patient = { timeout: 30_000, interval: 20 };
const same = (...all: Peer[]) =>
  expect.poll(() => new Set(all.map((one) => JSON.stringify(rows(one)))).size, patient).toBe(1);
const horizonPassed = (one: Peer, ms: number) =>
  expect.poll(() => one.replica.status().floor.horizonMs ?? 0, patient).toBeGreaterThan(ms);

describe("tombstones", () => {
  it("go on every member, over a chain, once all have passed them", async () => {
    const chain = [open(), open(), open()] as const;
    const [a, b, c] = chain;
    join(a, b);
    join(b, c);
    for (let id = 1; id <= 50; id++) a.db.prepare("INSERT INTO note VALUES (?, 1, 1)").run(id);
    await same(...chain);
    c.db.exec("DELETE FROM note WHERE id > 10");
    const deletedMs = Date.now();
    for (const one of chain) {
      await horizonPassed(one, deletedMs);
      await expect.poll(() => clocks(one), patient).toBe(10);
      expect(one.errors).toEqual([]);
    }
    await same(...chain);
    const { members, forgotten } = a.replica.status().floor;
    expect([members, forgotten]).toEqual([3, 0]);
    expect(a.replica.metrics()).toMatchObject({ tombstones: 0 });
    expect(a.replica.metrics().tombstonesDropped).toBeGreaterThanOrEqual(40);
    const verified = await a.replica.verify();
    expect(verified.tables.every(({ differences }) => differences.length === 0)).toBe(true);
  });

  it("stay while a member is away, and its late writes and deletes win as ever", async () => {
    const [a, b, c] = [open(), open(), open()];
    join(a, b);
    const link = join(a, c);
    a.db.exec("INSERT INTO note VALUES (1, 1, 1), (2, 1, 1), (3, 1, 1), (4, 1, 1)");
    await same(a, b, c);
    await expect.poll(() => a.replica.status().floor.members, patient).toBe(3);
    link.cut();
    c.db.exec("UPDATE note SET tag = 'c' WHERE id = 1; DELETE FROM note WHERE id = 2");
    c.db.exec("INSERT INTO note VALUES (5, 'c', 0)");
    b.db.exec("DELETE FROM note WHERE id = 3");
    const deletedMs = Date.now();
    await new Promise((resolve) => setTimeout(resolve, 2500));
    expect(clocks(a)).toBe(4);
    const { peerId } = c.replica;
    join(a, c);
    await same(a, b, c);
    await horizonPassed(a, deletedMs);
    await expect.poll(() => clocks(a), patient).toBe(3);
    expect(rows(c)).toHaveLength(3);
    expect(c.replica.peerId).toBe(peerId);
    expect(c.events).toEqual([]);
  });
});

describe("a peer that was forgotten", () => {
  it("comes back under a new id, with what it wrote, and brings nothing back", async () => {
    const [a, b, c] = [open(), open(), open()];
    join(a, b);
    const link = join(a, c);
    a.db.exec("INSERT INTO note VALUES (1, 1, 1), (2, 1, 1), (3, 1, 1), (4, 1, 1)");
    await same(a, b, c);
    await expect.poll(() => b.replica.status().floor.members, patient).toBe(3);
    link.cut();
    c.db.exec("UPDATE note SET tag = 'c' WHERE id IN (1, 2); DELETE FROM note WHERE id = 3");
    c.db.exec("INSERT INTO note VALUES (5, 'c', 0)");
    a.db.exec("DELETE FROM note WHERE id IN (2, 4)");
    const deletedMs = Date.now();
    const former = c.replica.peerId;
    a.replica.forget(former);
    for (const one of [a, b]) {
      await horizonPassed(one, deletedMs);
      await expect.poll(() => clocks(one), patient).toBe(2);
    }
    const renewed = new Promise((resolve) => c.replica.once("identity", resolve));
    join(b, c);
    await renewed;
    await expect.poll(() => a.replica.status().floor.members, patient).toBe(3);
    await same(a, b, c);
    const found = a.db.prepare("SELECT id, tag FROM note ORDER BY id").raw().all();
    expect(found).toEqual([
      [1, "c"],
      [5, 0],
    ]);
    expect(c.replica.peerId).not.toBe(former);
    expect(c.events.at(-1)).toMatchObject({ peerId: c.replica.peerId, member: true });
    // It takes part from now on.
    c.db.exec("DELETE FROM note WHERE id = 5");
    const laterMs = Date.now();
    await horizonPassed(c, laterMs);
    await horizonPassed(a, laterMs);
    await same(a, b, c);
    for (const one of [a, b, c]) expect(one.errors).toEqual([]);
  });
});

describe("a floor of more peers than there is room for", () => {
  it("is an error, and passed over", async () => {
    const here = open();
    const [stranger, ours] = memoryPair();
    here.replica.connect(ours);
    const say = (message: Message) => stranger.send(encodeMessage(message));
    const versions = { minVersion: 1, maxVersion: 1, answer: true, cluster: "" };
    await say({ kind: "hello", ...versions, peerId: 7, vector: new Map(), shapes: [] });
    const added = new Map(Array.from({ length: 65_536 }, (_, index) => [1_000 + index, 0]));
    await say({ kind: "floor", state: { ...newFloor(7, 0), added } });
    while (here.errors.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(here.errors[0]).toBe("MESSAGE_TOO_LARGE: 65537 peers in a floor");
    // The others go on.
    const there = open();
    join(here, there);
    there.db.exec("INSERT INTO note VALUES (1, 'x', 'y'), (2, 'x', 'y')");
    there.db.exec("DELETE FROM note WHERE id = 1");
    const deletedMs = Date.now();
    await horizonPassed(here, deletedMs);
    await expect.poll(() => clocks(here), patient).toBe(1);
  });
});

describe("a newcomer", () => {
  it("with rows of its own has them issued again; without, keeps its id", async () => {
    const [a, b] = [open(), open()];
    join(a, b);
    a.db.exec("INSERT INTO note VALUES (1, 'a', 1), (2, 'a', 1)");
    a.db.exec("DELETE FROM note WHERE id = 2");
    await horizonPassed(a, Date.now());
    await horizonPassed(b, 0);
    const empty = open();
    const { peerId } = empty.replica;
    join(b, empty);
    await same(a, b, empty);
    empty.db.exec("INSERT INTO note VALUES (3, 'empty', 0)");
    await same(a, b, empty);
    expect(empty.replica.peerId).toBe(peerId);
    const before = "INSERT INTO note VALUES (1, 'stale', 0), (7, 'before', 0)";
    const full = open(folder.file(), before);
    const first = full.replica.peerId;
    join(a, full);
    await expect.poll(() => rows(a).length, patient).toBe(3);
    await same(a, b, empty, full);
    expect(full.replica.peerId).not.toBe(first);
    expect(a.db.prepare("SELECT body FROM note WHERE id = 1").pluck().get()).toBe("a");
    for (const one of [a, b, empty, full]) expect(one.errors).toEqual([]);
  });
});
