/**
 * The listening side of WebSockets, on `ws`: with a port of its own, or on the application's
 * server.
 */
import type { IncomingMessage, Server } from "node:http";
import { createServer } from "node:https";
import type { Duplex } from "node:stream";
import { type VerifyClientCallbackAsync, type WebSocket, WebSocketServer } from "ws";
import { checkFunction, checkNames } from "../arguments.ts";
import { type Clock, systemClock } from "../clock.ts";
import { listenOn } from "./sockets.ts";
import { failedError, type Listener, messageBytesMax, type Transport } from "./transport.ts";
import { WebSocketConnection } from "./websocket-connection.ts";

export type WebSocketListenOptions = (
  | {
      readonly host: string;
      readonly port: number;
      /** Certificate chain and key, as PEM, for `wss://`. @default plain `ws://` */
      readonly tls?: { readonly cert: string | Buffer; readonly key: string | Buffer };
    }
  /** An HTTP or HTTPS server that stays the application's: it is neither started nor closed. */
  | { readonly server: Server }
) & {
  /** Other paths are left to others, or refused on a port of our own. @default any path */
  readonly path?: string;
  /**
   * Whether this peer may connect, by the headers of its handshake; 401 is the answer when not.
   * @default everyone may
   */
  readonly authorize?: (request: IncomingMessage) => boolean | Promise<boolean>;
  /** @default the system's clock */
  readonly clock?: Clock;
};

/** How long a closing listener waits for peers to say goodbye. */
const lingerMs = 2_000;
const goingAway = 1001;

/** `onTransport` gets a transport for every peer that dials, and the request of its handshake. */
export async function listenWebSocket(
  options: WebSocketListenOptions,
  onTransport: (transport: Transport, request: IncomingMessage) => void,
): Promise<Listener> {
  checkNames(options, ["host", "port", "server", "tls", "path", "authorize", "clock"]);
  checkFunction(onTransport, "onTransport");
  const { path, authorize, clock = systemClock } = options;
  const accept = (socket: WebSocket, request: IncomingMessage) => {
    const name = `ws://${request.socket.remoteAddress ?? "?"}:${request.socket.remotePort ?? 0}`;
    onTransport(new WebSocketConnection(socket, { name, clock }), request);
  };
  const settings = {
    // Payloads are dense, and each connection would hold 300 kB for its contexts.
    perMessageDeflate: false,
    maxPayload: messageBytesMax,
    ...(path === undefined ? {} : { path }),
    ...(authorize === undefined ? {} : { verifyClient: verifierOf(authorize) }),
  };
  if ("server" in options || options.tls !== undefined) {
    const sockets = new WebSocketServer({ ...settings, noServer: true });
    const server = "server" in options ? options.server : createServer({ ...options.tls });
    const detach = attachTo(server, sockets, accept);
    if ("server" in options) {
      const port = portOf(server.address());
      return { port, close: () => closeAll(sockets, clock, detach) };
    }
    const port = await listenOn(server, options);
    const stop = async () => {
      server.close();
      await closeAll(sockets, clock, detach);
      server.closeAllConnections();
    };
    return { port, close: stop };
  }
  const sockets = new WebSocketServer({ ...settings, host: options.host, port: options.port });
  sockets.on("connection", accept);
  await whenListening(sockets);
  return { port: portOf(sockets.address()), close: () => closeAll(sockets, clock) };
}

function verifierOf(
  authorize: (request: IncomingMessage) => boolean | Promise<boolean>,
): VerifyClientCallbackAsync {
  return ({ req }, answer) => {
    Promise.resolve(req)
      .then(authorize)
      .then(
        (isWelcome) => answer(isWelcome, 401),
        // Whoever cannot be examined is not let in.
        () => answer(false, 401),
      );
  };
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
    sockets.once("error", (cause) => reject(failedError("listening", cause)));
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
