/**
 * WebSockets: one binary message each, whole, once and in order, through proxies and beside an
 * application's HTTP. Dials with any WHATWG `WebSocket`; listens with `ws`.
 */
import { WebSocket as NodeWebSocket } from "ws";
import { checkNames } from "../arguments.ts";
import { type Clock, systemClock } from "../clock.ts";
import { connectionOptions, type TlsCredentials } from "./tls.ts";
import { type Dialer, messageBytesMax } from "./transport.ts";
import { WebSocketConnection, type WebSocketLike } from "./websocket-connection.ts";

export { authorizeBearer } from "./bearer.ts";
export type { Dialer, Listener, Transport } from "./transport.ts";
export type { WebSocketLike } from "./websocket-connection.ts";
export { listenWebSocket, type WebSocketListenOptions } from "./websocket-server.ts";

export interface WebSocketOptions {
  /**
   * Any WHATWG WebSocket. The one of `ws` can be told to pause, so a slow reader slows its sender
   * down; with others the link ends when messages are not read.
   * @default that of `ws`
   */
  WebSocket?: WebSocketConstructor;
  /**
   * Sent with the handshake, where the constructor knows them (`ws`, Bun, Node.js). @default none
   */
  headers?: Record<string, string>;
  /** What to say about certificates with `wss://`; for `ws` only. @default the system's trust */
  tls?: TlsCredentials;
  /** How long to wait for the handshake. @default 10000 */
  connectTimeoutMs?: number;
  /** @default the system's clock */
  clock?: Clock;
}

/** WebSockets take those of HTTP for their own. */
const protocols = ["ws:", "wss:", "http:", "https:"];

export type WebSocketConstructor = new (
  url: string,
  options?: { headers?: Record<string, string> },
) => WebSocketLike;

/** @throws TypeError, INVALID_OPTION */
export function webSocketTransport(url: string, options: WebSocketOptions = {}): Dialer {
  checkNames(options, ["WebSocket", "headers", "tls", "connectTimeoutMs", "clock"]);
  const { protocol } = new URL(url);
  if (!protocols.includes(protocol)) throw new TypeError(`not ws:// or wss://: ${url}`);
  return {
    name: url,
    async dial(signal) {
      signal.throwIfAborted();
      const socket = createSocket(url, options);
      const transport = new WebSocketConnection(socket, {
        name: url,
        clock: options.clock ?? systemClock,
      });
      await transport.opened(signal, options.connectTimeoutMs ?? 10_000);
      return transport;
    },
  };
}

function createSocket(url: string, { WebSocket, headers, tls }: WebSocketOptions): WebSocketLike {
  if (WebSocket !== undefined) {
    return headers === undefined ? new WebSocket(url) : new WebSocket(url, { headers });
  }
  return new NodeWebSocket(url, {
    perMessageDeflate: false,
    maxPayload: messageBytesMax,
    ...(headers === undefined ? {} : { headers }),
    ...(tls === undefined ? {} : connectionOptions(new URL(url).hostname, tls)),
  });
}
