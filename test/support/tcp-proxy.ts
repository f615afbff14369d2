/** A network between a client and a server on loopback that breaks, stalls and crawls. */
import { connect, createServer, type Socket } from "node:net";
import { freePort } from "./servers.ts";

const host = "127.0.0.1";

export class TcpProxy {
  readonly port: number;
  /** So many connections more are cut. */
  cuts = 0;
  /** After how many bytes, at most. */
  cutBytesMax = 2_000_000;
  /** Nothing gets through; nobody is told. */
  stalled = false;
  /** How long each piece takes, in ms. */
  slowMs = 0;
  /** Connections that were cut. */
  happened = 0;
  readonly #sockets = new Set<Socket>();
  readonly #server: ReturnType<typeof createServer>;

  static async start(serverPort: number): Promise<TcpProxy> {
    const port = await freePort();
    const proxy = new TcpProxy(port, serverPort);
    await new Promise<void>((resolve) => proxy.#server.listen(port, host, resolve));
    return proxy;
  }

  /** For `start`. */
  private constructor(port: number, serverPort: number) {
    this.port = port;
    this.#server = createServer((near) => this.#join(near, connect(serverPort, host)));
  }

  /** Ends all connections. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  close(): void {
    this.#server.close();
    this.cut();
  }

  #join(near: Socket, far: Socket): void {
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
      from.on("error", end).on("close", () => {
        this.#sockets.delete(from);
        end();
      });
      from.on("end", () => to.end());
      from.on("data", (piece: Uint8Array) => {
        if (this.cuts > 0 && left === Number.POSITIVE_INFINITY) {
          this.cuts--;
          left = Math.random() * this.cutBytesMax;
        }
        left -= piece.length;
        if (left >= 0) return this.#carry(from, to, piece);
        this.happened++;
        to.write(piece.subarray(0, piece.length + left), end);
        left = 0;
      });
    }
  }

  /** In order: one that waits keeps those behind it waiting. */
  #carry(from: Socket, to: Socket, piece: Uint8Array): void {
    from.pause();
    const deliver = () => {
      if (this.stalled) return void setTimeout(deliver, 10);
      if (to.destroyed) return;
      to.write(piece, () => from.resume());
    };
    if (this.slowMs > 0 || this.stalled) setTimeout(deliver, this.slowMs);
    else deliver();
  }
}
