/** An HTTP endpoint with a port of its own. */
import { createServer } from "node:http";
import { createServer as createSecureServer } from "node:https";
import { systemClock } from "../clock.ts";
import { listenOn, type SocketAddress } from "../transport/sockets.ts";
import type { Listener, Transport } from "../transport/transport.ts";
import { type HttpEndpointOptions, httpEndpoint } from "./endpoint.ts";

export interface HttpListenOptions extends HttpEndpointOptions {
  /** Certificate chain and key, as PEM, for `https://`. @default plain `http://` */
  readonly tls?: { readonly cert: string | Buffer; readonly key: string | Buffer };
}

/** How long the last answers may take to get out. */
const lingerMs = 200;

/** Answers on every path. Port 0 takes a free one. */
export async function listenHttp(
  address: SocketAddress,
  onTransport: (transport: Transport, request: Request) => void,
  { tls, ...options }: HttpListenOptions = {},
): Promise<Listener> {
  const endpoint = httpEndpoint(onTransport, options);
  const server =
    tls === undefined
      ? createServer(endpoint.listener)
      : createSecureServer({ ...tls }, endpoint.listener);
  // A body waits for its reader, however long that takes; the head may not.
  server.requestTimeout = 0;
  const port = await listenOn(server, address);
  return {
    port,
    close: async () => {
      // Peers come to fetch the goodbye, each on a connection that may be new.
      await endpoint.close();
      const stopped = new Promise<void>((resolve) => server.close(() => resolve()));
      const { clock = systemClock } = options;
      const cancel = clock.setTimer(lingerMs, () => server.closeAllConnections());
      await stopped;
      cancel();
    },
  };
}
