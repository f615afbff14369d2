/** What is particular about TCP and TLS: hostile bytes, certificates, who may connect. */
import { connect, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { afterEach, describe, expect, it } from "vitest";
import { listenTcp, tcpTransport } from "../../src/transport/tcp.ts";
import { listenTls, type TlsListenOptions, tlsTransport } from "../../src/transport/tls.ts";
import type { Listener, Transport } from "../../src/transport/transport.ts";
import { makeAuthority } from "../support/certificates.ts";
import { acceptor, host, read, readAll } from "../support/transports.ts";

const cleanups: (() => unknown)[] = [];
const never = new AbortController().signal;

afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean();
});

describe("tcp", () => {
  async function rawClient(): Promise<{ socket: Socket; server: Transport; listener: Listener }> {
    const { onTransport, next } = acceptor();
    const listener = await listenTcp({ host, port: 0 }, onTransport);
    cleanups.push(() => listener.close());
    const socket = connect({ host, port: listener.port });
    socket.on("error", () => undefined);
    cleanups.push(() => socket.destroy());
    return { socket, server: await next(), listener };
  }

  it("refuses an announced length over the limit", async () => {
    const { socket, server } = await rawClient();
    socket.write(Uint8Array.of(255, 255, 255, 255, 1));
    await expect(readAll(server)).rejects.toMatchObject({ code: "MESSAGE_TOO_LARGE" });
  });

  it("fails when the stream ends in the middle of a message", async () => {
    const { socket, server } = await rawClient();
    socket.end(Uint8Array.of(1, 0, 0, 0, 9, 10, 0, 0, 0, 1));
    expect(await read(server)).toEqual([Uint8Array.of(9)]);
    await expect(readAll(server)).rejects.toMatchObject({ code: "TRANSPORT_FAILED" });
  });

  it("fails when the connection is reset", async () => {
    const { socket, server } = await rawClient();
    socket.resetAndDestroy();
    await expect(readAll(server)).rejects.toMatchObject({ code: "TRANSPORT_FAILED" });
  });

  it("cannot listen on a port that is taken", async () => {
    const { listener } = await rawClient();
    await expect(listenTcp({ host, port: listener.port }, () => undefined)).rejects.toMatchObject({
      code: "TRANSPORT_FAILED",
    });
  });

  it("takes IPv6 addresses and refuses other protocols", () => {
    expect(tcpTransport("tcp://[::1]:80").name).toBe("tcp://::1:80");
    expect(() => tcpTransport("http://localhost:80")).toThrow(TypeError);
    expect(() => tlsTransport("tcp://localhost:80")).toThrow(TypeError);
  });

  it("hangs up on whom `authorize` does not let in", async () => {
    const welcome = [false, true];
    const { onTransport, next } = acceptor();
    const listener = await listenTcp({ host, port: 0 }, onTransport, {
      authorize: async () => welcome.shift() ?? Promise.reject(new Error("who?")),
    });
    cleanups.push(() => listener.close());
    const dialer = tcpTransport({ host, port: listener.port });
    const first = await dialer.dial(never);
    await readAll(first).catch(() => undefined);
    const second = await dialer.dial(never);
    await second.send(Uint8Array.of(1));
    expect(await read(await next())).toEqual([Uint8Array.of(1)]);
    const third = await dialer.dial(never);
    await readAll(third).catch(() => undefined);
  });

  it("closes while a peer is still being looked at", async () => {
    const listener = await listenTcp({ host, port: 0 }, () => undefined, {
      authorize: () => new Promise(() => undefined),
    });
    const client = await tcpTransport({ host, port: listener.port }).dial(never);
    await new Promise((resolve) => setTimeout(resolve, 50));
    await listener.close();
    await readAll(client).catch(() => undefined);
  });
});

describe("tls", () => {
  const ours = makeAuthority("ours");
  const theirs = makeAuthority("theirs");
  const server = ours.issue("localhost");

  async function listen(options: Partial<TlsListenOptions> = {}) {
    const { onTransport, next } = acceptor();
    const names: string[] = [];
    const listener = await listenTls(
      { host, port: 0 },
      (transport, socket) => {
        names.push(String(socket.getPeerCertificate().subject?.CN ?? ""));
        onTransport(transport);
      },
      { ...server, ...options },
    );
    cleanups.push(() => listener.close());
    return { url: `tls://${host}:${listener.port}`, port: listener.port, next, names };
  }

  it("does not trust a certificate of another authority, unless told to", async () => {
    const { url, next } = await listen();
    for (const options of [{}, { ca: theirs.ca }]) {
      await expect(tlsTransport(url, options).dial(never)).rejects.toMatchObject({
        code: "TRANSPORT_FAILED",
        message: expect.stringMatching(/certificate/),
      });
    }
    const trusting = await tlsTransport(url, { rejectUnauthorized: false }).dial(never);
    await trusting.send(Uint8Array.of(1));
    expect(await read(await next())).toEqual([Uint8Array.of(1)]);
    await trusting.close?.();
  });

  it("checks the name, which may be told", async () => {
    const { port } = await listen();
    const url = `tls://127.0.0.2:${port}`;
    const wrong = { ca: ours.ca, servername: "example.org" };
    const address = `tls://${host}:${port}`;
    await expect(tlsTransport(address, wrong).dial(never)).rejects.toMatchObject({
      message: expect.stringContaining("example.org"),
    });
    await expect(tlsTransport(url, { ca: ours.ca }).dial(never)).rejects.toMatchObject({
      code: "TRANSPORT_FAILED",
    });
    const named = await tlsTransport(address, { ca: ours.ca, servername: "localhost" }).dial(never);
    await named.close?.();
  });

  it("lets in who has a certificate of the listener's authority", async () => {
    const { url, next, names } = await listen({ ca: ours.ca });
    const alice = ours.issue("alice");
    const client = await tlsTransport(url, { ca: ours.ca, ...alice }).dial(never);
    await client.send(Uint8Array.of(7));
    expect(await read(await next())).toEqual([Uint8Array.of(7)]);
    expect(names).toEqual(["alice"]);
    await client.close?.();
    for (const credentials of [{}, theirs.issue("mallory")]) {
      // In TLS 1.3 the dialling side is connected before the listener has looked at it; whether it
      // still reads the alert or just the end is a race.
      const dialer = tlsTransport(url, { ca: ours.ca, ...credentials });
      const outcome = await dialer
        .dial(never)
        .then(readAll)
        .catch((error: Error) => error);
      if (outcome instanceof Error) expect(outcome).toMatchObject({ code: "TRANSPORT_FAILED" });
      else expect(outcome).toEqual([]);
    }
    expect(names).toEqual(["alice"]);
  });

  it("asks `authorize` with the certificate at hand", async () => {
    const { url, next } = await listen({
      ca: ours.ca,
      authorize: (socket) => socket.getPeerCertificate().subject.CN === "alice",
    });
    const dial = (name: string) =>
      tlsTransport(url, { ca: ours.ca, ...ours.issue(name) }).dial(never);
    const bob = await dial("bob");
    await readAll(bob).catch(() => undefined);
    const alice = await dial("alice");
    await alice.send(Uint8Array.of(3));
    expect(await read(await next())).toEqual([Uint8Array.of(3)]);
  });

  it("shrugs off what is not TLS", async () => {
    const { url, port, next } = await listen();
    const plain = connect({ host, port });
    plain.on("error", () => undefined);
    await new Promise((resolve) => plain.once("close", resolve).end("GET / HTTP/1.1\r\n\r\n"));
    const old = connectTls({ host, port, maxVersion: "TLSv1.1", rejectUnauthorized: false });
    await new Promise((resolve) => old.once("error", resolve));
    const client = await tlsTransport(url, { ca: ours.ca }).dial(never);
    await client.send(Uint8Array.of(9));
    expect(await read(await next())).toEqual([Uint8Array.of(9)]);
  });

  it("closes while a handshake hangs", async () => {
    const { port } = await listen();
    const silent = connect({ host, port });
    silent.on("error", () => undefined);
    await new Promise((resolve) => silent.once("connect", resolve));
    const closed = new Promise((resolve) => silent.once("close", resolve));
    await cleanups.pop()?.();
    await closed;
  });
});
