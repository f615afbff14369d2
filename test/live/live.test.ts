/** Databases that are streamed to followers while they are written. */
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import Database from "better-sqlite3";
import { describe, expect, test } from "vitest";
import { serveWal } from "../../src/live/index.ts";
import { readServeWalOptions } from "../../src/live/options.ts";
import { follow } from "../../src/restore/follow.ts";
import { encodeFollower, encodePrimary } from "../../src/restore/live-protocol.ts";
import { memoryPair } from "../../src/transport/memory.ts";
import type { Transport } from "../../src/transport/transport.ts";
import { churn } from "../support/backup.ts";
import { temporaryFolder } from "../support/folder.ts";
import { expectSamePages, Served } from "../support/live.ts";
import { openWal } from "../support/ship.ts";

const folder = temporaryFolder();
const patience = () => ({ signal: AbortSignal.timeout(20_000) });

describe("a follower", () => {
  test.each([512, 4096, 65_536])("gets every commit, with pages of %i bytes", async (pageSize) => {
    const file = folder.file();
    const db = openWal(file, { pageSize });
    for (let i = 0; i < 5; i++) db.exec(churn(i));
    const primary = await Served.start(db);
    const copies = [folder.file(), folder.file()];
    const followers = await Promise.all(copies.map((copy) => primary.follow(copy)));
    for (const copy of copies) expectSamePages(copy, db);
    for (let i = 5; i < 40; i++) {
      db.exec(churn(i));
      const { txid } = await primary.server.flush(patience());
      expect(followers.map(({ position }) => position.txid)).toEqual([txid, txid]);
      for (const copy of copies) expectSamePages(copy, db);
    }
    db.exec("VACUUM");
    await primary.server.flush(patience());
    for (const copy of copies) expectSamePages(copy, db);
    expect(primary.server.metrics()).toMatchObject({ followers: 2, queuedBytes: 0 });
    for (const follower of followers) await follower.close();
    await primary.close();
    expect(primary.gone).toEqual([undefined, undefined]);
    db.close();
  });

  test("that was away gets what it missed, and no page more", async () => {
    const db = openWal(folder.file());
    db.exec("INSERT INTO note (body) SELECT randomblob(3000) FROM json_each(json_array(1,2,3,4))");
    for (let i = 0; i < 200; i++) db.exec("INSERT INTO note (body) VALUES (randomblob(3000))");
    let primary = await Served.start(db);
    const copy = folder.file();
    await (await primary.follow(copy)).close();
    for (const isRestarted of [false, true]) {
      db.exec("UPDATE note SET body = randomblob(3000) WHERE id = 7");
      if (isRestarted) {
        await primary.close();
        primary = await Served.start(db);
      }
      const follower = await primary.follow(copy);
      expectSamePages(copy, db);
      expect(follower.metrics()).toMatchObject({ commits: 1 });
      expect(follower.metrics().bytes).toBeLessThan(20_000);
      await follower.close();
    }
    await primary.close();
    db.close();
  });

  test("goes on when its primary does, wherever that was meanwhile", async () => {
    const file = folder.file();
    let db = openWal(file);
    let primary = await Served.start(db);
    const { port } = primary.listener;
    const copy = folder.file();
    const follower = await primary.follow(copy);
    const seen: string[] = [];
    follower.on("failed", () => seen.push("failed"));
    follower.on("recovered", () => seen.push("recovered"));
    follower.on("renewed", () => seen.push("renewed"));
    for (let i = 0; i < 6; i++) {
      await primary.close();
      db.exec(churn(i));
      // Whoever closes last without a primary writes the WAL back and deletes it.
      db.close();
      db = new Database(file);
      db.exec(churn(i));
      // Its folder is lost: then nothing is known of what copies hold.
      if (i === 3) rmSync(`${file}-live`, { recursive: true });
      primary = await Served.start(db, { port });
      while (primary.server.followers.length === 0) {
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      await primary.server.flush(patience());
      expectSamePages(copy, db);
    }
    expect(seen.filter((event) => event === "renewed")).toHaveLength(1);
    expect(seen).toContain("recovered");
    await follower.close();
    await primary.close();
    db.close();
  });

  test("of a folder that went back in time gets all pages", async () => {
    const file = folder.file();
    const copy = folder.file();
    const db = openWal(file);
    let primary = await Served.start(db);
    let follower = await primary.follow(copy);
    const early = ["state.json", "pages", "runs.json"].map((name) => `${file}-live/${name}`);
    await primary.close();
    const before = early.map((path) => readFileSync(path));
    primary = await Served.start(db, { port: primary.listener.port });
    for (let i = 0; i < 5; i++) {
      db.exec(churn(i));
      await primary.server.flush();
    }
    await follower.wait({ txid: 6 }, patience());
    await follower.close();
    await primary.close();
    for (const [i, path] of early.entries()) writeFileSync(path, before[i] ?? "");
    rmSync(`${file}-live/pages.log`, { force: true });
    primary = await Served.start(db);
    for (let i = 5; i < 20; i++) {
      db.exec(churn(i));
      await primary.server.flush();
    }
    // Its transaction 6 is another one's now.
    follower = await primary.follow(copy);
    expectSamePages(copy, db);
    await follower.close();
    await primary.close();
    db.close();
  });
});

describe("a slow follower", () => {
  test("costs bounded room, holds nobody up, and gets what changed as one transaction", async () => {
    const file = folder.file();
    const db = openWal(file);
    for (let i = 0; i < 30; i++) db.exec(churn(i));
    const primary = await Served.start(db, { queueBytesMax: 65_536 });
    const [near, far] = memoryPair({ bytesMax: 1000 });
    primary.server.accept(near);
    await far.send(encodeFollower({ type: "hello", source: "0".repeat(16), txid: 0, reach: 0 }));
    const fast = folder.file();
    const follower = await primary.follow(fast);
    for (let i = 0; i < 200; i++) {
      db.exec(churn(i));
      if (i % 5 > 0) continue;
      await new Promise((resolve) => setTimeout(resolve, 4));
      // The newest file stays, and has no more than all pages.
      const pages = Number(db.pragma("page_count", { simple: true }));
      expect(primary.server.metrics().queuedBytes).toBeLessThan(65_536 + pages * 4200);
    }
    // The WAL begins anew all the same.
    const { signal } = patience();
    for (let txid = 0; primary.server.metrics().walBytes > 65_536; ) {
      db.exec("INSERT INTO note (body) VALUES ('a')");
      await follower.wait({ txid: ++txid }, { signal });
      txid = follower.position.txid;
    }
    // It begins to read: here is a copy that is made of what it is sent.
    const copy = folder.file();
    const dialer = { name: "memory", dial: () => Promise.resolve(relayed(far)) };
    const slow = await follow(dialer, copy);
    const { txid } = await primary.server.flush(patience());
    await slow.wait({ txid }, patience());
    expectSamePages(copy, db);
    expect(slow.metrics().commits).toBeLessThan(50);
    await slow.close();
    await follower.close();
    await primary.close();
    db.close();
  });

  /** Its greeting was sent before. */
  function relayed(transport: Transport): Transport {
    let isFirst = true;
    return {
      messages: transport.messages,
      send: async (message) => {
        if (!isFirst) await transport.send(message);
        isFirst = false;
      },
      close: () => transport.close?.(),
    };
  }
});

test("commits that are read for a new follower count as all others do", async () => {
  const db = openWal(folder.file());
  const primary = await Served.start(db, { intervalMs: 60_000 });
  await primary.server.flush(patience());
  const { commits, txid } = primary.server.metrics();
  primary.server.on("follower", () => db.exec("INSERT INTO note (body) VALUES ('a')"));
  const copy = folder.file();
  const follower = await primary.follow(copy);
  expectSamePages(copy, db);
  expect(primary.server.metrics()).toMatchObject({ commits: commits + 1, txid: txid + 1 });
  await follower.close();
  await primary.close();
  db.close();
});

describe("what is wrong", () => {
  test("is told to a follower, and leaves its copy as it is", async () => {
    const db = openWal(folder.file());
    const primary = await Served.start(db);
    const copy = folder.file();
    const follower = await primary.follow(copy);
    const failed = new Promise((resolve) => follower.on("failed", resolve));
    await primary.close();
    expect(await failed).toMatchObject({ error: { code: "TRANSPORT_CLOSED" } });
    expectSamePages(copy, db);
    await follower.close();
    db.close();
    const [near, far] = memoryPair();
    const dialer = { name: "memory", dial: () => Promise.resolve(far) };
    const following = follow(dialer, copy);
    const source = "1".repeat(16);
    const welcome = { type: "welcome", source, from: 0, txid: 9, heartbeatMs: 1000 } as const;
    await near.send(encodePrimary(welcome));
    await near.send(encodePrimary({ type: "file", bytes: 300 }));
    await near.send(Uint8Array.from([18, ...Array<number>(300).fill(7)]));
    await expect(following).rejects.toMatchObject({ code: "LTX_CORRUPT" });
    expect(existsSync(copy)).toBe(true);
    expect(new Database(copy).pragma("integrity_check", { simple: true })).toBe("ok");
  });

  test("is told to a primary, and harms nobody else", async () => {
    const db = openWal(folder.file());
    const primary = await Served.start(db, { followersMax: 2 });
    const copy = folder.file();
    const follower = await primary.follow(copy);
    const greeting = encodeFollower({ type: "hello", source: "0".repeat(16), txid: 0, reach: 0 });
    const older = greeting.slice();
    older[5] = 9;
    for (const [message, code] of [
      [Uint8Array.of(), "PROTOCOL_MALFORMED"],
      [Uint8Array.of(77), "PROTOCOL_MALFORMED"],
      [encodeFollower({ type: "status", txid: 4 }), "PROTOCOL_MALFORMED"],
      [greeting.subarray(0, 20), "PROTOCOL_MALFORMED"],
      [older, "VERSION_MISMATCH"],
    ] as const) {
      const transport = await primary.dialer.dial(new AbortController().signal);
      await transport.send(message);
      const seen: Uint8Array[] = [];
      for await (const each of transport.messages) seen.push(each);
      expect(Buffer.from(seen[0] ?? []).toString()).toContain(code);
    }
    const crowd = await Promise.all(
      [1, 2].map(() => primary.dialer.dial(AbortSignal.timeout(5000))),
    );
    await expect(primary.follow(folder.file())).rejects.toMatchObject({
      code: "TRANSPORT_OVERLOADED",
    });
    for (const transport of crowd) await transport.close?.();
    db.exec(churn(1));
    await primary.server.flush(patience());
    expectSamePages(copy, db);
    await follower.close();
    await primary.close();
    db.close();
  });

  test("a silent side is taken for dead", async () => {
    const db = openWal(folder.file());
    const primary = await Served.start(db, { heartbeatMs: 300 });
    const copy = folder.file();
    const follower = await primary.follow(copy);
    const mute = await primary.dialer.dial(new AbortController().signal);
    await mute.send(encodeFollower({ type: "hello", source: "0".repeat(16), txid: 0, reach: 0 }));
    for await (const message of mute.messages) expect(message.length).toBeGreaterThan(0);
    expect(primary.server.followers).toHaveLength(1);
    const dead: unknown = expect.objectContaining({ code: "TRANSPORT_FAILED" });
    expect(primary.gone).toContainEqual(dead);
    await follower.close();
    await primary.close();
    db.close();
  });

  test("with a transport that fails to close keeps nothing", async () => {
    const failing = (): [Transport, Transport] => {
      const [near, far] = memoryPair();
      const close = () => Promise.reject(new Error("it was reset"));
      return [{ messages: near.messages, send: (message) => near.send(message), close }, far];
    };
    const db = openWal(folder.file());
    const primary = await Served.start(db);
    const [near, far] = failing();
    primary.server.accept(near);
    await far.send(encodeFollower({ type: "hello", source: "0".repeat(16), txid: 0, reach: 0 }));
    for await (const _ of far.messages) break;
    await far.close?.();
    for (let i = 0; i < 10; i++) {
      db.exec("INSERT INTO note (body) VALUES ('a')");
      await primary.server.flush(patience());
    }
    expect(primary.gone).toEqual([undefined]);
    expect(primary.server.metrics()).toMatchObject({ followers: 0, queuedBytes: 0 });
    const [last, follower] = failing();
    primary.server.accept(last);
    setTimeout(() => void follower.close?.(), 10);
    await primary.close();
    primary.server.accept(failing()[0]);
    db.close();
  });

  test("with options, or who reads the file, is refused", async () => {
    const file = folder.file();
    const db = openWal(file);
    expect(() => serveWal(db, { followersMax: 0 })).toThrow("followersMax");
    for (const name of ["leaseTtlMs", "keep", "holdLease", "verifyDir", "interval"]) {
      expect(() => serveWal(db, { [name]: false })).toThrow(`there is no option "${name}"`);
    }
    const nothing = { intervalMs: undefined, pollMs: undefined, queueBytesMax: undefined };
    const defaults = { intervalMs: 10, pollMs: 200, queueBytesMax: 67_108_864 };
    const settings = readServeWalOptions(nothing as object, { isShared: false });
    expect(settings).toMatchObject({ ...defaults, followersMax: 100 });
    const primary = await Served.start(db);
    expect(() => serveWal(db)).toThrow(/another/);
    await primary.close();
    await expect(primary.server.flush()).rejects.toMatchObject({ code: "CLOSED" });
    db.pragma("journal_mode = DELETE");
    const other = serveWal(db, { stateDir: `${file}-other` });
    await expect(other.flush()).rejects.toMatchObject({ code: "SHIP_UNSUPPORTED" });
    expect(other.failure).toMatchObject({ code: "SHIP_UNSUPPORTED" });
    await other.close();
    db.close();
  });
});
