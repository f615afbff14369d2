/** What is particular about WebSockets: close codes, an application's server, who may connect. */
import { createServer } from "node:http";
import { afterEach, describe, expect, it } from "vitest";
import { WebSocket } from "ws";
import type { Transport } from "../../src/transport/transport.ts";
import {
  listenWebSocket,
  type WebSocketListenOptions,
  webSocketTransport,
} from "../../src/transport/websocket.ts";
import { makeAuthority } from "../support/certificates.ts";
import { acceptor, host, kinds, read, readAll } from "../support/transports.ts";

const megabyte = 1024 * 1024;
const cleanups: (() => unknown)[] = [];
const never = new AbortController().signal;

afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean();
});

describe("websocket", () => {
  async function rawClient(): Promise<{ socket: WebSocket; server: Transport }> {
    const { onTransport, next } = acceptor();
    const listener = await listenWebSocket({ host, port: 0 }, onTransport);
    cleanups.push(() => listener.close());
    const socket = new WebSocket(`ws://${host}:${listener.port}`);
    socket.on("error", () => undefined);
    await new Promise((resolve) => socket.once("open", resolve));
    return { socket, server: await next() };
  }

  it("closes with 1003 on a text message", async () => {
    const { socket, server } = await rawClient();
    const closed = new Promise<number>((resolve) => socket.once("close", resolve));
    socket.send("hello");
    await expect(readAll(server)).rejects.toMatchObject({ code: "PROTOCOL_MALFORMED" });
    expect(await closed).toBe(1003);
  });

  it("closes with 1009 on a message over the limit", async () => {
    const { socket, server } = await rawClient();
    const closed = new Promise<number>((resolve) => socket.once("close", resolve));
    socket.send(new Uint8Array(64 * megabyte + 1));
    await expect(readAll(server)).rejects.toMatchObject({ code: "TRANSPORT_FAILED" });
    expect(await closed).toBe(1009);
  });

  it("fails when the connection is cut", async () => {
    const { socket, server } = await rawClient();
    socket.terminate();
    await expect(readAll(server)).rejects.toMatchObject({ code: "TRANSPORT_FAILED" });
  });

  it("gives up on a slow reader where the socket cannot be paused", async () => {
    const kind = kinds["websocket without pause"];
    const { onTransport, next } = acceptor();
    const listener = await kind?.listen(0, onTransport);
    cleanups.push(() => listener?.close());
    const client = await kind?.dialer(listener?.port ?? 0).dial(never);
    const server = await next();
    if (client === undefined) throw new Error("no such kind");
    const sending = (async () => {
      for (let index = 0; index < 50; index++) await server.send(new Uint8Array(megabyte));
    })();
    await expect(sending).rejects.toMatchObject({ code: "TRANSPORT_CLOSED" });
    await expect(readAll(client)).rejects.toMatchObject({ code: "TRANSPORT_OVERLOADED" });
  });

  it("shares the application's server, sees its headers, and leaves it running", async () => {
    const server = createServer((_, response) => response.end("application"));
    await new Promise<void>((resolve) => server.listen(0, host, resolve));
    cleanups.push(() => server.close());
    const address = server.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    const tokens: unknown[] = [];
    const listener = await listenWebSocket({ server, path: "/sync" }, (transport, request) => {
      tokens.push(request.headers.authorization);
      void transport.send(Uint8Array.of(1));
    });
    expect(listener.port).toBe(port);
    const headers = { authorization: "Bearer x" };
    const dialer = webSocketTransport(`ws://${host}:${port}/sync`, { headers });
    const client = await dialer.dial(never);
    expect(await read(client)).toEqual([Uint8Array.of(1)]);
    expect(tokens).toEqual(["Bearer x"]);
    await listener.close();
    expect(await (await fetch(`http://${host}:${port}/`)).text()).toBe("application");
  });

  it.each([false, true])(
    "answers 401 to whom `authorize` does not let in (tls: %s)",
    async (tls) => {
      const authority = makeAuthority("ours");
      const { onTransport, next } = acceptor();
      const options: WebSocketListenOptions = {
        host,
        port: 0,
        authorize: async ({ headers }) => {
          if (headers.authorization === undefined) throw new Error("who?");
          return headers.authorization === "Bearer secret";
        },
        ...(tls ? { tls: authority.issue("localhost") } : {}),
      };
      const listener = await listenWebSocket(options, onTransport);
      cleanups.push(() => listener.close());
      const url = `${tls ? "wss" : "ws"}://${host}:${listener.port}/`;
      const dial = (headers: Record<string, string>) =>
        webSocketTransport(url, { headers, tls: { ca: authority.ca } }).dial(never);
      for (const headers of [{}, { authorization: "Bearer guess" }]) {
        await expect(dial(headers)).rejects.toMatchObject({ code: "TRANSPORT_REFUSED" });
      }
      const client = await dial({ authorization: "Bearer secret" });
      await client.send(Uint8Array.of(1));
      expect(await read(await next())).toEqual([Uint8Array.of(1)]);
      await client.close?.();
    },
  );

  it("does not trust a certificate of another authority", async () => {
    const tls = makeAuthority("theirs").issue("localhost");
    const listener = await listenWebSocket({ host, port: 0, tls }, () => undefined);
    cleanups.push(() => listener.close());
    const url = `wss://${host}:${listener.port}`;
    await expect(webSocketTransport(url).dial(never)).rejects.toMatchObject({
      code: "TRANSPORT_FAILED",
      message: expect.stringContaining("the handshake failed"),
    });
  });

  it("gives up on a handshake that is not answered", async () => {
    const server = createServer();
    server.on("upgrade", () => undefined);
    await new Promise<void>((resolve) => server.listen(0, host, resolve));
    cleanups.push(() => server.close().closeAllConnections());
    const address = server.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    const dialer = webSocketTransport(`ws://${host}:${port}`, { connectTimeoutMs: 100 });
    await expect(dialer.dial(never)).rejects.toMatchObject({ code: "TRANSPORT_FAILED" });
  });
});
