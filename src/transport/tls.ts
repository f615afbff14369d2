/**
 * TLS over TCP: as TCP, and encrypted. The dialling side checks the listener's certificate, always
 * unless told not to; with `clientCertificates` the listener checks the dialling side's as well, and
 * then a certificate of your own authority is what lets a peer in.
 */
import type { Socket } from "node:net";
import { type ConnectionOptions, connect, createServer, type TLSSocket } from "node:tls";
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

/** What a dialling side may say about certificates, as PEM. */
export interface TlsCredentials {
  /** Authorities to trust instead of the system's. @default those of Node.js */
  readonly ca?: string | Buffer | readonly (string | Buffer)[];
  /** This side's own certificate chain and key, for listeners that ask. @default none */
  readonly cert?: string | Buffer;
  readonly key?: string | Buffer;
  /** Name to ask for and to check, when it is not the host dialled. @default the host */
  readonly servername?: string;
  /** `false` accepts whoever answers: encryption without authentication. @default true */
  readonly rejectUnauthorized?: boolean;
}

export interface TlsOptions extends TlsCredentials {
  /** @default the system's clock */
  readonly clock?: Clock;
  /** How long to wait for the connection and its handshake. @default 10000 */
  readonly connectTimeoutMs?: number;
}

export interface TlsListenOptions extends AcceptOptions<TLSSocket> {
  /** Certificate chain and key, as PEM. */
  readonly cert: string | Buffer;
  readonly key: string | Buffer;
  /** Authorities of the peers' certificates. @default those of Node.js */
  readonly ca?: string | Buffer | readonly (string | Buffer)[];
  /** Refuse peers without a certificate that `ca` has signed. @default true when `ca` is given */
  readonly clientCertificates?: boolean;
}

const credentialNames = ["ca", "cert", "key", "servername", "rejectUnauthorized"];

/** A peer that does not finish its handshake in this time is hung up on. */
const handshakeMs = 10_000;

/** Dials `tls://host:port`. */
export function tlsTransport(address: string | SocketAddress, options: TlsOptions = {}): Dialer {
  const { host, port } = parseSocketAddress(address, "tls");
  checkNames(options, [...credentialNames, "clock", "connectTimeoutMs"]);
  const { clock = systemClock, connectTimeoutMs = 10_000, ...credentials } = options;
  const name = `tls://${host}:${port}`;
  return {
    name,
    async dial(signal) {
      signal.throwIfAborted();
      const socket = connect({ ...connectionOptions(host, credentials), host, port });
      socket.setNoDelay(true);
      const event = "secureConnect";
      return whenConnected(socket, { event, name, signal, clock, connectTimeoutMs });
    },
  };
}

/** `onTransport` gets the socket too: `getPeerCertificate()` says who it is. */
export async function listenTls(
  address: SocketAddress,
  onTransport: (transport: Transport, socket: TLSSocket) => void,
  options: TlsListenOptions,
): Promise<Listener> {
  checkNames(options, ["authorize", "clock", "cert", "key", "ca", "clientCertificates"]);
  const { clock = systemClock, cert, key, ca } = options;
  const { clientCertificates = ca !== undefined } = options;
  const acceptor = new SocketAcceptor(onTransport, { ...options, scheme: "tls", clock });
  const server = createServer({
    cert,
    key,
    ...(ca === undefined ? {} : { ca: toMutable(ca) }),
    requestCert: clientCertificates,
    rejectUnauthorized: clientCertificates,
    handshakeTimeout: handshakeMs,
    minVersion: "TLSv1.2",
    noDelay: true,
  });
  server.on("connection", (socket: Socket) => acceptor.hold(socket));
  server.on("secureConnection", (socket) => acceptor.accept(socket));
  const port = await listenOn(server, address);
  return socketListener(server, port, acceptor);
}

/** For `tls.connect` and `https.request`. */
export function connectionOptions(host: string, credentials: TlsCredentials): ConnectionOptions {
  const { ca, servername, ...rest } = credentials;
  return {
    ...rest,
    ...(ca === undefined ? {} : { ca: toMutable(ca) }),
    // SNI carries names only: an address is checked, but not sent.
    ...(servername !== undefined ? { servername } : isAddress(host) ? {} : { servername: host }),
    minVersion: "TLSv1.2",
  };
}

function isAddress(host: string): boolean {
  return host.includes(":") || /^[0-9.]+$/.test(host);
}

function toMutable(
  ca: string | Buffer | readonly (string | Buffer)[],
): string | Buffer | (string | Buffer)[] {
  return typeof ca === "string" || Buffer.isBuffer(ca) ? ca : [...ca];
}
