/** Two histories under one peer id: a file put back in place and written on, and living twins. */
import { copyFileSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import Database from "better-sqlite3";
import { describe, expect, it } from "vitest";
import { native } from "../../src/native.ts";
import { memoryPair } from "../../src/transport/memory.ts";
import { temporaryFolder } from "../support/folder.ts";
import { makePeer as makeNotes, type Peer } from "../support/peer.ts";
import { deliver, handleOf, teachShapes } from "../support/replica.ts";

const folder = temporaryFolder();
const makePeer = (file = folder.file()) => makeNotes({ file });
const rowsOf = ({ db }: Peer) => db.prepare("SELECT id, body FROM note ORDER BY id").raw().all();

/** Two that link again whenever a link ends, as with a dialler. */
function join(left: Peer, right: Peer): void {
  const links = async () => {
    while (left.db.open && right.db.open) {
      const [a, b] = memoryPair();
      const connection = left.replica.connect(a);
      right.replica.connect(b);
      await connection.closed;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };
  void links();
}

/** Until all hold and show the same changesets. */
async function converged(...peers: Peer[]): Promise<void> {
  const shown = ({ replica }: Peer) =>
    JSON.stringify(
      replica
        .vector()
        .filter(({ held }) => held > 0)

        .map(({ peerId, merged }) => `${peerId}.${merged}`)
        .sort((a, b) => a.localeCompare(b)),
    );
  while (new Set(peers.map(shown)).size > 1) await new Promise((resolve) => setTimeout(resolve, 5));
}

/** A file that goes by the same id: what a machine's snapshot gives, where nothing marks a copy. */
function twinOf(file: string): string {
  const twin = folder.file();
  copyFileSync(file, twin);
  const db = new Database(twin);
  db.exec("UPDATE _mergelite_meta SET value = '' WHERE key = 'file_mark'");
  db.close();
  return twin;
}

/** A file as it was after `kept` rows, of which the hub has `all`; and its peer id. */
async function putBack(hub: Peer, { kept, all }: { kept: number; all: number }) {
  const file = folder.file();
  const first = makePeer(file);
  const { peerId } = first.replica;
  join(first, hub);
  for (let id = 1; id <= kept; id++) first.write(id);
  await converged(first, hub);
  first.db.pragma("wal_checkpoint(TRUNCATE)");
  const backup = readFileSync(file);
  for (let id = kept + 1; id <= all; id++) first.write(id, "lost here, known to the hub");
  await converged(first, hub);
  await first.close();
  for (const end of ["-wal", "-shm"]) rmSync(file + end, { force: true });
  // The same inode, the same birth time: nothing on this machine tells the file is old.
  writeFileSync(file, backup);
  return { file, peerId };
}

describe("a file put back in place", () => {
  it("and written on before it met anyone keeps both histories", async () => {
    const hub = makePeer();
    const { file, peerId } = await putBack(hub, { kept: 5, all: 8 });
    const again = makePeer(file);
    expect(again.replica.peerId).toBe(peerId);
    // As many as were lost, and more: vectors alone say that all is well.
    for (let id = 11; id <= 15; id++) again.write(id, "written after the restore");
    const renewed = new Promise((resolve) => again.replica.once("identity", resolve));
    join(again, hub);
    await renewed;
    await converged(again, hub);
    expect(again.replica.peerId).not.toBe(peerId);
    expect(rowsOf(again)).toEqual(rowsOf(hub));
    expect(rowsOf(hub)).toHaveLength(13);
    const { origins } = again.replica.status();
    expect(origins.find((origin) => origin.peerId === peerId)).toMatchObject({ held: 8 });
    // Its row clocks are rebuilt from the log: what is written next wins everywhere.
    again.write(7, "newer");
    hub.write(12, "newer");
    await converged(again, hub);
    expect(rowsOf(again)).toEqual(rowsOf(hub));
  });

  it("is drained when others hold what it wrote, not what they hold by the same numbers", async () => {
    const hub = makePeer();
    const { file } = await putBack(hub, { kept: 1, all: 4 });
    const again = makePeer(file);
    for (let id = 11; id <= 12; id++) again.write(id, "written after the restore");
    const drained = again.replica.drain();
    join(again, hub);
    await drained;
    expect(rowsOf(hub)).toHaveLength(6);
  });

  it("moves a transaction of several parts whole", async () => {
    const hub = makePeer();
    const { file } = await putBack(hub, { kept: 1, all: 2 });
    const again = makePeer(file);
    again.db.transaction(() => {
      for (let id = 10; id < 14; id++) again.write(id, "y".repeat(700_000));
    })();
    const renewed = new Promise((resolve) => again.replica.once("identity", resolve));
    join(again, hub);
    await renewed;
    await converged(again, hub);
    expect(rowsOf(hub)).toHaveLength(6);
    expect(rowsOf(again)).toEqual(rowsOf(hub));
  });
});

describe("a large transaction of which the origin lost the rest", () => {
  it("shows nowhere, is told of, and holds nothing up", async () => {
    const [origin, hub, spoke] = [makePeer(), makePeer(), makePeer()];
    origin.db.transaction(() => {
      for (let id = 1; id <= 3; id++) origin.write(id, "y".repeat(700_000));
    })();
    const from = { ...origin, handle: handleOf(origin.db), peerId: origin.replica.peerId };
    const to = { ...hub, handle: handleOf(hub.db), peerId: hub.replica.peerId };
    teachShapes(from, to);
    deliver(from, to, 1);
    hub.write(10);
    join(hub, spoke);
    await spoke.replica.synced();
    await converged(hub, spoke);
    const { peerId } = origin.replica;
    for (const peer of [hub, spoke]) {
      const { replica } = peer;
      expect(replica.status().unfinished).toEqual([{ peerId, held: 1, merged: 0 }]);
      expect(rowsOf(peer)).toEqual([[10, "x"]]);
    }
    join(origin, spoke);
    await converged(origin, hub, spoke);
    expect(hub.replica.status().unfinished).toEqual([]);
    expect(rowsOf(hub)).toHaveLength(4);
  });
});

describe("two live peers with one id", () => {
  async function twins(): Promise<[Peer, Peer]> {
    const file = folder.file();
    const original = makePeer(file);
    for (let id = 1; id <= 3; id++) original.write(id);
    await original.close();
    const pair: [Peer, Peer] = [makePeer(file), makePeer(twinOf(file))];
    expect(pair[1].replica.peerId).toBe(pair[0].replica.peerId);
    return pair;
  }

  it("notice each other, and the one that has written less yields", async () => {
    const [more, less] = await twins();
    for (const id of [21, 22, 23]) more.write(id, "more");
    for (const id of [31, 32]) less.write(id, "less");
    const { peerId } = more.replica;
    join(more, less);
    await new Promise((resolve) => less.replica.once("identity", resolve));
    await converged(more, less);
    expect(more.replica.peerId).toBe(peerId);
    expect(less.replica.peerId).not.toBe(peerId);
    expect(rowsOf(more)).toEqual(rowsOf(less));
    expect(rowsOf(more)).toHaveLength(8);
  });

  it("notice each other through a third peer, though both have written as much", async () => {
    const [one, other] = await twins();
    const hub = makePeer();
    one.write(21, "one");
    other.write(31, "other");
    join(one, hub);
    await converged(one, hub);
    join(other, hub);
    await new Promise((resolve) => other.replica.once("identity", resolve));
    await converged(one, other, hub);
    expect(new Set([one, other, hub].map(({ replica }) => replica.peerId)).size).toBe(3);
    expect(rowsOf(one)).toEqual(rowsOf(other));
    expect(rowsOf(hub)).toEqual(rowsOf(other));
    expect(rowsOf(hub)).toHaveLength(5);
  });

  it("are one when they are two processes on one file: neither yields", async () => {
    const file = folder.file();
    const [left, right] = [makePeer(file), makePeer(file)];
    left.write(1);
    right.write(2);
    const [a, b] = memoryPair();
    const ended = new Promise((resolve) => left.replica.once("link", resolve));
    left.replica.connect(a);
    right.replica.connect(b);
    expect(await ended).toMatchObject({ live: false, code: "PEER_ID_IN_USE" });
    expect(left.replica.peerId).toBe(right.replica.peerId);
  });
});

describe("two processes on one file", () => {
  it("tell of a new id that one of them has taken, and link anew by it", async () => {
    const file = folder.file();
    const [left, right, hub] = [makePeer(file), makePeer(file), makePeer()];
    left.write(1);
    join(left, hub);
    await converged(left, hub);
    const told = new Promise((resolve) => left.replica.once("identity", resolve));
    native.reissue(handleOf(right.db), 1);
    right.replica.poll();
    const { peerId } = right.replica;
    const linked = new Promise<void>((resolve) => {
      hub.replica.on("link", (event) => {
        if (event.live && event.peerId === peerId) resolve();
      });
    });
    left.replica.poll();
    expect(await told).toEqual({ peerId });
    await linked;
    left.write(2);
    await converged(left, hub);
    expect(hub.replica.vector()).toContainEqual({ peerId, held: 1, merged: 1 });
  });

  it("take one new id, though both learn that the file was put back", async () => {
    const hub = makePeer();
    const { file } = await putBack(hub, { kept: 3, all: 5 });
    const peers = [makePeer(file), makePeer(file)] as const;
    for (let id = 11; id <= 16; id++) peers[0].write(id, "written after the restore");
    const told = peers.map(({ replica }) => {
      const ids: number[] = [];
      replica.on("identity", ({ peerId }) => ids.push(peerId));
      return ids;
    });
    for (const peer of peers) join(peer, hub);
    await converged(...peers, hub);
    for (const { replica } of peers) replica.poll();
    await converged(...peers, hub);
    const { peerId } = peers[0].replica;
    expect(told).toEqual([[peerId], [peerId]]);
    expect(rowsOf(hub)).toEqual(rowsOf(peers[0]));
    expect(rowsOf(hub)).toHaveLength(11);
  });
});
