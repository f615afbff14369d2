/** FTP against vsftpd. */
import { randomBytes } from "node:crypto";
import { chmodSync, chownSync, mkdirSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { acquireLease } from "../../src/ship/lease.ts";
import { bytesOf } from "../../src/storage/driver.ts";
import { ftpStorage } from "../../src/storage/ftp.ts";
import { openStorage } from "../../src/storage/open.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { makeAuthority } from "../support/certificates.ts";
import { describeNetwork } from "../support/network-suite.ts";
import { freePort, ftpServer } from "../support/servers.ts";
import { describeStorage, fillFolder } from "../support/storage-suite.ts";
import { TcpProxy } from "../support/tcp-proxy.ts";

const server = await ftpServer();
afterAll(() => server?.stop());
const host = "127.0.0.1";
const read = async (storage: Storage, key: string) => bytesOf((await storage.get(key)).body);

/** In front of the server's port for commands; `cut` ends all connections. */
async function proxyTo(port: number) {
  const sockets = new Set<Socket>();
  const proxy = createServer((near) => {
    const far = connect(port, host);
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        near.destroy();
        far.destroy();
      });
    }
    near.pipe(far).pipe(near);
  });
  const proxyPort = await freePort();
  await new Promise<void>((resolve) => proxy.listen(proxyPort, host, resolve));
  const cut = () => {
    for (const socket of sockets) socket.destroy();
  };
  const close = () => {
    proxy.close();
    cut();
  };
  return { port: proxyPort, cut, close };
}

if (server === undefined) {
  describe.skip("ftp: vsftpd is not installed, or this is not root", () =>
    test("is skipped", () => {}));
} else {
  const { port } = server;
  const data = join(server.folder, "root/data");
  const options = { host, port, username: "anonymous", pauseMs: 5, timeoutMs: 5000 };
  describeStorage("ftp", {
    open: (prefix) => ftpStorage({ ...options, path: `data/${prefix}` }),
    openDenied: (prefix) =>
      ftpStorage({ ...options, path: `data/${prefix}`, username: "x", password: "y" }),
    objects: 5000,
    fill: (prefix, keys) => fillFolder(join(data, prefix), keys),
    isThrownAway: true,
  });
  describeNetwork("ftp", {
    port,
    cutBytesMax: 300,
    hasDataConnections: true,
    open: (at, network) =>
      ftpStorage({ host, port: at, username: "anonymous", path: "data/network", ...network }),
  });

  test("goes on where a connection was lost, and begins what was put anew", async () => {
    const proxy = await proxyTo(port);
    const storage = ftpStorage({ ...options, path: "data/cut", port: proxy.port });
    const body = randomBytes(8_000_000);
    let tries = 0;
    await storage.put("a", async function* () {
      tries++;
      for (let at = 0; at < body.length; at += 1_000_000) {
        if (at === 4_000_000 && tries === 1) proxy.cut();
        yield body.subarray(at, at + 1_000_000);
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    });
    expect(tries).toBe(2);
    let bytes = 0;
    let cuts = 0;
    for await (const piece of (await storage.get("a")).body) {
      expect(Buffer.compare(piece, body.subarray(bytes, bytes + piece.length))).toBe(0);
      bytes += piece.length;
      if (bytes < 3_000_000 || cuts > 0) continue;
      cuts++;
      proxy.cut();
    }
    expect(bytes).toBe(body.length);
    // What was cut off is nobody's object, and is tidied up.
    const left = readdirSync(join(data, "cut")).filter((name) => name !== "a");
    expect(left.length).toBeLessThan(2);
    await storage.close();
    proxy.close();
  });

  test("takes nothing for whole whose end the network has swallowed", async () => {
    const proxy = await TcpProxy.start(port);
    proxy.swallowsData = true;
    proxy.cutBytesMax = Number.POSITIVE_INFINITY;
    proxy.dataCutBytesMax = 800_000;
    const storage = ftpStorage({ ...options, path: "data/swallowed", port: proxy.port });
    const body = randomBytes(900_000);
    for (const [i, put] of [
      () => storage.put("a", body),
      () => storage.putIfAbsent("b", body),
    ].entries()) {
      proxy.cuts = 2;
      await put();
      proxy.cuts = 2;
      expect(Buffer.compare(await read(storage, i === 0 ? "a" : "b"), body)).toBe(0);
    }
    expect(proxy.dataHappened).toBeGreaterThan(4);
    const left = readdirSync(join(data, "swallowed")).sort();
    expect(left).toEqual(["a", "b"]);
    await storage.close();
    proxy.close();
  });

  test("gives up on a server that does not answer", async () => {
    const silent = createServer((socket) => void socket.on("error", () => {}));
    const silentPort = await freePort();
    await new Promise<void>((resolve) => silent.listen(silentPort, host, resolve));
    const slow = { ...options, port: silentPort, timeoutMs: 50, attemptsMax: 2 };
    const unavailable = { code: "STORAGE_UNAVAILABLE" };
    const storage = ftpStorage(slow);
    await expect(storage.put("a", Buffer.from("x"))).rejects.toMatchObject(unavailable);
    await expect(read(storage, "a")).rejects.toMatchObject(unavailable);
    silent.close();
  });

  test("reads more objects at a time than it has connections", async () => {
    const storage = ftpStorage({ ...options, path: "data/readers", connectionsMax: 2 });
    const body = randomBytes(2_000_000);
    for (let i = 0; i < 6; i++) await storage.put(String(i), body);
    const contents = await Promise.all([0, 1, 2, 3, 4, 5].map((i) => storage.get(String(i))));
    const readers = contents.map((content) => content.body[Symbol.asyncIterator]());
    const bytes = readers.map(() => 0);
    for (let open = readers.length; open > 0; ) {
      open = 0;
      for (const [i, reader] of readers.entries()) {
        const next = await reader.next();
        if (next.done) continue;
        open++;
        bytes[i] = (bytes[i] ?? 0) + next.value.length;
        if (i > 1) await reader.return?.();
      }
    }
    expect(bytes.slice(0, 2)).toEqual([body.length, body.length]);
    await storage.close();
  });

  test("keeps what is put on condition and what is put in place of each other", async () => {
    const storage = ftpStorage({ ...options, path: "data/mixed" });
    expect(await storage.putIfAbsent("a", Buffer.from("first"))).toBe(true);
    await storage.put("a", Buffer.from("second"));
    expect(Buffer.from(await read(storage, "a")).toString()).toBe("second");
    expect(await storage.putIfAbsent("a", Buffer.from("third"))).toBe(false);
    await storage.put("a-b", Buffer.from("x"));
    const listed = [];
    for await (const { key, bytes } of storage.list("a")) listed.push([key, bytes]);
    expect(listed).toEqual([
      ["a", 6],
      ["a-b", 1],
    ]);
    await storage.delete("a");
    await expect(read(storage, "a")).rejects.toMatchObject({ code: "STORAGE_MISSING" });
    expect(readdirSync(join(data, "mixed"))).toEqual(["a-b"]);
    expect(await storage.putIfAbsent("a-b", Buffer.from("y"))).toBe(false);
    expect(await storage.putIfAbsent("a", Buffer.from("y"))).toBe(true);
    await storage.close();
  });

  test("holds leases", async () => {
    const storage = ftpStorage({ ...options, path: "data/lease" });
    const lease = await acquireLease(storage);
    for (let i = 0; i < 12; i++) await lease.renew();
    await expect(acquireLease(storage, { wait: false })).rejects.toMatchObject({
      code: "LEASE_HELD",
    });
    await lease.release();
    expect(await acquireLease(storage)).toMatchObject({ before: "released" });
    await storage.close();
  });

  test("says what it may not read or write", async () => {
    const inside = join(data, "denied");
    mkdirSync(inside);
    writeFileSync(join(inside, "a"), "x", { mode: 0o600 });
    const storage = ftpStorage({ ...options, path: "data/denied" });
    const denied = { code: "STORAGE_DENIED" };
    await expect(read(storage, "a")).rejects.toMatchObject(denied);
    await expect(storage.put("b", Buffer.from("x"))).rejects.toMatchObject(denied);
    chmodSync(inside, 0o777);
    chownSync(inside, statSync(data).uid, 0);
    await storage.put("b", Buffer.from("x"));
    await storage.close();
  });

  test("is opened by its URL, with TLS too", async () => {
    const plain = await openStorage(`ftp://anonymous@${host}:${port}/data/by-url`, { env: {} });
    await plain.put("a", Buffer.from("x"));
    expect(plain.name).toBe(`ftp://${host}:${port}/data/by-url/`);
    await plain.close();
    const authority = makeAuthority("storage");
    const { cert, key } = authority.issue("ftp");
    const secure = await ftpServer(cert + key);
    if (secure === undefined) throw new Error("the server is gone");
    try {
      const url = `ftps://anonymous@${host}:${secure.port}/data/by-url`;
      const storage = await openStorage(url, { env: {}, ca: authority.ca });
      const body = randomBytes(1_000_000);
      await storage.put("a", body);
      expect(Buffer.compare(await read(storage, "a"), body)).toBe(0);
      await storage.close();
      const untrusting = await openStorage(url, { env: {}, attemptsMax: 2, pauseMs: 1 });
      await expect(read(untrusting, "a")).rejects.toMatchObject({ code: "STORAGE_FAILED" });
      const clear = await openStorage(url.replace("ftps", "ftp"), { env: {} });
      await expect(read(clear, "a")).rejects.toMatchObject({ code: "STORAGE_DENIED" });
    } finally {
      await secure.stop();
    }
  });
}
