/**
 * Plain TCP: each message whole, once and in order. Nothing is encrypted and nobody is
 * authenticated: for a trusted network, or behind a tunnel. `tls.ts` is the same with both.
 */
import { connect, createServer, type Socket } from "node:net";
import { checkNames } from "../arguments.ts";
import { type Clock, systemClock } from "../clock.ts";
import {
  type AcceptOptions,
  listenOn,
  parseSocketAddress,
  SocketAcceptor,
  type SocketAddress,
  socketListener,
  whenConnected,
} from "./sockets.ts";
import type { Dialer, Listener, Transport } from "./transport.ts";

export type { Dialer, Listener, Transport } from "./transport.ts";
export type TcpAddress = SocketAddress;
export type TcpListenOptions = AcceptOptions<Socket>;

export interface TcpOptions {
  /** @default the system's clock */
  readonly clock?: Clock;
  /** How long to wait for a connection. @default 10000 */
  readonly connectTimeoutMs?: number;
}

/** Dials `tcp://host:port`. */
export function tcpTransport(address: string | TcpAddress, options: TcpOptions = {}): Dialer {
  const { host, port } = parseSocketAddress(address, "tcp");
  checkNames(options, ["clock", "connectTimeoutMs"]);
  const { clock = systemClock, connectTimeoutMs = 10_000 } = options;
  const name = `tcp://${host}:${port}`;
  return {
    name,
    async dial(signal) {
      signal.throwIfAborted();
      const socket = connect({ host, port, noDelay: true });
      return whenConnected(socket, { event: "connect", name, signal, clock, connectTimeoutMs });
    },
  };
}

/** `onTransport` gets a transport for every peer that dials. Port 0 takes a free one. */
export async function listenTcp(
  address: TcpAddress,
  onTransport: (transport: Transport, socket: Socket) => void,
  options: TcpListenOptions = {},
): Promise<Listener> {
  checkNames(options, ["authorize", "clock"]);
  const { clock = systemClock } = options;
  const acceptor = new SocketAcceptor(onTransport, { ...options, scheme: "tcp", clock });
  const server = createServer({ noDelay: true }, (socket) => acceptor.accept(socket));
  const port = await listenOn(server, address);
  return socketListener(server, port, acceptor);
}
