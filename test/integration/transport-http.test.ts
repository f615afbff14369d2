/** What is particular about HTTP: sessions, hostile requests, frameworks, and one-shot exchanges. */
import { createServer, request as httpRequest } from "node:http";
import Database from "better-sqlite3";
import express from "express";
import Fastify from "fastify";
import { Hono } from "hono";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  type HttpEndpointOptions,
  httpEndpoint,
  httpTransport,
  listenHttp,
  syncOnce,
} from "../../src/http/index.ts";
import { attach, type Replica } from "../../src/index.ts";
import { memoryPair } from "../../src/transport/memory.ts";
import type { Transport } from "../../src/transport/transport.ts";
import { handleOf } from "../support/replica.ts";
import { trimAll } from "../support/state.ts";
import { acceptor, host, read, readAll } from "../support/transports.ts";

const cleanups: (() => unknown)[] = [];
const never = new AbortController().signal;

afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean();
});

/** An endpoint with a port, and plain requests to it. */
async function listen(options: HttpEndpointOptions = {}) {
  const { onTransport, next } = acceptor();
  const listener = await listenHttp({ host, port: 0 }, onTransport, options);
  cleanups.push(() => listener.close());
  const url = `http://${host}:${listener.port}/`;
  const ask = async (method: string, session = "", body?: Uint8Array<ArrayBuffer>) => {
    const headers = session === "" ? {} : { "mergelite-session": session };
    const answer = await fetch(url, { method, headers, ...(body ? { body } : {}) });
    return { status: answer.status, headers: answer.headers, body: await answer.bytes() };
  };
  const open = async () => {
    const session = (await ask("POST")).headers.get("mergelite-session") ?? "";
    // Nobody fetches the goodbye, and the listener would wait for that.
    cleanups.push(() => ask("DELETE", session));
    return session;
  };
  return { url, next, ask, open };
}

describe("an exchange", () => {
  it("does not hold its place for a body that stalls once the link has ended", async () => {
    const { url, next } = await listen({ sessionsMax: 1 });
    const headers = { "mergelite-exchange": "1" };
    const stalled = httpRequest(url, { method: "POST", headers });
    const answered = new Promise<number>((resolve, reject) => {
      stalled.on("response", ({ statusCode = 0 }) => resolve(statusCode));
      stalled.on("error", reject);
    });
    // A part of a message.
    stalled.write(Uint8Array.of(9, 0, 0, 0, 1));
    const transport = await next();
    expect((await fetch(url, { method: "POST", headers })).status).toBe(503);
    await transport.close?.();
    expect(await answered).toBe(200);
    expect((await fetch(url, { method: "POST" })).status).toBe(201);
  });
});

describe("sessions", () => {
  it("have ids that cannot be guessed, and end with DELETE", async () => {
    const { ask, open, next } = await listen();
    const [first, second] = [await open(), await open()];
    expect(first).toMatch(/^[\w-]{32}$/);
    expect(first).not.toBe(second);
    const server = await next();
    expect((await ask("POST", first, Uint8Array.of(1, 0, 0, 0, 9))).status).toBe(204);
    expect(await read(server)).toEqual([Uint8Array.of(9)]);
    expect((await ask("DELETE", first)).status).toBe(204);
    expect(await readAll(server)).toEqual([]);
    for (const method of ["GET", "POST", "DELETE"]) {
      expect((await ask(method, first)).status).toBe(404);
      expect((await ask(method, "guessed")).status).toBe(404);
    }
  });

  it("expire without requests, and not while one waits", async () => {
    const { ask, open, next } = await listen({ sessionMs: 300, pollMs: 200 });
    const session = await open();
    const server = await next();
    for (let i = 0; i < 3; i++) expect((await ask("GET", session)).status).toBe(204);
    await expect(readAll(server)).rejects.toMatchObject({ code: "TRANSPORT_FAILED" });
    expect((await ask("GET", session)).status).toBe(404);
  });

  it("are limited in number", async () => {
    const { ask, open } = await listen({ sessionsMax: 2 });
    const session = await open();
    await open();
    const refused = await ask("POST");
    expect([refused.status, refused.headers.get("retry-after")]).toEqual([503, "5"]);
    await ask("DELETE", session);
    expect(await open()).not.toBe("");
  });

  it("answer the newest GET only, and keep messages of one that was given up", async () => {
    const { url, ask, open, next } = await listen();
    const session = await open();
    const server = await next();
    const old = ask("GET", session);
    await new Promise((resolve) => setTimeout(resolve, 50));
    const abort = new AbortController();
    const headers = { "mergelite-session": session };
    const givenUp = fetch(url, { headers, signal: abort.signal }).catch(() => "given up");
    expect((await old).status).toBe(204);
    abort.abort();
    expect(await givenUp).toBe("given up");
    await new Promise((resolve) => setTimeout(resolve, 50));
    await server.send(Uint8Array.of(8));
    expect((await ask("GET", session)).body).toEqual(Uint8Array.of(1, 0, 0, 0, 8));
  });

  it("tell a peer whose session is unknown after a restart", async () => {
    const { onTransport, next } = acceptor();
    const listener = await listenHttp({ host, port: 0 }, onTransport, { pollMs: 100 });
    const client = await httpTransport(`http://${host}:${listener.port}`).dial(never);
    cleanups.push(() => client.close?.());
    void next();
    const reading = readAll(client);
    // As after a crash: nobody says goodbye.
    const other = createServer((_, response) => response.writeHead(404).end());
    const closing = listener.close();
    await expect(reading).resolves.toEqual([]);
    await closing;
    await new Promise<void>((resolve) => other.listen(listener.port, host, resolve));
    cleanups.push(() => other.close());
    const again = httpTransport(`http://${host}:${listener.port}`).dial(never);
    await expect(again).rejects.toMatchObject({
      code: "TRANSPORT_FAILED",
      message: expect.stringContaining("404"),
    });
  });
});

describe("requests", () => {
  it("are refused with 401 before anything is read", async () => {
    const authorize = ({ headers }: Request) => {
      if (headers.get("authorization") === null) throw new Error("who?");
      return headers.get("authorization") === "Bearer secret";
    };
    const { url, ask, next } = await listen({ authorize });
    expect((await ask("POST")).status).toBe(401);
    const dial = (token: string) =>
      httpTransport(url, { headers: { authorization: `Bearer ${token}` } }).dial(never);
    await expect(dial("guess")).rejects.toMatchObject({ code: "TRANSPORT_REFUSED" });
    const client = await dial("secret");
    await client.send(Uint8Array.of(1));
    expect(await read(await next())).toEqual([Uint8Array.of(1)]);
    await client.close?.();
  });

  it("that make no sense are told so", async () => {
    const { url, ask, open } = await listen();
    const session = await open();
    expect((await ask("GET")).status).toBe(405);
    expect((await ask("PUT", session)).status).toBe(405);
    expect((await ask("POST", session, Uint8Array.of(255, 255, 255, 255, 1))).status).toBe(413);
    expect((await ask("POST", session, Uint8Array.of(9, 0, 0, 0, 1))).status).toBe(400);
    const exchange = { "mergelite-exchange": "1" };
    for (const body of [Uint8Array.of(3, 0, 0, 0, 1), Uint8Array.of(1, 0, 0, 0, 1)]) {
      const answer = await fetch(url, { method: "POST", headers: exchange, body });
      expect(answer.status).toBe(400);
    }
    expect(() => httpTransport("ws://localhost")).toThrow(TypeError);
  });

  it("that are cut off, or name a strange host, do no harm", async () => {
    const { url, ask, open, next } = await listen();
    const session = await open();
    const server = await next();
    const headers = { "mergelite-session": session, "content-length": 100 };
    const cut = httpRequest(url, { method: "POST", headers });
    cut.on("error", () => undefined);
    cut.write(Uint8Array.of(1, 0, 0, 0, 7, 50, 0, 0, 0));
    expect(await read(server)).toEqual([Uint8Array.of(7)]);
    // One at a time: the second would be in the middle of the first.
    expect((await ask("POST", session, Uint8Array.of(1, 0, 0, 0, 2))).status).toBe(409);
    cut.destroy();
    await expect
      .poll(async () => (await ask("POST", session, Uint8Array.of(1, 0, 0, 0, 3))).status)
      .toBe(204);
    expect(await read(server)).toEqual([Uint8Array.of(3)]);
    const status = await new Promise((resolve) => {
      const strange = httpRequest(url, { method: "POST", headers: { host: "a b/\\:x" } });
      strange.on("response", (response) => resolve(response.statusCode)).end();
    });
    expect(status).toBe(400);
  });
});

interface Peer {
  db: Database.Database;
  replica: Replica;
}

function open(...rows: string[]): Peer {
  const db = new Database(":memory:");
  db.exec("CREATE TABLE note (id TEXT PRIMARY KEY NOT NULL, body BLOB)");
  const replica = attach(db, { tables: ["note"] });
  for (const id of rows) db.prepare("INSERT INTO note (id) VALUES (?)").run(id);
  cleanups.push(() => replica.close().then(() => db.close()));
  return { db, replica };
}

const idsOf = ({ db }: Peer) => db.prepare("SELECT id FROM note ORDER BY id").pluck().all();

describe("in frameworks", () => {
  let hub: Peer;
  let connect: (transport: Transport) => void;

  beforeEach(() => {
    hub = open("hub");
    connect = (transport) => void hub.replica.connect(transport);
  });

  async function check(url: string): Promise<void> {
    const [staying, passing] = [open("staying"), open("passing")];
    staying.replica.connect(httpTransport(url));
    await syncOnce(passing.replica, url);
    await hub.replica.wait(staying.replica.token(), { signal: AbortSignal.timeout(10_000) });
    await syncOnce(passing.replica, url);
    const all = ["hub", "passing", "staying"];
    expect([idsOf(hub), idsOf(passing)]).toEqual([all, all]);
    await expect.poll(() => idsOf(staying)).toEqual(all);
    await staying.replica.close();
  }

  async function serve(listener: ReturnType<typeof httpEndpoint>["listener"]): Promise<string> {
    const server = createServer(listener);
    await new Promise<void>((resolve) => server.listen(0, host, resolve));
    cleanups.push(() => server.close().closeAllConnections());
    const address = server.address();
    return `http://${host}:${typeof address === "object" ? address?.port : 0}/peers`;
  }

  it("Express", async () => {
    const app = express();
    const endpoint = httpEndpoint(connect);
    cleanups.push(() => endpoint.close());
    app.use("/peers", endpoint.listener);
    await check(await serve(app));
  });

  it("Fastify", async () => {
    const app = Fastify();
    const endpoint = httpEndpoint(connect);
    cleanups.push(() => endpoint.close());
    await app.register(async (scope) => {
      scope.addContentTypeParser("application/octet-stream", (_request, _payload, done) =>
        done(null),
      );
      scope.all("/peers", (request, reply) => {
        reply.hijack();
        endpoint.listener(request.raw, reply.raw);
      });
    });
    await app.ready();
    await check(await serve((request, response) => app.routing(request, response)));
    await app.close();
  });

  it("Hono, by fetch alone", async () => {
    const endpoint = httpEndpoint(connect);
    cleanups.push(() => endpoint.close());
    const app = new Hono();
    app.all("/peers", (context) => endpoint.handle(context.req.raw));
    const { getRequestListener } = await import("@hono/node-server");
    await check(await serve(getRequestListener(app.fetch)));
  });
});

describe("syncOnce", () => {
  async function hubOf(...rows: string[]): Promise<Peer & { url: string }> {
    const hub = open(...rows);
    const listener = await listenHttp(
      { host, port: 0 },
      (transport) => void hub.replica.connect(transport),
    );
    cleanups.push(() => listener.close());
    return { ...hub, url: `http://${host}:${listener.port}` };
  }

  it("takes one request to fetch, two to exchange, one to find nothing new", async () => {
    const hub = await hubOf("a", "b");
    const peer = open();
    const { peerId } = hub.replica;
    expect(await syncOnce(peer.replica, hub.url)).toEqual({ peerId, requests: 1 });
    expect(idsOf(peer)).toEqual(["a", "b"]);
    peer.db.exec("INSERT INTO note (id) VALUES ('c')");
    expect(await syncOnce(peer.replica, hub.url)).toEqual({ peerId, requests: 2 });
    expect(idsOf(hub)).toEqual(["a", "b", "c"]);
    expect(await syncOnce(peer.replica, hub.url)).toEqual({ peerId, requests: 1 });
    expect(hub.replica.metrics().links).toBe(0);
  });

  it("carries megabytes both ways, transactions in parts too", async () => {
    const hub = await hubOf();
    const peer = open();
    for (const { db } of [hub, peer]) {
      const insert = db.prepare("INSERT INTO note VALUES (?, randomblob(20000))");
      const prefix = db === hub.db ? "hub" : "peer";
      for (let i = 0; i < 60; i++) insert.run(`${prefix}-${i}`);
      db.transaction(() => {
        for (let i = 0; i < 100; i++) insert.run(`${prefix}-large-${i}`);
      })();
    }
    const { requests } = await syncOnce(peer.replica, hub.url);
    expect(requests).toBeLessThan(20);
    expect(idsOf(peer)).toHaveLength(320);
    expect(idsOf(hub)).toEqual(idsOf(peer));
  });

  it("carries a value that no message holds", async () => {
    const hub = await hubOf("a");
    const peer = open();
    for (const { db } of [hub, peer]) {
      db.exec(`INSERT INTO note VALUES (hex(randomblob(8)), randomblob(12000000))`);
    }
    const { requests } = await syncOnce(peer.replica, hub.url);
    expect(requests).toBeLessThan(6);
    expect(idsOf(peer)).toHaveLength(3);
    expect(idsOf(hub)).toEqual(idsOf(peer));
  });

  it("fetches the rows where the log does not reach back", async () => {
    const hub = await hubOf();
    hub.db.exec(`
      WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
      INSERT INTO note SELECT 'n' || i, zeroblob(200) FROM n`);
    trimAll({ db: hub.db, handle: handleOf(hub.db), peerId: hub.replica.peerId });
    const peer = open("own");
    const { requests } = await syncOnce(peer.replica, hub.url);
    expect(requests).toBeGreaterThan(2);
    expect(idsOf(peer)).toHaveLength(20_001);
    expect(idsOf(hub)).toEqual(idsOf(peer));
    expect((await syncOnce(peer.replica, hub.url)).requests).toBe(1);
  });

  it("fetches rows that no message holds", async () => {
    const hub = await hubOf();
    for (let i = 0; i < 9; i++) {
      hub.db.exec(`INSERT INTO note VALUES ('n${i}', zeroblob(4500000))`);
    }
    trimAll({ db: hub.db, handle: handleOf(hub.db), peerId: hub.replica.peerId });
    const peer = open();
    const { requests } = await syncOnce(peer.replica, hub.url);
    expect(requests).toBeLessThan(20);
    expect(idsOf(peer)).toHaveLength(9);
  });

  it("is not stopped by other links of the two", async () => {
    const hub = await hubOf("a");
    const [middle, peer] = [open("b"), open("c")];
    for (const { replica } of [hub, peer]) {
      const [left, right] = memoryPair();
      middle.replica.connect(left);
      replica.connect(right);
    }
    for (let i = 0; i < 5; i++) {
      for (const { db } of [hub, middle, peer]) {
        db.exec("INSERT INTO note (id) VALUES (hex(randomblob(8)))");
      }
      await syncOnce(peer.replica, hub.url);
    }
    const all = 3 + 15;
    await expect
      .poll(() => [hub, middle, peer].map((one) => idsOf(one).length))
      .toEqual([all, all, all]);
  });

  it("is answered by any process on the file", async () => {
    const [left, right] = [await hubOf("a"), open()];
    // A balancer in front of two servers of one replica, which share nothing else.
    const endpoints = [0, 1].map(() =>
      httpEndpoint((transport) => void left.replica.connect(transport)),
    );
    let turn = 0;
    const balancer = createServer((request, response) =>
      endpoints[turn++ % 2]?.listener(request, response),
    );
    await new Promise<void>((resolve) => balancer.listen(0, host, resolve));
    cleanups.push(() => balancer.close().closeAllConnections());
    const address = balancer.address();
    const url = `http://${host}:${typeof address === "object" ? address?.port : 0}`;
    right.db.exec("INSERT INTO note (id) VALUES ('b')");
    await syncOnce(right.replica, url);
    expect([idsOf(left), idsOf(right)]).toEqual([
      ["a", "b"],
      ["a", "b"],
    ]);
    expect(turn).toBe(2);
  });

  it("rejects with what the peer refuses the link with", async () => {
    const hub = await hubOf("a");
    const db = new Database(":memory:");
    const replica = attach(db, { cluster: "other" });
    cleanups.push(() => replica.close().then(() => db.close()));
    await expect(syncOnce(replica, hub.url)).rejects.toMatchObject({ code: "CLUSTER_MISMATCH" });
    await expect(syncOnce(hub.replica, hub.url)).rejects.toMatchObject({
      code: "PEER_ID_IN_USE",
    });
  });

  it("rejects when nobody answers, when it is no peer, and when it is told to stop", async () => {
    const peer = open("a");
    const web = createServer((_, response) => response.end("hello"));
    await new Promise<void>((resolve) => web.listen(0, host, resolve));
    const address = web.address();
    const url = `http://${host}:${typeof address === "object" ? address?.port : 0}`;
    await expect(syncOnce(peer.replica, url)).rejects.toMatchObject({ code: "MESSAGE_TOO_LARGE" });
    web.removeAllListeners("request");
    const reason = new Error("stop");
    const abort = new AbortController();
    const syncing = syncOnce(peer.replica, url, { signal: abort.signal });
    setTimeout(() => abort.abort(reason), 50);
    await expect(syncing).rejects.toBe(reason);
    await expect(syncOnce(peer.replica, url, abort)).rejects.toBe(reason);
    web.close().closeAllConnections();
    await expect(syncOnce(peer.replica, url)).rejects.toMatchObject({ code: "TRANSPORT_FAILED" });
    await peer.replica.close();
    await expect(syncOnce(peer.replica, url)).rejects.toMatchObject({ code: "CLOSED" });
  });
});
