/** What is particular about UDP: bad networks, strangers, and sides that vanish. */
import { createHash } from "node:crypto";
import { createSocket, type Socket } from "node:dgram";
import { lookup } from "node:dns/promises";
import { readdirSync } from "node:fs";
import Database from "better-sqlite3";
import { afterEach, describe, expect, it } from "vitest";
import { seededRandom } from "../../src/cli/demo/random.ts";
import { attach } from "../../src/index.ts";
import type { Transport } from "../../src/transport/transport.ts";
import { listenUdp, udpTransport } from "../../src/transport/udp.ts";
import { type Datagram, decodeDatagram, encodeDatagram } from "../../src/transport/udp-datagram.ts";
import { acceptor, host, read, readAll } from "../support/transports.ts";
import { udpProxy, type Weather } from "../support/udp-proxy.ts";

const cleanups: (() => unknown)[] = [];
const never = new AbortController().signal;

afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean();
});

const storm: Weather = { loss: 0.1, repeat: 0.05, alter: 0.03, lateMs: 8, random: seededRandom(1) };

const digests = (messages: readonly Uint8Array[]) =>
  messages.map((bytes) => createHash("sha256").update(bytes).digest("hex")).sort();

async function behindProxy(onTransport: (transport: Transport) => void, weather = storm) {
  const listener = await listenUdp({ host, port: 0 }, onTransport);
  const proxy = await udpProxy(listener.port, weather);
  cleanups.push(
    () => proxy.close(),
    () => listener.close(),
  );
  return { proxy, dialer: udpTransport(`udp://${host}:${proxy.port}`) };
}

describe("a network that loses, repeats, reorders and alters", () => {
  it("delivers each message once and whole", async () => {
    const { onTransport, next } = acceptor();
    const { dialer, proxy } = await behindProxy(onTransport);
    const client = await dialer.dial(never);
    const server = await next();
    const random = seededRandom(2);
    const messages = Array.from({ length: 60 }, (_, index) => {
      const size = 4 + Math.floor(random() ** 4 * 100_000);
      return new Uint8Array(size).fill(index);
    });
    const exchange = async (from: Transport, to: Transport) => {
      const reading = read(to, messages.length);
      for (const message of messages) await from.send(message);
      expect(digests(await reading)).toEqual(digests(messages));
    };
    await Promise.all([exchange(client, server), exchange(server, client)]);
    expect(proxy.carried.lost).toBeGreaterThan(50);
    await client.close?.();
    expect(await readAll(server)).toEqual([]);
  });

  it("lets replicas converge", async () => {
    const [left, right] = [0, 1].map(() => {
      const db = new Database(":memory:");
      db.exec("CREATE TABLE t (id TEXT PRIMARY KEY NOT NULL, body BLOB)");
      const replica = attach(db, { tables: ["t"] });
      cleanups.push(() => replica.close().then(() => db.close()));
      return { db, replica };
    });
    if (left === undefined || right === undefined) throw new Error("two are made");
    const { dialer } = await behindProxy((transport) => void left.replica.connect(transport));
    const insert = "INSERT INTO t VALUES (lower(hex(randomblob(16))), randomblob(500))";
    for (let i = 0; i < 200; i++) {
      left.db.exec(insert);
      right.db.exec(insert);
    }
    right.replica.connect(dialer);
    const signal = AbortSignal.timeout(25_000);
    await right.replica.wait(left.replica.token(), { signal });
    await left.replica.wait(right.replica.token(), { signal });
    const count = "SELECT count(*) FROM t";
    for (const { db } of [left, right]) expect(db.prepare(count).pluck().get()).toBe(400);
    expect((await right.replica.verify()).differences).toBe(0);
  });
});

/** A socket that says what it likes. */
class Stranger {
  readonly socket: Socket = createSocket("udp4");
  readonly heard: Datagram[] = [];
  readonly heardBytes: number[] = [];
  readonly #port: number;

  constructor(port: number) {
    this.#port = port;
    this.socket.on("message", (bytes) => {
      this.heardBytes.push(bytes.byteLength);
      const received = decodeDatagram(bytes);
      if (received !== undefined) this.heard.push(received.datagram);
    });
    cleanups.push(() => this.socket.close());
  }

  async say(bytes: Uint8Array): Promise<void> {
    await new Promise((resolve) => this.socket.send(bytes, this.#port, host, resolve));
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
}

const id = new Uint8Array(8).fill(7);
const cookie = new Uint8Array(16);

describe("strangers", () => {
  async function listening(options = {}) {
    const accepted: Transport[] = [];
    const listener = await listenUdp({ host, port: 0 }, (one) => void accepted.push(one), options);
    cleanups.push(() => listener.close());
    return { accepted, port: listener.port, stranger: new Stranger(listener.port) };
  }

  it("are not answered with more than they say, and kept nothing of", async () => {
    const { accepted, stranger } = await listening();
    const hello = encodeDatagram(id, { kind: "hello", cookie });
    await stranger.say(hello);
    expect(stranger.heard).toMatchObject([{ kind: "challenge" }]);
    for (const datagram of [
      { kind: "ping" },
      { kind: "close" },
      { kind: "data", packet: 0, index: 0, count: 1, bytes: Uint8Array.of(1) },
    ] as const) {
      const bytes = encodeDatagram(id, datagram);
      await stranger.say(bytes);
      expect(stranger.heard.at(-1)).toEqual({ kind: "reset" });
      expect(stranger.heardBytes.at(-1)).toBeLessThanOrEqual(bytes.byteLength);
    }
    expect(stranger.heardBytes[0]).toBeLessThanOrEqual(hello.byteLength);
    expect(accepted).toEqual([]);
  });

  it("need the cookie that was sent to their own address", async () => {
    const { accepted, stranger, port } = await listening();
    await stranger.say(encodeDatagram(id, { kind: "hello", cookie }));
    const [challenge] = stranger.heard;
    if (challenge?.kind !== "challenge") throw new Error("no challenge");
    const answer = encodeDatagram(id, { kind: "hello", cookie: challenge.cookie });
    const other = new Stranger(port);
    await other.say(answer);
    expect(accepted).toHaveLength(0);
    await stranger.say(answer);
    await stranger.say(answer);
    expect(stranger.heard.slice(1)).toEqual([{ kind: "welcome" }, { kind: "welcome" }]);
    expect(accepted).toHaveLength(1);
    // The right id from another address is nobody's.
    await other.say(encodeDatagram(id, { kind: "close" }));
    expect(other.heard.at(-1)).toEqual({ kind: "reset" });
    await stranger.say(encodeDatagram(id, { kind: "ping" }));
    expect(stranger.heard.at(-1)).toMatchObject({ kind: "ack", next: 0 });
  });

  it("that make no sense are not heard at all", async () => {
    const { stranger } = await listening();
    const altered = encodeDatagram(id, { kind: "ping" });
    altered[6] = 0;
    const sealed = (kind: number, ...body: number[]) => {
      const bytes = encodeDatagram(id, { kind: "hello", cookie: Uint8Array.from(body) });
      return bytes.with(4, kind);
    };
    for (const bytes of [new Uint8Array(0), new Uint8Array(1), altered, sealed(99)]) {
      await stranger.say(bytes);
    }
    expect(stranger.heard).toEqual([]);
  });

  it("are let in by `authorize`, and up to a number", async () => {
    const asked: number[] = [];
    const authorize = ({ port }: { port: number }) => asked.push(port) > 1;
    const { accepted, port } = await listening({ authorize, connectionsMax: 1 });
    const dial = () => udpTransport({ host, port }, { connectTimeoutMs: 1_000 }).dial(never);
    // Not let in, it asks again.
    const client = await dial();
    expect(asked.length).toBeGreaterThan(1);
    await expect(dial()).rejects.toMatchObject({ code: "TRANSPORT_FAILED" });
    expect(accepted).toHaveLength(1);
    await client.close?.();
  });

  it("that connect and send fragments that do not fit are hung up on", async () => {
    const { accepted, stranger } = await listening();
    await stranger.say(encodeDatagram(id, { kind: "hello", cookie }));
    const [challenge] = stranger.heard;
    if (challenge?.kind !== "challenge") throw new Error("no challenge");
    await stranger.say(encodeDatagram(id, { ...challenge, kind: "hello" }));
    const [server] = accepted;
    if (server === undefined) throw new Error("nobody came");
    const fragment = (packet: number, index: number, count: number) =>
      encodeDatagram(id, { kind: "data", packet, index, count, bytes: new Uint8Array(1177) });
    await stranger.say(fragment(0, 0, 3));
    await stranger.say(fragment(1, 1, 4));
    await expect(readAll(server)).rejects.toMatchObject({ code: "PROTOCOL_MALFORMED" });
  });
});

describe("sides that vanish", () => {
  it("are noticed when they come back without memory", async () => {
    const listener = await listenUdp({ host, port: 0 }, () => undefined);
    const weather = { ...storm, loss: 0, repeat: 0, alter: 0, lateMs: 1 };
    const proxy = await udpProxy(listener.port, weather);
    cleanups.push(() => proxy.close());
    const client = await udpTransport(`udp://${host}:${proxy.port}`).dial(never);
    const reading = readAll(client);
    // Its goodbye is lost on the way.
    Object.assign(weather, { loss: 1 });
    await listener.close();
    const again = await listenUdp({ host, port: listener.port }, () => undefined);
    cleanups.push(() => again.close());
    Object.assign(weather, { loss: 0 });
    await client.send(Uint8Array.of(1));
    await expect(reading).rejects.toMatchObject({
      code: "TRANSPORT_FAILED",
      message: expect.stringContaining("does not know this connection"),
    });
  });

  it("cannot be dialled", async () => {
    const silent = createSocket("udp4");
    await new Promise<void>((resolve) => silent.bind(0, host, resolve));
    cleanups.push(() => silent.close());
    const address = { host, port: silent.address().port };
    const dialer = udpTransport(address, { connectTimeoutMs: 100 });
    await expect(dialer.dial(never)).rejects.toMatchObject({
      message: expect.stringContaining("did not answer"),
    });
    await expect(listenUdp(address, () => undefined)).rejects.toMatchObject({
      code: "TRANSPORT_FAILED",
    });
  });
});

describe("an address", () => {
  it.skipIf(process.platform !== "linux")("that is taken leaves no socket open", async () => {
    const taken = await listenUdp({ host, port: 0 }, () => undefined);
    cleanups.push(() => taken.close());
    const open = () => readdirSync("/proc/self/fd").length;
    const before = open();
    for (let i = 0; i < 10; i++) {
      await listenUdp({ host, port: taken.port }, () => undefined).catch(() => undefined);
    }
    expect(open()).toBeLessThan(before + 5);
  });

  it("that nobody knows is told of at once, and not to who gave up", async () => {
    // No name has a part of 64 letters: nobody is asked.
    const address = { host: `${"x".repeat(64)}.invalid`, port: 9 };
    const dialer = udpTransport(address, { connectTimeoutMs: 60_000 });
    await expect(dialer.dial(never)).rejects.toMatchObject({
      code: "TRANSPORT_FAILED",
      cause: { syscall: "getaddrinfo" },
    });
    const abort = new AbortController();
    const dialled = dialer.dial(abort.signal);
    abort.abort();
    await expect(dialled).rejects.toBe(abort.signal.reason);
    await lookup(address.host).catch(() => undefined);
  });
});
