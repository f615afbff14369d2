/**
 * A peer in a process of its own, for tests that kill it: `node peer-process.js FILE PORT [URL…]`
 * cannot run TypeScript on Node 20, so the child is written as text and started from a folder.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const dist = (path: string) => JSON.stringify(pathToFileURL(join("dist", path)).href);

const program = `
import { createRequire } from "node:module";
import { attach } from ${dist("index.js")};
import { listenWebSocket, webSocketTransport } from ${dist("transport/websocket.js")};
const Database = createRequire(${JSON.stringify(join(process.cwd(), "package.json"))})("better-sqlite3");
const [file, port, ...urls] = process.argv.slice(2);
const db = new Database(file);
db.pragma("journal_mode = WAL");
db.pragma("synchronous = NORMAL");
db.exec("CREATE TABLE IF NOT EXISTS item (id TEXT PRIMARY KEY NOT NULL, owner TEXT, n INTEGER)");
const options = JSON.parse(process.env.PEER_OPTIONS ?? "{}");
const replica = attach(db, { tables: ["item"], heartbeatMs: 500, ...options });
const server = await listenWebSocket({ host: "127.0.0.1", port: Number(port) }, (t) => replica.connect(t));
for (const url of urls) replica.connect(webSocketTransport(url));
const insert = db.prepare("INSERT INTO item VALUES (?, ?, ?)");
const update = db.prepare("UPDATE item SET n = n + 1, owner = ? WHERE id = (SELECT id FROM item ORDER BY random() LIMIT 1)");
const remove = db.prepare("DELETE FROM item WHERE id = (SELECT id FROM item WHERE n > 3 LIMIT 1)");
let writing = false;
async function burst({ name, first, count }) {
  writing = true;
  for (let i = first; i < first + count; i++) {
    db.transaction(() => { insert.run(name + "-" + i, name, 0); update.run(name); if (i % 7 === 0) remove.run(); })();
    // Told only once it is committed: what was told must never be lost.
    process.send({ committed: i, token: replica.token() });
    if (i % 5 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  }
  writing = false;
  process.send({ done: name, token: replica.token() });
}
process.on("message", async (message) => {
  if (message.burst) await burst(message.burst);
  if (message.wait) { await replica.wait(message.wait); process.send({ waited: message.wait }); }
  if (message.stop) { await replica.close(); await server.close(); db.close(); process.exit(0); }
});
process.on("disconnect", () => process.exit(1));
process.send({ port: server.port, peerId: replica.peerId });
`;

export interface PeerMessage {
  port?: number;
  peerId?: number;
  committed?: number;
  done?: string;
  token?: string;
  waited?: string;
}

export class PeerProcess {
  readonly messages: PeerMessage[] = [];
  readonly #child: ChildProcess;
  readonly #listeners = new Set<() => void>();

  /** `options`: of `attach`, beyond table and heartbeat. */
  constructor(folder: string, args: readonly string[], options: object = {}) {
    const script = join(folder, "peer.mjs");
    writeFileSync(script, program);
    this.#child = spawn(process.execPath, [script, ...args], {
      stdio: ["ignore", "inherit", "inherit", "ipc"],
      env: { ...process.env, PEER_OPTIONS: JSON.stringify(options) },
    });
    this.#child.on("message", (message) => {
      this.messages.push(message as PeerMessage);
      for (const listener of [...this.#listeners]) listener();
    });
  }

  send(message: object): void {
    this.#child.send(message);
  }

  /** The first message, already come or coming, that `isWanted` accepts. */
  async message(isWanted: (message: PeerMessage) => boolean): Promise<PeerMessage> {
    for (;;) {
      const found = this.messages.find(isWanted);
      if (found !== undefined) return found;
      if (this.#hasEnded) throw new Error("the peer process has ended");
      await new Promise<void>((resolve) => {
        const listener = () => {
          this.#listeners.delete(listener);
          this.#child.off("exit", listener);
          resolve();
        };
        this.#listeners.add(listener);
        this.#child.once("exit", listener);
      });
    }
  }

  get #hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  async kill(): Promise<void> {
    if (this.#hasEnded) return;
    const gone = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await gone;
  }

  async stop(): Promise<void> {
    if (this.#hasEnded) return;
    const gone = once(this.#child, "exit");
    this.send({ stop: true });
    await gone;
  }
}
