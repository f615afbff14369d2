/** What TCP and TLS have in common: waiting for a connection, listening, and letting peers in. */
import type { Server, Socket } from "node:net";
import type { Clock } from "../clock.ts";
import { ReplicaError } from "../errors.ts";
import { StreamTransport } from "./stream.ts";
import { failedError, type Listener, type Transport } from "./transport.ts";

export interface SocketAddress {
  readonly host: string;
  readonly port: number;
}

export interface AcceptOptions<SocketType extends Socket> {
  /**
   * Whether this peer may connect; asked before a byte of it is read, and given 10 seconds to
   * decide. @default everyone may
   */
  readonly authorize?: (socket: SocketType) => boolean | Promise<boolean>;
  /** @default the system's clock */
  readonly clock?: Clock;
}

const authorizeMs = 10_000;

/** `scheme://host:port`, or its parts. */
export function parseSocketAddress(address: string | SocketAddress, scheme: string): SocketAddress {
  if (typeof address !== "string") return address;
  const { protocol, hostname, port } = new URL(address);
  if (protocol !== `${scheme}:` || port === "") {
    throw new TypeError(`not ${scheme}://host:port: ${address}`);
  }
  // URL keeps the brackets of an IPv6 address, sockets want it without.
  return { host: hostname.replace(/^\[|\]$/g, ""), port: Number(port) };
}

/** Waits for `event`, which says that the socket is connected, and makes a transport of it. */
export function whenConnected(
  socket: Socket,
  options: {
    event: "connect" | "secureConnect";
    name: string;
    signal: AbortSignal;
    clock: Clock;
    connectTimeoutMs: number;
  },
): Promise<Transport> {
  const { event, name, signal, clock, connectTimeoutMs } = options;
  return new Promise((resolve, reject) => {
    const settle = () => {
      cancelTimer();
      signal.removeEventListener("abort", onAbort);
      socket.off("error", onError);
      socket.off("close", onClose);
    };
    const giveUp = (reason: unknown) => {
      settle();
      // A late error of a socket that was given up is nobody's business.
      socket.on("error", () => undefined);
      socket.destroy();
      reject(reason);
    };
    const onAbort = () => giveUp(signal.reason);
    const onError = (cause: Error) => giveUp(failedError(name, cause));
    const onClose = () => giveUp(new ReplicaError("TRANSPORT_FAILED", `${name} hung up`));
    const cancelTimer = clock.setTimer(connectTimeoutMs, () =>
      giveUp(new ReplicaError("TRANSPORT_FAILED", `${name} did not answer`)),
    );
    signal.addEventListener("abort", onAbort, { once: true });
    socket.once("error", onError);
    socket.once("close", onClose);
    socket.once(event, () => {
      settle();
      resolve(new StreamTransport({ input: socket, output: socket }, { name, clock }));
    });
  });
}

/** Connected sockets of a listener, those whose peers are still being looked at included. */
export class SocketAcceptor<SocketType extends Socket> {
  readonly #scheme: string;
  readonly #clock: Clock;
  readonly #authorize: ((socket: SocketType) => boolean | Promise<boolean>) | undefined;
  readonly #onTransport: (transport: Transport, socket: SocketType) => void;
  readonly #sockets = new Set<Socket>();
  readonly #transports = new Set<StreamTransport>();
  #isClosing = false;

  constructor(
    onTransport: (transport: Transport, socket: SocketType) => void,
    options: AcceptOptions<SocketType> & { scheme: string; clock: Clock },
  ) {
    this.#onTransport = onTransport;
    this.#scheme = options.scheme;
    this.#clock = options.clock;
    this.#authorize = options.authorize;
  }

  /** For sockets in their handshake: the end of the listener is theirs, too. */
  hold(socket: Socket): void {
    this.#sockets.add(socket);
    socket.once("close", () => this.#sockets.delete(socket));
    socket.on("error", () => undefined);
    if (this.#isClosing) socket.destroy();
  }

  /** Lets the peer in, if it may. */
  accept(socket: SocketType): void {
    this.hold(socket);
    if (this.#authorize === undefined) this.#admit(socket);
    else void this.#examine(socket, this.#authorize);
  }

  async close(): Promise<void> {
    this.#isClosing = true;
    await Promise.all([...this.#transports].map((transport) => transport.close()));
    // Those that were not let in yet, and never will be.
    for (const socket of this.#sockets) socket.destroy();
  }

  async #examine(
    socket: SocketType,
    authorize: (socket: SocketType) => boolean | Promise<boolean>,
  ): Promise<void> {
    const cancel = this.#clock.setTimer(authorizeMs, () => socket.destroy());
    let isWelcome = false;
    try {
      isWelcome = await authorize(socket);
    } catch {
      // Whoever cannot be examined is not let in.
    }
    cancel();
    if (!isWelcome) socket.destroy();
    else if (!socket.destroyed) this.#admit(socket);
  }

  #admit(socket: SocketType): void {
    if (this.#isClosing) {
      socket.destroy();
      return;
    }
    const name = `${this.#scheme}://${socket.remoteAddress ?? "?"}:${socket.remotePort ?? 0}`;
    const streams = { input: socket, output: socket };
    const transport = new StreamTransport(streams, { name, clock: this.#clock });
    this.#transports.add(transport);
    socket.once("close", () => this.#transports.delete(transport));
    this.#onTransport(transport, socket);
  }
}

/** Port 0 takes a free one. */
export function listenOn(server: Server, { host, port }: SocketAddress): Promise<number> {
  return new Promise((resolve, reject) => {
    const onError = (cause: Error) => reject(failedError(`listening on ${host}`, cause));
    server.once("error", onError);
    server.listen({ host, port }, () => {
      server.off("error", onError);
      const bound = server.address();
      resolve(typeof bound === "object" && bound !== null ? bound.port : port);
    });
  });
}

/** The listener of a server that is listening. */
export function socketListener(
  server: Server,
  port: number,
  acceptor: { close(): Promise<void> },
): Listener {
  return {
    port,
    close: async () => {
      const stopped = new Promise<void>((resolve) => server.close(() => resolve()));
      await acceptor.close();
      await stopped;
    },
  };
}
