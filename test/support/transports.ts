/** Every kind of transport in one form, for the tests that all of them have to pass. */
import { PassThrough } from "node:stream";
import { MessageChannel } from "node:worker_threads";
import { WebSocket } from "ws";
import { httpTransport, listenHttp } from "../../src/http/index.ts";
import { messagePortTransport } from "../../src/transport/message-port.ts";
import { stdioTransport } from "../../src/transport/stdio.ts";
import { listenTcp, tcpTransport } from "../../src/transport/tcp.ts";
import { listenTls, tlsTransport } from "../../src/transport/tls.ts";
import type { Dialer, Listener, Transport } from "../../src/transport/transport.ts";
import { listenUdp, udpTransport } from "../../src/transport/udp.ts";
import { listenWebSocket, webSocketTransport } from "../../src/transport/websocket.ts";
import { makeAuthority } from "./certificates.ts";

export const host = "127.0.0.1";

type OnTransport = (transport: Transport) => void;

export interface Kind {
  /** Port 0 takes a free one. */
  listen(port: number, onTransport: OnTransport): Promise<Listener>;
  dialer(port: number): Dialer;
  /** A reader that stops makes the sender wait. */
  readonly slows: boolean;
}

const authority = makeAuthority("test authority");
const server = authority.issue("localhost");
const { ca } = authority;

export const kinds: Record<string, Kind> = {
  tcp: {
    listen: (port, onTransport) => listenTcp({ host, port }, onTransport),
    dialer: (port) => tcpTransport(`tcp://${host}:${port}`),
    slows: true,
  },
  tls: {
    listen: (port, onTransport) => listenTls({ host, port }, onTransport, server),
    dialer: (port) => tlsTransport(`tls://${host}:${port}`, { ca }),
    slows: true,
  },
  websocket: {
    listen: (port, onTransport) => listenWebSocket({ host, port, path: "/sync" }, onTransport),
    dialer: (port) => webSocketTransport(`ws://${host}:${port}/sync`),
    slows: true,
  },
  "websocket over TLS": {
    listen: (port, onTransport) => listenWebSocket({ host, port, tls: server }, onTransport),
    dialer: (port) => webSocketTransport(`wss://${host}:${port}`, { tls: { ca } }),
    slows: true,
  },
  "websocket without pause": {
    listen: (port, onTransport) => listenWebSocket({ host, port }, onTransport),
    dialer: (port) => webSocketTransport(`ws://${host}:${port}`, { WebSocket: unpausable() }),
    slows: false,
  },
  http: {
    listen: (port, onTransport) => listenHttp({ host, port }, onTransport),
    dialer: (port) => httpTransport(`http://${host}:${port}/sync`),
    slows: true,
  },
  https: {
    listen: (port, onTransport) => listenHttp({ host, port }, onTransport, { tls: server }),
    dialer: (port) => httpTransport(`https://${host}:${port}`, { tls: { ca } }),
    slows: true,
  },
  udp: {
    listen: (port, onTransport) => listenUdp({ host, port }, onTransport),
    dialer: (port) => udpTransport(`udp://${host}:${port}`),
    slows: true,
  },
  "message port": inProcess((onTransport) => {
    const { port1, port2 } = new MessageChannel();
    onTransport(messagePortTransport(port2));
    return messagePortTransport(port1);
  }),
  pipes: inProcess((onTransport) => {
    const [forth, back] = [new PassThrough(), new PassThrough()];
    onTransport(stdioTransport({ stdin: forth, stdout: back }));
    return stdioTransport({ stdin: back, stdout: forth });
  }),
};

/** As a browser's: `pause` is not there. */
function unpausable() {
  return class extends WebSocket {
    override pause = undefined as never;
    override resume = undefined as never;
  };
}

/** Kinds whose two ends are made together: "ports" are places in a table here. */
function inProcess(make: (onTransport: OnTransport) => Transport): Kind {
  const listening = new Map<number, OnTransport>();
  return {
    slows: true,
    async listen(port, onTransport) {
      const taken = port === 0 ? listening.size + 1 : port;
      const made: Transport[] = [];
      listening.set(taken, (transport) => {
        made.push(transport);
        onTransport(transport);
      });
      const close = async () => {
        listening.delete(taken);
        for (const transport of made) await transport.close?.();
      };
      return { port: taken, close };
    },
    dialer: (port) => ({
      name: "in process",
      async dial(signal) {
        signal.throwIfAborted();
        await new Promise((resolve) => setImmediate(resolve));
        signal.throwIfAborted();
        const onTransport = listening.get(port);
        if (onTransport !== undefined) return make(onTransport);
        throw Object.assign(new Error("nobody listens"), { code: "TRANSPORT_FAILED" });
      },
    }),
  };
}

/** Takes the transports of a listener in the order they come. */
export function acceptor(): { onTransport: OnTransport; next: () => Promise<Transport> } {
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

export async function readAll(transport: Transport): Promise<Uint8Array[]> {
  const all: Uint8Array[] = [];
  for await (const message of transport.messages) all.push(message);
  return all;
}

/** The first `count` messages; reading can go on afterwards, with another reader of this kind. */
export async function read(transport: Transport, count = 1): Promise<Uint8Array[]> {
  const reader = transport.messages[Symbol.asyncIterator]();
  const all: Uint8Array[] = [];
  while (all.length < count) {
    const { value, done } = await reader.next();
    if (done === true) break;
    all.push(value);
  }
  return all;
}

/** Resolves when `value` has stopped changing for a while. */
export async function whenStill(value: () => number): Promise<number> {
  let before = Number.NaN;
  while (before !== value()) {
    before = value();
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
  return before;
}
