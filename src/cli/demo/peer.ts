/** A process of the demo: one peer with its own copy, that writes and does as it is told. */
import { rmSync } from "node:fs";
import { systemClock } from "../../clock.ts";
import { messageOf } from "../../errors.ts";
import { attach, type Replica } from "../../index.ts";
import { type Database, openDatabase, quoteName } from "../database.ts";
import type { Cell, FromPeer, Report, ToPeer } from "./messages.ts";
import { Network } from "./network.ts";
import { seededRandom } from "./random.ts";
import { type SqlValue, unmarked } from "./values.ts";
import { Writer } from "./writer.ts";

const reportMs = 100;
const writeMs = 20;
const writesPerTurn = 3;

/** Where the copies are, until this one is closed in good order. */
let folder: string | undefined;

class Peer {
  readonly #name: string;
  readonly #db: Database.Database;
  readonly #replica: Replica;
  readonly #writer: Writer;
  readonly #network: Network;
  readonly #linked = new Set<number>();
  #lost = 0;
  #parked = 0;
  #isWriting = false;

  constructor(message: ToPeer & { type: "start" }, db: Database.Database) {
    const { index, name, seed, reserved } = message;
    this.#name = name;
    this.#db = db;
    this.#replica = attach(db);
    this.#network = new Network(index, this.#replica);
    const random = seededRandom(seed * 1_000 + index);
    this.#writer = new Writer(db, {
      tables: this.#replica.tables(),
      random,
      name,
      reserved,
    });
    this.#replica.on("merge", ({ lost, parked }) => {
      this.#lost += lost;
      this.#parked += parked;
    });
    this.#replica.on("link", ({ peerId, live }) => {
      if (live) this.#linked.add(peerId);
      else this.#linked.delete(peerId);
    });
  }

  async start(): Promise<void> {
    send({ type: "ready", url: await this.#network.listen() });
    this.#repeat(reportMs, () => send({ type: "report", report: this.#report() }));
    this.#repeat(writeMs, () => {
      for (let i = 0; this.#isWriting && i < writesPerTurn; i++) this.#writer.write();
    });
  }

  async receive(message: ToPeer): Promise<void> {
    switch (message.type) {
      case "start":
        return;
      case "dial":
        for (const { index, url } of message.peers) this.#network.dial(index, url);
        return;
      case "write":
        this.#isWriting = true;
        return;
      case "pause":
        this.#isWriting = false;
        send({ type: "paused", report: this.#report() });
        return;
      case "cut":
        this.#network.cut(message.from);
        return;
      case "edit":
        send({ type: "edited", value: this.#edit(message.cell) });
        return;
      case "close": {
        const report = this.#report();
        await this.#network.close();
        this.#db.close();
        folder = undefined;
        send({ type: "closed", report });
      }
    }
  }

  /** Writes what this peer alone would write there. */
  #edit({ table, key, column }: Cell): SqlValue {
    const name = quoteName(table);
    const where = Object.keys(key)
      .map((part) => `${quoteName(part)} = ?`)
      .join(" AND ");
    const keys = Object.values(key);
    const select = `SELECT ${quoteName(column)} FROM ${name} WHERE ${where}`;
    const before = this.#db
      .prepare(select)
      .pluck()
      .safeIntegers()
      .get(...keys);
    const value =
      typeof before === "string"
        ? `${unmarked(before)} ~${this.#name}`
        : typeof before === "bigint"
          ? before + BigInt(this.#name.charCodeAt(0) - 64)
          : null;
    if (value === null) return null;
    const update = `UPDATE ${name} SET ${quoteName(column)} = ? WHERE ${where}`;
    try {
      return this.#db.prepare(update).run(value, ...keys).changes === 1 ? value : null;
    } catch {
      return null;
    }
  }

  #report(): Report {
    const origins = this.#replica.vector();
    return {
      ...this.#writer.counts,
      peerId: this.#replica.peerId,
      sequence: origins[0]?.held ?? 0,
      merged: origins.map((origin) => [origin.peerId, origin.merged]),
      lost: this.#lost,
      parked: this.#parked,
      links: this.#linked.size,
    };
  }

  #repeat(ms: number, action: () => void): void {
    systemClock.setTimer(ms, () => {
      if (!this.#db.open) return;
      attempt(action);
      this.#repeat(ms, action);
    });
  }
}

function send(message: FromPeer): void {
  if (process.connected) process.send?.(message);
}

/** What goes wrong here is told there, where someone looks. */
function attempt(action: () => void | Promise<void>): void {
  const fail = (error: unknown) => {
    send({ type: "failed", message: messageOf(error) });
  };
  try {
    Promise.resolve(action()).catch(fail);
  } catch (error) {
    fail(error);
  }
}

let peer: Peer | undefined;

process.on("message", (message: ToPeer) => {
  attempt(async () => {
    if (message.type !== "start") return peer?.receive(message);
    folder = message.folder;
    peer = new Peer(message, await openDatabase(message.file, {}));
    await peer.start();
  });
});
// The main process ends the demo in good order; this one must not be gone before.
process.on("SIGINT", () => undefined);
// The main process has warned already.
process.removeAllListeners("warning");
process.on("disconnect", () => {
  // The main process is gone, and nobody else will clean up.
  if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
  process.exit();
});
