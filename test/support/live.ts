/** Primaries that are followed over real sockets. */
import Database from "better-sqlite3";
import { serveWal, type WalServer } from "../../src/live/index.ts";
import type { ServeWalOptions } from "../../src/live/options.ts";
import { type Follower, type FollowOptions, follow } from "../../src/restore/follow.ts";
import { Shipper } from "../../src/ship/shipper.ts";
import type { Dialer, Listener } from "../../src/transport/transport.ts";
import { listenWebSocket, webSocketTransport } from "../../src/transport/websocket.ts";
import { expectPages } from "./ship.ts";

const host = "127.0.0.1";

/** Small enough that every bound is met by a test. */
export const eager: ServeWalOptions = { intervalMs: 2, checkpointBytes: 65_536, retryMs: 5 };

export class Served {
  readonly server: WalServer;
  readonly listener: Listener;
  readonly gone: unknown[] = [];

  static async start(
    db: Database.Database | Shipper,
    { port = 0, ...options }: ServeWalOptions & { port?: number } = {},
  ): Promise<Served> {
    const { checkpointBytes: _, ...shared } = eager;
    const defaults = db instanceof Shipper ? shared : eager;
    const server = serveWal(db, { ...defaults, ...options });
    const listener = await listenWebSocket({ host, port }, (transport) => server.accept(transport));
    return new Served(server, listener);
  }

  private constructor(server: WalServer, listener: Listener) {
    this.server = server;
    this.listener = listener;
    server.on("left", ({ error }) => this.gone.push(error));
  }

  get dialer(): Dialer {
    return webSocketTransport(`ws://${host}:${this.listener.port}`);
  }

  follow(file: string, options: FollowOptions = {}): Promise<Follower> {
    return follow(this.dialer, file, options);
  }

  async close(): Promise<void> {
    await this.server.close();
    await this.listener.close();
  }
}

/** The database's pages. */
export function imageOf(file: string): Buffer {
  const db = new Database(file, { readonly: true });
  try {
    return db.serialize();
  } finally {
    db.close();
  }
}

/** What one connection shows is, page for page, what the other one does. */
export function expectSamePages(file: string, db: Database.Database): void {
  expectPages(imageOf(file), db.serialize(), Number(db.pragma("page_size", { simple: true })));
}
