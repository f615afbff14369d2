import { createServer } from "node:http";
import { connect, type Socket } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { WebSocket } from "ws";
import { listenTcp, tcpTransport } from "../../src/transport/tcp.ts";
import type { Dialer, Listener, Transport } from "../../src/transport/transport.ts";
import { listenWebSocket, webSocketTransport } from "../../src/transport/websocket.ts";

const host = "127.0.0.1";
const megabyte = 1024 * 1024;
const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean();
});

/** Takes the transports of a listener in the order they come. */
function acceptor() {
  const arrived: Transport[] = [];
  const waiting: ((transport: Transport) => void)[] = [];
  const onTransport = (transport: Transport) => {
    const resolve = waiting.shift();
    if (resolve === undefined) arrived.push(transport);
    else resolve(transport);
  };
  const next = () =>
    new Promise<Transport>((resolve) => {
      const transport = arrived.shift();
      if (transport === undefined) waiting.push(resolve);
      else resolve(transport);
    });
  return { onTransport, next };
}

const kinds: Record<string, (onTransport: (t: Transport) => void) => Promise<[Listener, Dialer]>> =
  {
    tcp: async (onTransport) => {
      const listener = await listenTcp({ host, port: 0 }, onTransport);
      return [listener, tcpTransport(`tcp://${host}:${listener.port}`)];
    },
    websocket: async (onTransport) => {
      const listener = await listenWebSocket({ host, port: 0, path: "/sync" }, onTransport);
      return [listener, webSocketTransport(`ws://${host}:${listener.port}/sync`)];
    },
    "websocket without pause": async (onTransport) => {
      const listener = await listenWebSocket({ host, port: 0 }, onTransport);
      const url = `ws://${host}:${listener.port}`;
      return [listener, webSocketTransport(url, { WebSocket: Unpausable })];
    },
  };

/** As a browser's: `pause` is not there. */
class Unpausable extends WebSocket {
  override pause = undefined as never;
  override resume = undefined as never;
}

async function join(kind: string): Promise<{
  client: Transport;
  server: Transport;
  listener: Listener;
}> {
  const { onTransport, next } = acceptor();
  const make = kinds[kind];
  if (make === undefined) throw new Error(kind);
  const [listener, dialer] = await make(onTransport);
  cleanups.push(() => listener.close());
  const client = await dialer.dial(new AbortController().signal);
  cleanups.push(() => client.close?.());
  return { client, server: await next(), listener };
}

async function readAll(transport: Transport): Promise<Uint8Array[]> {
  const all: Uint8Array[] = [];
  for await (const message of transport.messages) all.push(message);
  return all;
}

async function readOne(transport: Transport): Promise<Uint8Array | undefined> {
  const { value } = await transport.messages[Symbol.asyncIterator]().next();
  return value;
}

describe.each(Object.keys(kinds))("%s", (kind) => {
  it("carries messages both ways, in order, and ends in good order", async () => {
    const { client, server } = await join(kind);
    for (let index = 0; index < 500; index++) await client.send(Uint8Array.of(index % 256, 7));
    await client.send(new Uint8Array(0));
    await server.send(Uint8Array.of(42));
    expect(await readOne(client)).toEqual(Uint8Array.of(42));
    const reading = readAll(server);
    await client.close?.();
    const read = await reading;
    expect(read.map((message) => message[0])).toEqual([
      ...Array.from({ length: 500 }, (_, index) => index % 256),
      undefined,
    ]);
    await expect(client.send(new Uint8Array(1))).rejects.toMatchObject({
      code: "TRANSPORT_CLOSED",
    });
  });

  it("carries 20 MB", async () => {
    const { client, server } = await join(kind);
    const message = new Uint8Array(20_000_000).map((_, index) => index * 31);
    const [received] = await Promise.all([readOne(client), server.send(message)]);
    expect(Buffer.compare(received ?? new Uint8Array(0), message)).toBe(0);
  });

  it("refuses to send more than 64 MiB", async () => {
    const { client } = await join(kind);
    await expect(client.send(new Uint8Array(64 * megabyte + 1))).rejects.toMatchObject({
      code: "MESSAGE_TOO_LARGE",
    });
  });

  it("rejects a dial that nobody answers, and one that is aborted", async () => {
    const { listener } = await join(kind);
    const make = kinds[kind];
    await listener.close();
    const dead = await make?.(() => undefined);
    await dead?.[0].close();
    await expect(dead?.[1].dial(new AbortController().signal)).rejects.toMatchObject({
      code: "TRANSPORT_FAILED",
    });
    const reason = new Error("not now");
    await expect(dead?.[1].dial(AbortSignal.abort(reason))).rejects.toBe(reason);
    const controller = new AbortController();
    const dialing = dead?.[1].dial(controller.signal);
    controller.abort(reason);
    await expect(dialing).rejects.toBe(reason);
  });
});

describe.each(["tcp", "websocket"])("%s, read slowly", (kind) => {
  it.each(["client", "server"] as const)("makes the sender wait: the %s reads", async (reader) => {
    const ends = await join(kind);
    const writer = reader === "client" ? ends.server : ends.client;
    const message = new Uint8Array(megabyte).fill(5);
    const count = 100;
    let sent = 0;
    const sending = (async () => {
      for (; sent < count; sent++) await writer.send(message);
    })();
    // Long enough for everything that does not wait to have gone through.
    let before = -1;
    while (before !== sent) {
      before = sent;
      await new Promise((resolve) => setTimeout(resolve, 300));
    }
    expect(sent).toBeLessThan(count / 2);
    let read = 0;
    for await (const bytes of ends[reader].messages) {
      if (bytes.byteLength === message.byteLength) read += 1;
      if (read === count) break;
    }
    await sending;
    expect(read).toBe(count);
  });
});

describe("tcp", () => {
  async function rawClient(): Promise<{ socket: Socket; server: Transport }> {
    const { onTransport, next } = acceptor();
    const listener = await listenTcp({ host, port: 0 }, onTransport);
    cleanups.push(() => listener.close());
    const socket = connect({ host, port: listener.port });
    socket.on("error", () => undefined);
    cleanups.push(() => socket.destroy());
    return { socket, server: await next() };
  }

  it("refuses an announced length over the limit", async () => {
    const { socket, server } = await rawClient();
    socket.write(Uint8Array.of(255, 255, 255, 255, 1));
    await expect(readAll(server)).rejects.toMatchObject({ code: "MESSAGE_TOO_LARGE" });
  });

  it("fails when the stream ends in the middle of a message", async () => {
    const { socket, server } = await rawClient();
    socket.end(Uint8Array.of(1, 0, 0, 0, 9, 10, 0, 0, 0, 1));
    const messages = server.messages[Symbol.asyncIterator]();
    expect(await messages.next()).toEqual({ done: false, value: Uint8Array.of(9) });
    await expect(messages.next()).rejects.toMatchObject({ code: "TRANSPORT_FAILED" });
  });

  it("says goodbye even with unread messages in its own queue", async () => {
    const { client, server } = await join("tcp");
    await client.send(new Uint8Array(3 * megabyte));
    await server.send(Uint8Array.of(1));
    const closing = server.close?.();
    expect(await readAll(client)).toEqual([Uint8Array.of(1)]);
    await closing;
  });

  it("cannot listen on a port that is taken", async () => {
    const { listener } = await join("tcp");
    await expect(listenTcp({ host, port: listener.port }, () => undefined)).rejects.toMatchObject({
      code: "TRANSPORT_FAILED",
    });
  });

  it("takes IPv6 addresses and refuses other protocols", () => {
    expect(tcpTransport("tcp://[::1]:80").name).toBe("tcp://::1:80");
    expect(() => tcpTransport("http://localhost:80")).toThrow(TypeError);
  });
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
    const { client, server } = await join("websocket without pause");
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
    const client = await dialer.dial(new AbortController().signal);
    expect(await readOne(client)).toEqual(Uint8Array.of(1));
    expect(tokens).toEqual(["Bearer x"]);
    await listener.close();
    expect(await (await fetch(`http://${host}:${port}/`)).text()).toBe("application");
  });
});
