/** Three real processes on loopback, all writing at once; one is killed in the middle of a burst. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { afterEach, beforeEach, expect, test } from "vitest";
import { extensionPath } from "../../src/native.ts";
import { PeerProcess } from "../support/peer-process.ts";

let folder: string;
let peers: PeerProcess[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "mergelite-three-"));
  peers = [];
});
afterEach(async () => {
  await Promise.all(peers.map((peer) => peer.kill()));
  rmSync(folder, { recursive: true, force: true });
});

function start(name: string, port: number, urls: readonly string[] = []): PeerProcess {
  const peer = new PeerProcess(folder, [join(folder, `${name}.db`), String(port), ...urls]);
  peers.push(peer);
  return peer;
}

async function portOf(peer: PeerProcess): Promise<number> {
  const { port } = await peer.message((message) => message.port !== undefined);
  return port ?? 0;
}

function rowsOf(name: string): unknown[] {
  const db = new Database(join(folder, `${name}.db`), { readonly: true });
  try {
    expect(db.pragma("integrity_check", { simple: true })).toBe("ok");
    return db.prepare("SELECT id, owner, n FROM item ORDER BY id").raw().all();
  } finally {
    db.close();
  }
}

test("a peer killed during a burst loses nothing it committed, and all converge", async () => {
  const hub = start("hub", 0);
  const url = `ws://127.0.0.1:${await portOf(hub)}`;
  const left = start("left", 0, [url]);
  let right = start("right", 0, [url]);
  await Promise.all([portOf(left), portOf(right)]);

  hub.send({ burst: { name: "hub", first: 0, count: 400 } });
  left.send({ burst: { name: "left", first: 0, count: 400 } });
  right.send({ burst: { name: "right", first: 0, count: 4000 } });
  await right.message((message) => (message.committed ?? 0) >= 150);
  await right.kill();
  const committed = Math.max(...right.messages.map((message) => message.committed ?? -1));
  const lastToken = right.messages.findLast((message) => message.token !== undefined)?.token ?? "";

  right = start("right", 0, [url]);
  await portOf(right);
  right.send({ burst: { name: "again", first: 0, count: 50 } });
  const tokens = [lastToken];
  for (const [peer, name] of [
    [hub, "hub"],
    [left, "left"],
    [right, "again"],
  ] as const) {
    const { token } = await peer.message((message) => message.done === name);
    tokens.push(token ?? "");
  }
  for (const peer of [hub, left, right]) {
    for (const token of tokens) {
      peer.send({ wait: token });
      await peer.message((message) => message.waited === token);
    }
  }
  await Promise.all([hub.stop(), left.stop(), right.stop()]);

  const rows = rowsOf("hub");
  expect(rowsOf("left")).toEqual(rows);
  expect(rowsOf("right")).toEqual(rows);
  // Rows may have been deleted since by any peer, so the log is asked what was ever written.
  expect(committed).toBeGreaterThanOrEqual(150);
  expect(inserted("left", "right-")).toBeGreaterThanOrEqual(committed + 1);
}, 120_000);

/** How many rows with this prefix the log of a peer says were inserted. */
function inserted(name: string, prefix: string): number {
  const db = new Database(join(folder, `${name}.db`));
  try {
    db.loadExtension(extensionPath);
    return Number(
      db
        .prepare(
          "SELECT count(DISTINCT id) FROM item_patches WHERE _op = 'insert' AND id LIKE ? || '%'",
        )
        .pluck()
        .get(prefix),
    );
  } finally {
    db.close();
  }
}
