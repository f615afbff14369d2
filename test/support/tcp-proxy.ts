/**
 * A network between a client and a server on loopback that breaks, stalls and crawls. FTP's data
 * have connections of their own, to ports that the server names: they go through it, too.
 */
import { connect, createServer, type Server, type Socket } from "node:net";
import { freePort } from "./servers.ts";

const host = "127.0.0.1";

export class TcpProxy {
  readonly port: number;
  /** After how many bytes, at most. */
  cutBytesMax = 2_000_000;
  /** Nothing gets through; nobody is told. */
  stalled = false;
  /** How long each piece takes, in ms. */
  slowMs = 0;
  /** The same for FTP's data. */
  dataCutBytesMax = 2_000_000;
  /** FTP's data end there as if that were all, and who sends the rest is not told. */
  swallowsData = false;
  /** Connections that were cut, those for FTP's data among them. */
  happened = 0;
  dataHappened = 0;
  #cuts = 0;
  #dataCuts = 0;
  readonly #sockets = new Set<Socket>();
  readonly #servers = new Set<Server>();
  /** Those of which a piece is under way; an end may come before it has arrived. */
  readonly #carrying = new Set<Socket>();

  static async start(serverPort: number): Promise<TcpProxy> {
    const port = await freePort();
    const proxy = new TcpProxy(port);
    const join = (near: Socket) => proxy.#join(near, connect(serverPort, host), "any");
    await proxy.#listen(port, createServer(join));
    return proxy;
  }

  /** For `start`. */
  private constructor(port: number) {
    this.port = port;
  }

  /** So many connections more are cut, and as many of those for FTP's data. */
  set cuts(count: number) {
    this.#cuts = count;
    this.#dataCuts = count;
  }

  /** Ends all connections. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  close(): void {
    for (const server of this.#servers) server.close();
    this.cut();
  }

  async #listen(port: number, server: Server): Promise<void> {
    this.#servers.add(server);
    await new Promise<void>((resolve) => server.listen(port, host, resolve));
  }

  /** Whether a connection is one of those that are cut, now that it has begun. */
  #takeCut(kind: "any" | "data"): boolean {
    if (kind === "data") return this.#dataCuts > 0 && this.#dataCuts-- > 0;
    return this.#cuts > 0 && this.#cuts-- > 0;
  }

  #join(near: Socket, far: Socket, kind: "any" | "data"): void {
    const end = () => {
      near.destroy();
      far.destroy();
    };
    let left = Number.POSITIVE_INFINITY;
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      this.#sockets.add(from);
      from.on("error", end).on("close", (hadError) => {
        this.#sockets.delete(from);
        // What is under way arrives, unless the connection broke.
        if (hadError) end();
        else this.#endAfter(from, to);
      });
      from.on("end", () => this.#endAfter(from, to));
      from.on("data", (piece: Uint8Array) => {
        if (left === Number.POSITIVE_INFINITY && this.#takeCut(kind)) {
          left = Math.random() * (kind === "data" ? this.dataCutBytesMax : this.cutBytesMax);
        }
        left -= piece.length;
        const port = from === far && kind === "any" ? passivePort(piece) : undefined;
        if (left >= 0 && port !== undefined) return void this.#carryPort(from, to, port);
        if (left >= 0) return this.#carry(from, to, piece);
        if (left === Number.NEGATIVE_INFINITY) return;
        this.happened++;
        if (kind === "data") this.dataHappened++;
        const last = piece.subarray(0, piece.length + left);
        if (kind === "data" && this.swallowsData) {
          left = Number.NEGATIVE_INFINITY;
          to.end(last);
        } else {
          left = 0;
          to.write(last, end);
        }
      });
    }
  }

  /** The server waits for data on a port: the client is told of another one. */
  async #carryPort(from: Socket, to: Socket, dataPort: number): Promise<void> {
    from.pause();
    this.#carrying.add(from);
    const port = await freePort();
    const server = createServer((near) => {
      server.close();
      this.#servers.delete(server);
      this.#join(near, connect(dataPort, host), "data");
    });
    await this.#listen(port, server);
    this.#carry(from, to, Buffer.from(`229 Entering Extended Passive Mode (|||${port}|)\r\n`));
  }

  #endAfter(from: Socket, to: Socket): void {
    if (this.#carrying.has(from)) setTimeout(() => this.#endAfter(from, to), 5);
    else to.end();
  }

  /** In order: one that waits keeps those behind it waiting. */
  #carry(from: Socket, to: Socket, piece: Uint8Array): void {
    from.pause();
    this.#carrying.add(from);
    const deliver = () => {
      if (this.stalled && !to.destroyed) return void setTimeout(deliver, 10);
      this.#carrying.delete(from);
      if (to.destroyed) return;
      to.write(piece, () => from.resume());
    };
    if (this.slowMs > 0 || this.stalled) setTimeout(deliver, this.slowMs);
    else deliver();
  }
}

/** Of FTP's answer to EPSV. */
function passivePort(bytes: Uint8Array): number | undefined {
  if (bytes.length > 200) return undefined;
  const [, port] = /^229 .*\(\|\|\|(\d+)\|\)/.exec(Buffer.from(bytes).toString("latin1")) ?? [];
  return port === undefined ? undefined : Number(port);
}
