/**
 * The listening side of WebSockets, on `ws`: with a port of its own, or on the application's
 * server.
 */
import type { IncomingMessage, Server } from "node:http";
import type { Duplex } from "node:stream";
import { type WebSocket, WebSocketServer } from "ws";
import { type Clock, systemClock } from "../clock.ts";
import { ReplicaError } from "../errors.ts";
import { type Listener, messageBytesMax, type Transport } from "./transport.ts";
import { WebSocketConnection } from "./websocket-connection.ts";

export type WebSocketListenOptions = (
  | { readonly host: string; readonly port: number }
  /** An HTTP or HTTPS server that stays the application's: it is neither started nor closed. */
  | { readonly server: Server }
) & {
  /** Other paths are left to others, or refused on a port of our own. @default any path */
  readonly path?: string;
  /** @default the system's clock */
  readonly clock?: Clock;
};

/** How long a closing listener waits for peers to say goodbye. */
const lingerMs = 2_000;
const goingAway = 1001;

/** `request` is the handshake: close the transport when its headers do not convince. */
export async function listenWebSocket(
  options: WebSocketListenOptions,
  onTransport: (transport: Transport, request: IncomingMessage) => void,
): Promise<Listener> {
  const { path, clock = systemClock } = options;
  const accept = (socket: WebSocket, request: IncomingMessage) => {
    const name = `ws://${request.socket.remoteAddress ?? "?"}:${request.socket.remotePort ?? 0}`;
    onTransport(new WebSocketConnection(socket, { name, clock }), request);
  };
  const settings = {
    perMessageDeflate: false,
    maxPayload: messageBytesMax,
    ...(path === undefined ? {} : { path }),
  };
  if ("server" in options) {
    const sockets = new WebSocketServer({ ...settings, noServer: true });
    const detach = attachTo(options.server, sockets, accept);
    return {
      port: portOf(options.server.address()),
      close: () => closeAll(sockets, clock, detach),
    };
  }
  const sockets = new WebSocketServer({ ...settings, host: options.host, port: options.port });
  sockets.on("connection", accept);
  await whenListening(sockets);
  return { port: portOf(sockets.address()), close: () => closeAll(sockets, clock) };
}

/** Upgrades to other paths are not answered: they belong to someone else on the same server. */
function attachTo(
  server: Server,
  sockets: WebSocketServer,
  accept: (socket: WebSocket, request: IncomingMessage) => void,
): () => void {
  const onUpgrade = (request: IncomingMessage, stream: Duplex, head: Buffer) => {
    if (sockets.shouldHandle(request)) sockets.handleUpgrade(request, stream, head, accept);
  };
  server.on("upgrade", onUpgrade);
  return () => server.off("upgrade", onUpgrade);
}

function whenListening(sockets: WebSocketServer): Promise<void> {
  return new Promise((resolve, reject) => {
    sockets.once("listening", resolve);
    sockets.once("error", (cause) =>
      reject(new ReplicaError("TRANSPORT_FAILED", `listening: ${cause.message}`, { cause })),
    );
  });
}

async function closeAll(
  sockets: WebSocketServer,
  clock: Clock,
  detach: () => void = () => undefined,
): Promise<void> {
  detach();
  const clients = [...sockets.clients];
  const gone = clients.map(
    (client) => new Promise<void>((resolve) => client.once("close", () => resolve())),
  );
  for (const client of clients) {
    client.resume();
    client.close(goingAway);
  }
  const cancel = clock.setTimer(lingerMs, () => {
    for (const client of clients) client.terminate();
  });
  await Promise.all(gone);
  cancel();
  await new Promise<void>((resolve) => sockets.close(() => resolve()));
}

function portOf(address: ReturnType<WebSocketServer["address"]>): number {
  return typeof address === "object" && address !== null ? address.port : 0;
}
