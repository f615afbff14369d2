/**
 * Plain TCP. Nothing is encrypted and nobody is authenticated: for a trusted network, or behind a
 * tunnel.
 */
import { connect, createServer, type Server, type Socket } from "node:net";
import { type Clock, systemClock } from "../clock.ts";
import { ReplicaError } from "../errors.ts";
import { FrameReader, frameHeader } from "./framing.ts";
import { Inbox, inboxLimits } from "./inbox.ts";
import { type Dialer, type Listener, messageBytesMax, type Transport } from "./transport.ts";

export type { Dialer, Listener, Transport } from "./transport.ts";

export interface TcpAddress {
  readonly host: string;
  readonly port: number;
}

export interface TcpOptions {
  /** @default the system's clock */
  clock?: Clock;
  /** How long to wait for a connection. @default 10000 */
  connectTimeoutMs?: number;
}

/** How long a closing side waits for the other to read what was sent. */
const lingerMs = 2_000;

/** Dials `tcp://host:port`. */
export function tcpTransport(address: string | TcpAddress, options: TcpOptions = {}): Dialer {
  const { host, port } = typeof address === "string" ? parseAddress(address) : address;
  const { clock = systemClock, connectTimeoutMs = 10_000 } = options;
  const name = `tcp://${host}:${port}`;
  return {
    name,
    async dial(signal) {
      signal.throwIfAborted();
      const socket = connect({ host, port, noDelay: true });
      return whenConnected(socket, { name, signal, clock, connectTimeoutMs });
    },
  };
}

/** `onTransport` gets a transport for every peer that dials. Port 0 takes a free one. */
export function listenTcp(
  address: TcpAddress,
  onTransport: (transport: Transport) => void,
  options: { clock?: Clock } = {},
): Promise<Listener> {
  const { clock = systemClock } = options;
  const transports = new Set<TcpConnection>();
  const server = createServer({ noDelay: true }, (socket) => {
    const name = `tcp://${socket.remoteAddress ?? "?"}:${socket.remotePort ?? 0}`;
    const transport = new TcpConnection(socket, { name, clock });
    transports.add(transport);
    socket.once("close", () => transports.delete(transport));
    onTransport(transport);
  });
  return new Promise((resolve, reject) => {
    server.once("error", (cause) => reject(failed(`listening on ${address.host}`, cause)));
    server.listen({ host: address.host, port: address.port }, () => {
      const bound = server.address();
      const port = typeof bound === "object" && bound !== null ? bound.port : address.port;
      resolve({ port, close: () => closeServer(server, transports) });
    });
  });
}

class TcpConnection implements Transport {
  readonly name: string;
  readonly messages: Inbox;
  readonly #socket: Socket;
  readonly #clock: Clock;
  readonly #frames = new FrameReader();
  #drained: Promise<void> | undefined;
  #isClosing = false;

  constructor(socket: Socket, { name, clock }: { name: string; clock: Clock }) {
    this.name = name;
    this.#socket = socket;
    this.#clock = clock;
    this.messages = new Inbox(inboxLimits, () => socket.resume());
    socket.on("data", (chunk) => this.#receive(chunk));
    socket.on("end", () => this.#endOfStream());
    socket.on("error", (cause) => this.messages.end(failed(name, cause)));
    socket.on("close", () => this.messages.end());
  }

  async send(message: Uint8Array): Promise<void> {
    if (message.byteLength > messageBytesMax) {
      throw new ReplicaError("MESSAGE_TOO_LARGE", `message of ${message.byteLength} bytes`);
    }
    if (this.#isClosing || !this.#socket.writable) throw closed(this.name);
    // One packet for the header and a small message, instead of two.
    this.#socket.cork();
    this.#socket.write(frameHeader(message));
    const hasRoom = this.#socket.write(message);
    this.#socket.uncork();
    if (hasRoom && !this.#socket.writableNeedDrain) return;
    this.#drained ??= this.#whenDrained();
    await this.#drained;
  }

  async close(): Promise<void> {
    if (this.#socket.destroyed) return;
    const gone = new Promise<void>((resolve) => this.#socket.once("close", () => resolve()));
    if (!this.#isClosing) {
      this.#isClosing = true;
      this.messages.end();
      // Unread bytes would turn the FIN into a reset, and the other side might lose a BYE.
      this.#socket.resume();
      this.#socket.end();
      const cancel = this.#clock.setTimer(lingerMs, () => this.#socket.destroy());
      this.#socket.once("close", cancel);
    }
    await gone;
  }

  #receive(chunk: Uint8Array): void {
    if (this.#isClosing) return;
    try {
      // Not a Buffer: its `slice` would share memory where the caller expects a copy.
      const bytes = new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength);
      for (const message of this.#frames.push(bytes)) this.messages.push(message);
    } catch (error) {
      this.messages.end(error instanceof Error ? error : failed(this.name, error));
      this.#socket.destroy();
      return;
    }
    if (this.messages.isFull) this.#socket.pause();
  }

  #endOfStream(): void {
    if (this.#frames.isMidMessage) {
      this.messages.end(new ReplicaError("TRANSPORT_FAILED", `${this.name} ended mid-message`));
    } else {
      this.messages.end();
    }
  }

  #whenDrained(): Promise<void> {
    return new Promise((resolve, reject) => {
      const settle = (isOpen: boolean) => {
        this.#drained = undefined;
        this.#socket.off("drain", onDrain);
        this.#socket.off("close", onClose);
        if (isOpen) resolve();
        else reject(closed(this.name));
      };
      const onDrain = () => settle(true);
      const onClose = () => settle(false);
      this.#socket.on("drain", onDrain);
      this.#socket.on("close", onClose);
    });
  }
}

function whenConnected(
  socket: Socket,
  options: { name: string; signal: AbortSignal; clock: Clock; connectTimeoutMs: number },
): Promise<Transport> {
  const { name, signal, clock, connectTimeoutMs } = options;
  return new Promise((resolve, reject) => {
    const settle = () => {
      cancelTimer();
      signal.removeEventListener("abort", onAbort);
      socket.off("error", onError);
    };
    const giveUp = (reason: unknown) => {
      settle();
      // A late error of a socket that was given up is nobody's business.
      socket.on("error", () => undefined);
      socket.destroy();
      reject(reason);
    };
    const onAbort = () => giveUp(signal.reason);
    const onError = (cause: Error) => giveUp(failed(name, cause));
    const cancelTimer = clock.setTimer(connectTimeoutMs, () =>
      giveUp(new ReplicaError("TRANSPORT_FAILED", `${name} did not answer`)),
    );
    signal.addEventListener("abort", onAbort, { once: true });
    socket.once("error", onError);
    socket.once("connect", () => {
      settle();
      resolve(new TcpConnection(socket, { name, clock }));
    });
  });
}

async function closeServer(server: Server, transports: Set<TcpConnection>): Promise<void> {
  const stopped = new Promise<void>((resolve) => server.close(() => resolve()));
  await Promise.all([...transports].map((transport) => transport.close()));
  await stopped;
}

function parseAddress(url: string): TcpAddress {
  const { protocol, hostname, port } = new URL(url);
  if (protocol !== "tcp:" || port === "") throw new TypeError(`not tcp://host:port: ${url}`);
  // URL keeps the brackets of an IPv6 address, sockets want it without.
  return { host: hostname.replace(/^\[|\]$/g, ""), port: Number(port) };
}

function failed(what: string, cause: unknown): ReplicaError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new ReplicaError("TRANSPORT_FAILED", `${what}: ${why}`, { cause });
}

function closed(name: string): ReplicaError {
  return new ReplicaError("TRANSPORT_CLOSED", `${name} is closed`);
}
