/**
 * UDP, for networks that lose and reorder, where one lost packet should not hold up what follows.
 * Messages of up to 64 MiB travel in fragments of at most 1,200 bytes; lost ones are sent again, at
 * the pace the path carries. While a connection lives each message comes once and whole; messages
 * may overtake each other. Nothing is encrypted and nobody is authenticated, but strangers who
 * cannot see the datagrams can neither speak nor be answered: for a trusted network or a tunnel.
 */
import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { createSocket, type RemoteInfo, type Socket } from "node:dgram";
import { isIPv6 } from "node:net";
import { checkNames } from "../arguments.ts";
import { type Clock, systemClock } from "../clock.ts";
import { parseSocketAddress, type SocketAddress } from "./sockets.ts";
import { type Dialer, failedError, type Listener, type Transport } from "./transport.ts";
import { UdpConnection } from "./udp-connection.ts";
import {
  connectionIdBytes,
  cookieBytes,
  type Datagram,
  decodeDatagram,
  encodeDatagram,
} from "./udp-datagram.ts";

export type { Dialer, Listener, Transport } from "./transport.ts";

export interface UdpOptions {
  /** @default the system's clock */
  readonly clock?: Clock;
  /** How long to wait for an answer. @default 10000 */
  readonly connectTimeoutMs?: number;
}

export interface UdpListenOptions {
  /** Whether a peer at this address may connect. @default everyone may */
  readonly authorize?: (peer: SocketAddress) => boolean;
  /** Peers at a time; others are not answered. @default 1000 */
  readonly connectionsMax?: number;
  /** @default the system's clock */
  readonly clock?: Clock;
}

const receiveBufferBytes = 1024 * 1024;
const helloEveryMs = 250;
/** A cookie is good for this long, or up to twice as long. */
const cookieMs = 10_000;
const noCookie = new Uint8Array(cookieBytes);

/** Dials `udp://host:port`, each time from a port of its own. */
export function udpTransport(address: string | SocketAddress, options: UdpOptions = {}): Dialer {
  const { host, port } = parseSocketAddress(address, "udp");
  checkNames(options, ["clock", "connectTimeoutMs"]);
  const { clock = systemClock, connectTimeoutMs = 10_000 } = options;
  const name = `udp://${host}:${port}`;
  return {
    name,
    dial: (signal) => new Dialing({ host, port }, { name, clock, connectTimeoutMs, signal }).done,
  };
}

/** `onTransport` gets a transport for every peer that dials. Port 0 takes a free one. */
export async function listenUdp(
  { host, port }: SocketAddress,
  onTransport: (transport: Transport) => void,
  options: UdpListenOptions = {},
): Promise<Listener> {
  checkNames(options, ["authorize", "connectionsMax", "clock"]);
  const { authorize, connectionsMax = 1_000, clock = systemClock } = options;
  const socket = openSocket(host);
  await new Promise<void>((resolve, reject) => {
    const failed = (cause: Error) => {
      socket.close();
      reject(failedError(`listening on ${host}`, cause));
    };
    socket.once("error", failed);
    socket.bind(port, host, () => {
      socket.off("error", failed);
      resolve();
    });
  });
  const acceptor = new UdpAcceptor(socket, { onTransport, authorize, connectionsMax, clock });
  return { port: socket.address().port, close: () => acceptor.close() };
}

/** Says hello until it is welcome. */
class Dialing {
  readonly done: Promise<Transport>;
  readonly #socket: Socket;
  readonly #id = Uint8Array.from(randomBytes(connectionIdBytes));
  readonly #options: DialingOptions;
  #cookie: Uint8Array = noCookie;
  #connection: UdpConnection | undefined;
  #hasFailed = false;
  #resolve: (transport: Transport) => void = () => undefined;
  #reject: (reason: unknown) => void = () => undefined;
  readonly #cancels: (() => void)[] = [];

  constructor({ host, port }: SocketAddress, options: DialingOptions) {
    this.#options = options;
    const { signal, clock, connectTimeoutMs, name } = options;
    this.done = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.#socket = openSocket(host);
    this.#socket.on("error", (cause) => this.#fail(failedError(name, cause)));
    this.#socket.on("message", (bytes) => this.#receive(bytes));
    if (signal.aborted) {
      this.#fail(signal.reason);
      return;
    }
    const abort = () => this.#fail(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    this.#cancels.push(() => signal.removeEventListener("abort", abort));
    const timeout = () => this.#fail(failedError(name, "it did not answer"));
    this.#cancels.push(clock.setTimer(connectTimeoutMs, timeout));
    // Connected, the socket hears of nobody else, and of a port where nobody listens.
    // The callback also gets why not, as when nobody knows the name.
    const connected = (cause?: Error) => {
      if (cause === undefined) this.#hello();
      else this.#fail(failedError(name, cause));
    };
    this.#socket.connect(port, host, connected);
  }

  #hello(): void {
    if (this.#connection !== undefined) return;
    this.#transmit({ kind: "hello", cookie: this.#cookie });
    this.#cancels.push(this.#options.clock.setTimer(helloEveryMs, () => this.#hello()));
  }

  #receive(bytes: Uint8Array): void {
    const received = decodeDatagram(bytes);
    if (received === undefined || !isSame(received.id, this.#id)) return;
    const { datagram } = received;
    if (this.#connection !== undefined) this.#connection.onDatagram(datagram);
    else if (datagram.kind === "challenge") {
      this.#cookie = datagram.cookie;
      this.#transmit({ kind: "hello", cookie: this.#cookie });
    } else if (datagram.kind === "welcome") this.#connected();
  }

  #connected(): void {
    for (const cancel of this.#cancels.splice(0)) cancel();
    const { name, clock } = this.#options;
    this.#connection = new UdpConnection({
      name,
      clock,
      transmit: (datagram) => this.#transmit(datagram),
      onGone: () => this.#socket.close(),
    });
    this.#resolve(this.#connection);
  }

  #transmit(datagram: Datagram): void {
    try {
      this.#socket.send(encodeDatagram(this.#id, datagram));
    } catch {
      // Closed in this very moment: a datagram may be lost.
    }
  }

  #fail(reason: unknown): void {
    if (this.#connection !== undefined) {
      this.#connection.fail(reason instanceof Error ? reason : undefined);
      return;
    }
    // Who gave up may hear afterwards that the name is not known.
    if (this.#hasFailed) return;
    this.#hasFailed = true;
    for (const cancel of this.#cancels.splice(0)) cancel();
    this.#reject(reason);
    this.#socket.removeAllListeners();
    this.#socket.on("error", () => undefined);
    this.#socket.close();
  }
}

interface DialingOptions {
  readonly name: string;
  readonly clock: Clock;
  readonly connectTimeoutMs: number;
  readonly signal: AbortSignal;
}

interface AcceptorOptions {
  readonly onTransport: (transport: Transport) => void;
  readonly authorize: ((peer: SocketAddress) => boolean) | undefined;
  readonly connectionsMax: number;
  readonly clock: Clock;
}

/** Keeps nothing of a peer, and sends it no more than it sent, until it has returned a cookie. */
class UdpAcceptor {
  readonly #socket: Socket;
  readonly #options: AcceptorOptions;
  readonly #connections = new Map<string, UdpConnection>();
  readonly #secret = randomBytes(32);
  #closing: Promise<void> | undefined;

  constructor(socket: Socket, options: AcceptorOptions) {
    this.#socket = socket;
    this.#options = options;
    socket.on("message", (bytes, from) => this.#receive(bytes, from));
    // An error of one datagram is its sender's.
    socket.on("error", () => undefined);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await Promise.all([...this.#connections.values()].map((connection) => connection.close()));
    await new Promise<void>((resolve) => this.#socket.close(() => resolve()));
  }

  #receive(bytes: Uint8Array, from: RemoteInfo): void {
    const received = decodeDatagram(bytes);
    if (received === undefined) return;
    const { id, datagram } = received;
    const key = `${from.address} ${from.port} ${Buffer.from(id).toString("hex")}`;
    const connection = this.#connections.get(key);
    if (datagram.kind === "hello") this.#greet(key, id, datagram.cookie, from);
    else if (connection !== undefined) connection.onDatagram(datagram);
    else if (datagram.kind !== "reset") this.#transmit(id, { kind: "reset" }, from);
  }

  #greet(key: string, id: Uint8Array, cookie: Uint8Array, from: RemoteInfo): void {
    if (!this.#isCookie(cookie, key)) {
      this.#transmit(id, { kind: "challenge", cookie: this.#cookie(key, 0) }, from);
      return;
    }
    if (!this.#connections.has(key) && !this.#accept(key, id, from)) return;
    this.#transmit(id, { kind: "welcome" }, from);
  }

  #accept(key: string, id: Uint8Array, from: RemoteInfo): boolean {
    const { authorize, connectionsMax, onTransport, clock } = this.#options;
    if (this.#closing !== undefined || this.#connections.size >= connectionsMax) return false;
    const { address: host, port } = from;
    if (authorize !== undefined && !authorize({ host, port })) return false;
    const connection = new UdpConnection({
      name: `udp://${host}:${port}`,
      clock,
      transmit: (datagram) => this.#transmit(id, datagram, from),
      onGone: () => this.#connections.delete(key),
    });
    this.#connections.set(key, connection);
    onTransport(connection);
    return true;
  }

  #isCookie(cookie: Uint8Array, key: string): boolean {
    return [0, 1].some((age) => timingSafeEqual(cookie, this.#cookie(key, age)));
  }

  #cookie(key: string, age: number): Uint8Array {
    const slot = Math.floor(this.#options.clock.now() / cookieMs) - age;
    const digest = createHmac("sha256", this.#secret).update(`${slot} ${key}`).digest();
    return digest.subarray(0, cookieBytes);
  }

  #transmit(id: Uint8Array, datagram: Datagram, { port, address }: RemoteInfo): void {
    try {
      this.#socket.send(encodeDatagram(id, datagram), port, address, () => undefined);
    } catch {
      // Closed in this very moment: a datagram may be lost.
    }
  }
}

function openSocket(host: string): Socket {
  const socket = createSocket(isIPv6(host) ? "udp6" : "udp4");
  socket.once("listening", () => {
    try {
      socket.setRecvBufferSize(receiveBufferBytes);
    } catch {
      // The system allows less: more is lost, and sent again.
    }
  });
  return socket;
}

function isSame(left: Uint8Array, right: Uint8Array): boolean {
  return Buffer.compare(left, right) === 0;
}
