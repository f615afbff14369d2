/** Peers whose clocks are wrong, by hours: who wins, who waits, and that nobody waits for ever. */
import { describe, expect, it } from "vitest";
import type { ClockEvent } from "../../src/index.ts";
import { native } from "../../src/native.ts";
import { temporaryFolder } from "../support/folder.ts";
import { join, makePeer as makeNotes, type Peer as Notes } from "../support/peer.ts";
import { handleOf } from "../support/replica.ts";

const folder = temporaryFolder();
const hourMs = 3_600_000;
const startMs = Date.UTC(2026, 0, 1);

interface Peer extends Notes {
  /** Sets the clock of the native core. */
  setClock(nowMs: number): void;
  body(id: number): unknown;
}

function makePeer(nowMs: number, file = folder.file()): Peer {
  const notes = makeNotes({ file, heartbeatMs: 20 });
  const { db } = notes;
  const handle = handleOf(db);
  native.setClock(handle, nowMs);
  return {
    ...notes,
    setClock: (to) => native.setClock(handle, to),
    // An upsert, since a row replaced is deleted first.
    write: (id, body) => {
      db.prepare(
        "INSERT INTO note VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET body = excluded.body",
      ).run(id, body);
    },
    body: (id) => db.prepare("SELECT body FROM note WHERE id = ?").pluck().get(id),
  };
}

/** Until what waits for its time has been looked at under the clock set last. */
async function maintained(peer: Peer): Promise<void> {
  const handle = handleOf(peer.db);
  for (;;) {
    const { busy, more } = native.maintain(handle, 1_000);
    if (!busy && !more) return;
    await new Promise((resolve) => setImmediate(resolve));
  }
}

describe("a peer an hour ahead", () => {
  it("does not win until its time has come, also over a relay and after a restart", async () => {
    const ahead = makePeer(startMs + hourMs);
    const relay = makePeer(startMs);
    const file = folder.file();
    let far = makePeer(startMs, file);
    join(ahead, relay);
    join(relay, far);
    ahead.write(1, "from the future");
    await far.replica.synced();
    while (far.replica.vector().every(({ peerId }) => peerId !== ahead.replica.peerId)) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    far.write(1, "now");
    await far.replica.drain();
    expect([relay.body(1), far.body(1)]).toEqual(["now", "now"]);

    await far.close();
    far = makePeer(startMs + 1_000, file);
    await maintained(far);
    expect(far.body(1)).toBe("now");
    const [waiting] = far.replica.vector().filter(({ held, merged }) => held > merged);
    expect(waiting?.peerId).toBe(ahead.replica.peerId);

    far.setClock(startMs + hourMs);
    await maintained(far);
    expect(far.body(1)).toBe("from the future");
    // From then on it is older than whatever is written.
    far.write(1, "later");
    expect(far.body(1)).toBe("later");
  });

  it("writes nothing that waits for ever once its clock is right", async () => {
    const [wrong, right] = [makePeer(startMs + hourMs), makePeer(startMs)];
    wrong.write(1, "ahead");
    wrong.setClock(startMs);
    wrong.write(2, "still stamped ahead, for stamps only rise");
    join(wrong, right);
    await wrong.replica.synced();
    await right.replica.synced();
    expect([right.body(1), right.body(2)]).toEqual([undefined, undefined]);
    right.setClock(startMs + hourMs);
    await maintained(right);
    expect(right.body(2)).toContain("stamps only rise");
    wrong.setClock(startMs + 2 * hourMs);
    right.setClock(startMs + 2 * hourMs);
    wrong.write(1, "on time");
    await right.replica.wait(wrong.replica.token());
    expect(right.body(1)).toBe("on time");
  });
});

describe("a peer an hour behind", () => {
  it("loses nothing: its writes are newer than what it had merged", async () => {
    const [behind, right] = [makePeer(startMs - hourMs), makePeer(startMs)];
    right.write(1, "first");
    join(behind, right);
    // To the peer behind, the others are ahead: their writes wait, its own do not.
    await behind.replica.synced();
    behind.setClock(startMs - 1_000);
    await maintained(behind);
    expect(behind.body(1)).toBe("first");
    behind.setClock(startMs - hourMs);
    behind.write(1, "second, with a clock that went back");
    await right.replica.wait(behind.replica.token());
    expect(right.body(1)).toContain("second");
    expect(behind.body(1)).toContain("second");
  });
});

describe("a replica whose clock is not that of most peers", () => {
  it("says so, by event, metric and status", async () => {
    const real = Date.now;
    const clock = {
      now: () => real() + hourMs,
      sleep: (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms)),
      setTimer: (ms: number, fn: () => void) => {
        const timer = setTimeout(fn, ms);
        return () => clearTimeout(timer);
      },
      nextTurn: (fn: () => void) => void setImmediate(fn),
    };
    const ahead = makeNotes({ heartbeatMs: 20, clock });
    const { replica } = ahead;
    const others = [makePeer(real()), makePeer(real()), makePeer(real())];
    const told = new Promise<ClockEvent>((resolve) => replica.once("clock", resolve));
    for (const other of others) join(ahead, other);
    for (const [index, other] of others.entries()) {
      for (const peer of others.slice(index + 1)) join(other, peer);
    }
    expect(await told).toMatchObject({ ok: false });
    expect(replica.metrics().clockSkewMs).toBeGreaterThan(hourMs - 5_000);
    const measured = replica.status().links.flatMap(({ skewMs }) => skewMs ?? []);
    expect(Math.min(...measured)).toBeGreaterThan(hourMs - 5_000);
    for (const other of others) {
      const skews = () => other.replica.status().links.map(({ skewMs }) => skewMs);
      while (skews().length < 3 || skews().includes(null)) {
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      expect(Math.abs(other.replica.metrics().clockSkewMs)).toBeLessThan(5_000);
    }
  });
});
