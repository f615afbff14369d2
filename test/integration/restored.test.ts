/** A peer whose file is gone: back from its backup, and the rest from its peers. */
import { rmSync } from "node:fs";
import Database from "better-sqlite3";
import { expect, test } from "vitest";
import { follow } from "../../src/restore/follow.ts";
import { restore } from "../../src/restore/restore.ts";
import { ship } from "../../src/ship/ship.ts";
import { fileStorage } from "../../src/storage/file.ts";
import { temporaryFolder } from "../support/folder.ts";
import { converged, join, makePeer, type Peer } from "../support/peer.ts";

const folder = temporaryFolder();
const rowsOf = ({ db }: Peer) => db.prepare("SELECT id, body FROM note ORDER BY id").raw().all();
const heldOf = (peer: Peer, of: number) =>
  peer.replica.vector().find(({ peerId }) => peerId === of)?.held ?? 0;

function removeFile(file: string): void {
  for (const end of ["", "-wal", "-shm", "-ship"])
    rmSync(file + end, { recursive: true, force: true });
}

test.each(["in its own place", "elsewhere"])(
  "restored %s: a new peer id, and what it had written comes back",
  async (where) => {
    const storage = fileStorage(`${folder.file()}-backup`);
    const file = folder.file();
    const lost = makePeer({ file });
    const hub = makePeer();
    const { peerId } = lost.replica;
    let leave = join(lost, hub);
    const shipper = ship(lost.db, storage, { intervalMs: 5 });
    for (let id = 1; id <= 10; id++) lost.write(id, "shipped");
    hub.write(20, "the hub's, shipped");
    await converged(lost, hub);
    await shipper.close();
    lost.write(1, "changed, known to the hub alone");
    lost.db.exec("DELETE FROM note WHERE id = 2");
    lost.write(11, "known to the hub alone");
    await converged(lost, hub);
    const [written, truth] = [heldOf(lost, peerId), rowsOf(hub)];
    await leave();
    await lost.close();
    removeFile(file);
    hub.write(21, "meanwhile");

    const place = where === "in its own place" ? file : folder.file();
    expect(await restore(storage, place)).toMatchObject({ avoided: [] });
    const back = makePeer({ file: place });
    expect(back.replica.peerId).not.toBe(peerId);
    expect(heldOf(back, peerId)).toBeLessThan(written);
    // Written before it has met anyone: nothing that it had numbered before is numbered again.
    back.write(12, "after the restore");
    leave = join(back, hub);
    await converged(back, hub);
    expect(rowsOf(back)).toEqual(rowsOf(hub));
    expect(rowsOf(hub)).toEqual([
      ...truth.slice(0, -1),
      [12, "after the restore"],
      [20, "the hub's, shipped"],
      [21, "meanwhile"],
    ]);
    for (const peer of [back, hub]) expect(heldOf(peer, peerId)).toBe(written);
    expect(heldOf(hub, back.replica.peerId)).toBeGreaterThan(0);
    await leave();

    // What it ships from now on is the same place's next transactions.
    const again = ship(back.db, storage, { intervalMs: 5 });
    await again.flush();
    const copy = folder.file();
    await restore(storage, copy);
    const restored = new Database(copy, { readonly: true });
    expect(restored.prepare("SELECT id, body FROM note ORDER BY id").raw().all()).toEqual(
      rowsOf(back),
    );
    restored.close();
    await again.close();
  },
);

test("a copy that was followed becomes a peer of its own", async () => {
  const storage = fileStorage(`${folder.file()}-backup`);
  const source = makePeer({ file: folder.file() });
  const hub = makePeer();
  const leave = join(source, hub);
  const shipper = ship(source.db, storage, { intervalMs: 5 });
  source.write(1, "first");
  await shipper.flush();
  const file = folder.file();
  const follower = await follow(storage, file, { intervalMs: 10 });
  source.write(2, "followed");
  await follower.wait(await shipper.flush());
  await follower.close();
  source.write(3, "too late for the copy");
  await converged(source, hub);
  rmSync(`${file}-follow`);
  const peer = makePeer({ file });
  expect(peer.replica.peerId).not.toBe(source.replica.peerId);
  expect(rowsOf(peer)).toEqual([
    [1, "first"],
    [2, "followed"],
  ]);
  peer.write(4, "the copy's own");
  const leaveToo = join(peer, hub);
  await converged(peer, hub);
  await converged(hub, source);
  for (const each of [peer, hub, source]) {
    expect(rowsOf(each)).toEqual([
      [1, "first"],
      [2, "followed"],
      [3, "too late for the copy"],
      [4, "the copy's own"],
    ]);
  }
  await leave();
  await leaveToo();
  await shipper.close();
});
