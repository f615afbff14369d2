/** `verify` and its repair over links: two peers mend their rows, and the others follow. */
import Database from "better-sqlite3";
import fc from "fast-check";
import { afterEach, describe, expect, it } from "vitest";
import { attach } from "../../src/attach.ts";
import type { AttachOptions, WatchResult } from "../../src/index.ts";
import type { Replica } from "../../src/replica.ts";
import type { VerifyEvent } from "../../src/replica-events.ts";
import { encodeMessage } from "../../src/sync/protocol.ts";
import { memoryPair } from "../../src/transport/memory.ts";
import type { Transport } from "../../src/transport/transport.ts";
import { lose, untracked } from "../support/damage.ts";
import { temporaryFolder } from "../support/folder.ts";
import { dump } from "../support/replica.ts";

interface Peer {
  db: Database.Database;
  replica: Replica;
}

const folder = temporaryFolder();
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

function peer(options: AttachOptions = {}): Peer {
  const db = new Database(folder.file());
  db.pragma("journal_mode = WAL");
  db.exec(schema);
  const replica = attach(db, { tables: ["note", "word"], heartbeatMs: 200, ...options });
  const made = { db, replica };
  peers.push(made);
  return made;
}

function join(a: Peer, b: Peer): void {
  const [left, right] = memoryPair();
  a.replica.connect(left);
  b.replica.connect(right);
}

const soon = () => ({ signal: AbortSignal.timeout(20_000) });

async function settle(all: readonly Peer[]): Promise<void> {
  for (const one of all) {
    for (const other of all) {
      if (other !== one) await one.replica.wait(other.replica.token(), soon());
    }
  }
}

/** A chain of three: the ends have no link. */
async function chain(): Promise<[Peer, Peer, Peer]> {
  const [first, middle, last] = [peer(), peer(), peer()];
  join(first, middle);
  join(middle, last);
  first.db.exec(`
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
    INSERT INTO note SELECT i, 'a' || i, i FROM n;
    INSERT INTO word SELECT 'w' || id, id FROM note WHERE id < 100;`);
  await settle([first, middle, last]);
  // Clocks are in their tables from now on, where damage can reach them.
  await first.replica.verify(middle.replica.peerId);
  await last.replica.verify(middle.replica.peerId);
  return [first, middle, last];
}

function expectSame([first, ...others]: readonly Peer[]): void {
  for (const table of ["note", "word"]) {
    const rows = dump(first?.db as Database.Database, table);
    for (const { db } of others) expect(dump(db, table)).toEqual(rows);
  }
}

describe("verify with repair", () => {
  it("mends both sides, tells how much, and every other peer follows", async () => {
    const [first, middle, last] = await chain();
    lose(middle.db, "note", "id % 100 = 0");
    untracked(middle.db, "UPDATE word SET n = -1 WHERE n < 10");
    untracked(first.db, "INSERT INTO note VALUES (-5, 'by hand', 0)");
    const events: VerifyEvent[] = [];
    first.replica.on("verify", (event) => events.push(event));
    const { repair, differences } = await first.replica.verify(undefined, {
      repair: "here",
      ...soon(),
    });
    // What was written anew over there may come as a changeset before it is asked for.
    expect(differences).toBe(40);
    expect(repair).toMatchObject({ sent: 39, rewritten: 10, left: 0 });
    expect(events).toEqual([{ peerId: middle.replica.peerId, differences, repair }]);
    expect(first.replica.metrics()).toMatchObject({ verifyDifferences: 40, rewrittenRows: 1 });
    expect(first.replica.metrics().verifiedAtMs).toBeGreaterThan(0);
    expect(middle.replica.metrics()).toMatchObject({ repairedRows: 39, rewrittenRows: 9 });
    await settle([first, middle, last]);
    expectSame([first, middle, last]);
    expect(await first.replica.verify(undefined, { deep: true })).toMatchObject({ differences: 0 });
    expect(await last.replica.verify(undefined, { deep: true })).toMatchObject({ differences: 0 });
  }, 30_000);

  it("shows live queries what it has brought back", async () => {
    const [first, middle] = await chain();
    lose(middle.db, "note", "id % 100 = 0");
    const counts: unknown[] = [];
    const listener = ({ rows }: WatchResult<unknown>) => void counts.push(rows?.[0]);
    const stop = middle.replica.watch("SELECT count(*) AS n FROM note", [], listener);
    await expect.poll(() => counts.at(-1)).toEqual({ n: 2970 });
    await first.replica.verify(middle.replica.peerId, { repair: true });
    await expect.poll(() => counts.at(-1)).toEqual({ n: 3000 });
    stop();
  }, 30_000);

  it("goes on where a cut link left it", async () => {
    const [first, middle, last] = await chain();
    lose(middle.db, "note", "id % 2 = 0");
    const cut = new AbortController();
    middle.replica.on("merge", () => cut.abort(new Error("enough")));
    const call = { repair: true, signal: cut.signal } as const;
    await expect(first.replica.verify(middle.replica.peerId, call)).rejects.toThrow("enough");
    const { repair } = await first.replica.verify(middle.replica.peerId, { repair: true });
    expect(repair?.sent).toBeLessThan(1500);
    expect(repair?.left).toBe(0);
    expectSame([first, middle, last]);
  }, 30_000);

  it("mends whatever was damaged, while all go on writing", async () => {
    const [first, middle, last] = await chain();
    const faults = fc.oneof(
      fc.record({
        do: fc.constant(lose),
        what: fc.integer({ min: 1, max: 3000 }).map((id) => `id BETWEEN ${id} AND ${id + 20}`),
      }),
      fc.record({
        do: fc.constant((db: Database.Database, table: string, where: string) =>
          untracked(db, `UPDATE ${table} SET a = 'rot', b = random() WHERE ${where}`),
        ),
        what: fc.integer({ min: 1, max: 3000 }).map((id) => `id BETWEEN ${id} AND ${id + 5}`),
      }),
      fc.record({
        do: fc.constant((db: Database.Database, table: string, where: string) =>
          untracked(db, `DELETE FROM ${table} WHERE ${where}`),
        ),
        what: fc.integer({ min: 1, max: 3000 }).map((id) => `id BETWEEN ${id} AND ${id + 5}`),
      }),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat({ max: 2 }), faults), { minLength: 1, maxLength: 5 }),
        fc.boolean(),
        async (done, here) => {
          for (const [at, fault] of done) {
            const { do: damage, what } = fault;
            damage([first, middle, last][at]?.db ?? first.db, "note", what);
          }
          const winner = here ? "here" : "there";
          for (const one of [first, last, first]) {
            const writing = one.replica.verify(undefined, { repair: winner, ...soon() });
            last.db.exec("UPDATE note SET b = b + 1 WHERE id % 777 = 3");
            first.db.exec("INSERT INTO note (a) VALUES ('written meanwhile')");
            await writing;
          }
          await settle([first, middle, last]);
          expectSame([first, middle, last]);
        },
      ),
      { numRuns: 3, seed: 7 },
    );
  }, 60_000);
});

describe("a peer that answers nonsense", () => {
  /** A transport that alters what verify's repair is told. */
  function lying(transport: Transport, alter: (message: Uint8Array) => Uint8Array): Transport {
    const { messages } = transport;
    return {
      name: "lying",
      send: (message) => transport.send(alter(message)),
      messages,
      close: async () => transport.close?.(),
    };
  }

  async function liar(alter: (message: Uint8Array) => Uint8Array): Promise<[Peer, Peer]> {
    const [here, there] = [peer(), peer()];
    const [left, right] = memoryPair();
    here.db.exec("INSERT INTO note VALUES (1, 'a', 1), (2, 'b', 2)");
    here.replica.connect(left);
    there.replica.connect(lying(right, alter));
    await settle([here, there]);
    await here.replica.verify();
    lose(there.db, "note", "id = 1");
    untracked(there.db, "UPDATE note SET a = 'rot' WHERE id = 2");
    return [here, there];
  }

  it("does no harm: a damaged chunk ends the repair", async () => {
    const [here] = await liar((message) => {
      // The byte before the chunk's checksum.
      const altered = message.slice();
      if (message[0] === 21) altered[message.length - 5] = (message.at(-5) ?? 0) ^ 1;
      return altered;
    });
    const before = dump(here.db, "note");
    await expect(here.replica.verify(undefined, { repair: "there" })).rejects.toMatchObject({
      code: "PAYLOAD_CORRUPT",
    });
    expect(dump(here.db, "note")).toEqual(before);
  });

  it("is not asked for ever when it covers no key", async () => {
    const empty = { kind: "repair", outcome: "done", keys: 0, taken: 0, rewritten: 0 } as const;
    const [here] = await liar((message) => {
      if (message[0] !== 21) return message;
      // Request ids below 128 take a byte.
      const requestId = message[2] ?? 0;
      return encodeMessage({ ...empty, requestId, chunk: new Uint8Array(0) });
    });
    await expect(here.replica.verify(undefined, { repair: "there" })).rejects.toMatchObject({
      code: "PROTOCOL_MALFORMED",
    });
  });

  it("ends the link when what it pushes is damaged", async () => {
    const [here, there] = await liar((message) => {
      const altered = message.slice();
      if (message[0] === 20 && message.length > 40) altered[message.length - 5] = 0x5a;
      return altered;
    });
    const before = dump(here.db, "note");
    const ends: unknown[] = [];
    here.replica.on("link", (event) => ends.push(event));
    await expect(there.replica.verify(undefined, { repair: "here" })).rejects.toMatchObject({
      code: "LINK_CLOSED",
    });
    expect(ends).toMatchObject([{ live: false, code: "PROTOCOL_MALFORMED" }]);
    expect(dump(here.db, "note")).toEqual(before);
  });

  it("is told of options that make no sense", async () => {
    const [here] = await liar((message) => message);
    await expect(
      here.replica.verify(undefined, { repair: "mine" as "here" }),
    ).rejects.toMatchObject({ code: "INVALID_OPTION" });
  });
});

describe("verifyEveryMs", () => {
  it("finds by itself what differs, and mends it where that is wanted", async () => {
    const [first, plain] = [peer({ verifyEveryMs: 100, verifyRepair: true }), peer()];
    plain.db.exec(`
      WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
      INSERT INTO note SELECT i, 'a' || i, i FROM n`);
    untracked(plain.db, "INSERT INTO word VALUES ('by hand', 1)");
    const events: VerifyEvent[] = [];
    first.replica.on("verify", (event) => events.push(event));
    join(first, plain);
    await expect.poll(() => events.length, { timeout: 20_000 }).toBeGreaterThan(1);
    expect(events[0]).toMatchObject({ peerId: plain.replica.peerId, differences: 1 });
    expect(events[0]?.repair).toMatchObject({ left: 0 });
    expect(events.at(-1)?.differences).toBe(0);
    expectSame([first, plain]);
    expect(dump(first.db, "word")).toHaveLength(1);
  }, 30_000);

  it("tells, and mends nothing, unless it is asked to", async () => {
    const [first, plain] = [peer({ verifyEveryMs: 50 }), peer()];
    untracked(plain.db, "INSERT INTO word VALUES ('by hand', 1)");
    join(first, plain);
    const { replica } = first;
    await expect.poll(() => replica.metrics().verifyDifferences, { timeout: 20_000 }).toBe(1);
    expect(dump(first.db, "word")).toEqual([]);
    await replica.close();
    expect(replica.metrics().repairedRows).toBe(0);
  }, 30_000);
});
