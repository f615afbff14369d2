/** Addresses as the command line takes them. */
import type { IncomingMessage } from "node:http";
import type { SocketAddress } from "../transport/sockets.ts";
import type { Dialer, Listener, Transport } from "../transport/transport.ts";
import { type Credentials, headersOf, isAuthorized } from "./credentials.ts";
import { usageFailure } from "./failure.ts";

const schemes = ["ws", "wss", "tcp", "tls", "udp", "http", "https"] as const;
type Scheme = (typeof schemes)[number];

export interface ListenAddress {
  readonly scheme: Scheme;
  readonly host: string;
  readonly port: number;
}

/** For those who listen with a certificate of their own. */
const secureSchemes: readonly string[] = ["wss", "tls", "https"];
/** For those that have no headers, and no room for a token. */
const tokenlessSchemes: readonly string[] = ["tcp", "tls", "udp"];

export function isUrl(text: string): boolean {
  return /^[a-z][a-z0-9+.-]*:\/\//i.test(text);
}

/** `HOST:PORT`, for WebSockets, or with the scheme in front. */
export function parseListenAddress(text: string, credentials: Credentials): ListenAddress {
  const [, scheme = "ws", rest = text] = /^([a-z]+):\/\/(.*)$/.exec(text) ?? [];
  if (!isScheme(scheme)) throw notAnAddress(text);
  const { host, port } = parseSocketAddress(rest, text);
  if (secureSchemes.includes(scheme) && credentials.identity === undefined) {
    throw usageFailure(`${scheme}:// needs --cert and --key`);
  }
  refuseToken(scheme, credentials);
  return { scheme, host, port };
}

/** `HOST:PORT`. `whole`: what it was part of, for the message. */
export function parseSocketAddress(text: string, whole: string = text): SocketAddress {
  const [, bracketed, plain, digits] = /^(?:\[([^\]]+)\]|([^:/]+)):(\d{1,5})$/.exec(text) ?? [];
  const host = bracketed ?? plain;
  const port = Number(digits);
  if (host === undefined || port > 65_535) throw notAnAddress(whole);
  return { host, port };
}

function notAnAddress(text: string): Error {
  return usageFailure(`not an address to listen on: "${text}" (HOST:PORT, port 0 to 65535)`);
}

export function formatAddress({ scheme, host, port }: ListenAddress): string {
  return `${scheme}://${host.includes(":") ? `[${host}]` : host}:${port}`;
}

/** Checked at once, so that a typing mistake is not dialled for ever. */
export function parseUrl(text: string, credentials: Credentials): string {
  let url: URL | undefined;
  try {
    url = new URL(text);
  } catch {
    // Told below.
  }
  const { protocol = "", hostname = "", port = "" } = url ?? {};
  const scheme = protocol.slice(0, -1);
  const needsPort = tokenlessSchemes.includes(scheme);
  if (!isScheme(scheme) || hostname === "" || (needsPort && port === "")) {
    throw usageFailure(
      `not a peer's URL: "${text}" (ws://HOST:PORT, wss://HOST, http://HOST, https://HOST, tcp://HOST:PORT, tls://HOST:PORT, udp://HOST:PORT)`,
    );
  }
  refuseToken(scheme, credentials);
  return text;
}

export async function dialerFor(url: string, credentials: Credentials): Promise<Dialer> {
  const { tls } = credentials;
  const headers = headersOf(credentials);
  switch (new URL(url).protocol) {
    case "tcp:":
      return (await import("../transport/tcp.ts")).tcpTransport(url);
    case "tls:":
      return (await import("../transport/tls.ts")).tlsTransport(url, tls);
    case "udp:":
      return (await import("../transport/udp.ts")).udpTransport(url);
    case "http:":
    case "https:":
      return (await import("../transport/http.ts")).httpTransport(url, { tls, headers });
    default:
      return (await import("../transport/websocket.ts")).webSocketTransport(url, { tls, headers });
  }
}

export async function listenOn(
  { scheme, host, port }: ListenAddress,
  credentials: Credentials,
  onTransport: (transport: Transport) => void,
): Promise<Listener> {
  const { identity, tls } = credentials;
  const own = identity !== undefined && secureSchemes.includes(scheme) ? { tls: identity } : {};
  if (scheme === "tcp") {
    return (await import("../transport/tcp.ts")).listenTcp({ host, port }, onTransport);
  }
  if (scheme === "udp") {
    return (await import("../transport/udp.ts")).listenUdp({ host, port }, onTransport);
  }
  if (scheme === "tls" && identity !== undefined) {
    const options = { ...tls, ...identity };
    return (await import("../transport/tls.ts")).listenTls({ host, port }, onTransport, options);
  }
  if (scheme === "http" || scheme === "https") {
    const { listenHttp } = await import("../http/index.ts");
    const authorize = ({ headers }: Request) =>
      isAuthorized(credentials, headers.get("authorization"));
    return listenHttp({ host, port }, onTransport, { ...own, authorize });
  }
  const { listenWebSocket } = await import("../transport/websocket.ts");
  const authorize = ({ headers }: IncomingMessage) =>
    isAuthorized(credentials, headers.authorization);
  return listenWebSocket({ host, port, ...own, authorize }, onTransport);
}

function isScheme(text: string): text is Scheme {
  return (schemes as readonly string[]).includes(text);
}

/** A token that nobody asks for would look like protection. */
function refuseToken(scheme: string, { token }: Credentials): void {
  if (token === undefined || !tokenlessSchemes.includes(scheme)) return;
  throw usageFailure(`${scheme}:// carries no token; ws, wss, http and https do`);
}
