/** Addresses as the command line takes them. */
import type { Dialer, Listener, Transport } from "../transport/transport.ts";
import { usageFailure } from "./failure.ts";

export interface ListenAddress {
  readonly scheme: "ws" | "tcp";
  readonly host: string;
  readonly port: number;
}

export function isUrl(text: string): boolean {
  return /^[a-z][a-z0-9+.-]*:\/\//i.test(text);
}

/** `HOST:PORT`, for WebSockets, or with the scheme in front. */
export function parseListenAddress(text: string): ListenAddress {
  const [, scheme = "ws", bracketed, plain, digits] =
    /^(?:(ws|tcp):\/\/)?(?:\[([^\]]+)\]|([^:/]+)):(\d{1,5})$/.exec(text) ?? [];
  const host = bracketed ?? plain;
  const port = Number(digits);
  if (host === undefined || port > 65_535 || (scheme !== "ws" && scheme !== "tcp")) {
    throw usageFailure(`not an address to listen on: "${text}" (HOST:PORT, port 0 to 65535)`);
  }
  return { scheme, host, port };
}

export function formatAddress({ scheme, host, port }: ListenAddress): string {
  return `${scheme}://${host.includes(":") ? `[${host}]` : host}:${port}`;
}

/** Checked at once, so that a typing mistake is not dialled for ever. */
export function parseUrl(text: string): string {
  let url: URL | undefined;
  try {
    url = new URL(text);
  } catch {
    // Told below.
  }
  const { protocol = "", hostname = "", port = "" } = url ?? {};
  const isWebSocket = protocol === "ws:" || protocol === "wss:";
  if (hostname !== "" && (isWebSocket || (protocol === "tcp:" && port !== ""))) return text;
  throw usageFailure(`not a peer's URL: "${text}" (ws://HOST:PORT, wss://HOST, tcp://HOST:PORT)`);
}

export async function dialerFor(url: string): Promise<Dialer> {
  if (new URL(url).protocol === "tcp:") {
    return (await import("../transport/tcp.ts")).tcpTransport(url);
  }
  return (await import("../transport/websocket.ts")).webSocketTransport(url);
}

export async function listenOn(
  { scheme, host, port }: ListenAddress,
  onTransport: (transport: Transport) => void,
): Promise<Listener> {
  if (scheme === "tcp") {
    return (await import("../transport/tcp.ts")).listenTcp({ host, port }, onTransport);
  }
  return (await import("../transport/websocket.ts")).listenWebSocket({ host, port }, onTransport);
}
