/** One simulated peer: a real replica on a real file, on a clock of its own. */
import { join } from "node:path";
import Database from "better-sqlite3";
import { attach } from "../../src/attach.ts";
import { native } from "../../src/native.ts";
import type { Replica } from "../../src/replica.ts";
import { handleOf } from "../support/replica.ts";
import {
  ageBoot,
  type Held,
  heldInFile,
  putImage,
  removeFile,
  replaceFile,
  takeImage,
  walEnds,
} from "./files.ts";
import type { Network } from "./network.ts";
import type { PeerPlan, Plan, Step } from "./plan.ts";
import type { Chance } from "./random.ts";
import { createTables, type Lacks, lacksOf, migrate, type Statement, toSql } from "./schema.ts";
import { PeerClock } from "./time.ts";

export interface PeerOwner {
  readonly folder: string;
  readonly network: Network;
  readonly plan: Plan;
  readonly chance: Chance;
  trace(text: string): void;
  fail(text: string): void;
  /** The file has new changesets of its own. */
  onCommit(peer: Peer): void;
}

/** What a running peer has open. */
export interface Running {
  readonly db: Database.Database;
  readonly handle: number;
  readonly replica: Replica;
}

/** What may go wrong with a link without anything being wrong with a replica. */
const expectedErrors: readonly string[] = ["TRANSPORT_FAILED", "TRANSPORT_CLOSED", "LINK_CLOSED"];

export class Peer {
  readonly number: number;
  readonly clock: PeerClock;
  readonly file: string;
  /** Peers that this one dials. */
  readonly dials = new Set<number>();
  running: Running | undefined;
  /** Left for good. */
  gone = false;
  /** What the file held when it was closed. */
  heldWhenDown: Held = new Map();
  backup: { readonly main: Uint8Array } | undefined;
  readonly #owner: PeerOwner;
  readonly #plan: PeerPlan;
  #starts = 0;
  #closing: Promise<void> | undefined;

  constructor(owner: PeerOwner, number: number, plan: PeerPlan) {
    this.#owner = owner;
    this.number = number;
    this.#plan = plan;
    this.file = join(owner.folder, `${number}.db`);
    this.clock = new PeerClock(owner.network.time, plan.stepMs);
    this.clock.set({ offsetMs: plan.offsetMs, rate: plan.rate });
  }

  get peerId(): number {
    return this.running?.replica.peerId ?? 0;
  }

  /** What the file holds, whether it is open or not. */
  get held(): Held {
    if (this.running === undefined) return this.heldWhenDown;
    const marks = this.running.replica.vector();
    return new Map(marks.map(({ peerId, held }) => [peerId, held]));
  }

  create(): void {
    const db = new Database(this.file);
    db.pragma("journal_mode = WAL");
    const names = createTables(db, this.#plan.lacks);
    this.#attach(db, names);
    // A power cut may take what is written from here on, not the deployment.
    db.pragma("wal_checkpoint(TRUNCATE)");
  }

  start(): void {
    if (this.running !== undefined || this.gone) return;
    if (this.#closing !== undefined) return void this.#closing.then(() => this.start());
    const db = new Database(this.file);
    db.pragma("journal_mode = WAL");
    this.#attach(db, []);
  }

  /** Links and database are closed in good order, which takes a while. */
  close(): void {
    if (this.running === undefined) return;
    const { db, replica } = this.running;
    this.heldWhenDown = this.held;
    this.running = undefined;
    this.#closing = replica.close().then(() => {
      this.#owner.network.unplug(this.number);
      this.clock.cancelAll();
      db.close();
      this.#closing = undefined;
    });
  }

  /** SIGKILL: the file stays as the operating system has it. */
  async kill({ inside }: { inside: boolean }): Promise<void> {
    if (this.running === undefined) return;
    const { db } = this.running;
    if (inside) {
      db.exec("BEGIN; INSERT OR REPLACE INTO note (id, a) VALUES (1, 'never committed')");
    }
    const image = takeImage(this.file);
    if (inside) db.exec("ROLLBACK");
    await this.drop();
    putImage(this.file, image);
  }

  /** The machine loses power: of commits that were never synced, as many stay as `keep` says. */
  async cutPower(keep: number): Promise<void> {
    if (this.running === undefined) return;
    const image = takeImage(this.file);
    const ends = walEnds(this.file, image.wal);
    const end = ends.length === 0 ? image.wal.byteLength : (ends[keep % ends.length] ?? 0);
    await this.drop();
    putImage(this.file, { main: image.main, wal: image.wal.subarray(0, end) });
    ageBoot(this.file);
    this.heldWhenDown = heldInFile(this.file);
  }

  /** An older copy takes the place of the file. */
  async restore(): Promise<void> {
    const { backup } = this;
    if (backup === undefined) return;
    await this.drop();
    replaceFile(this.file, backup.main);
    this.heldWhenDown = heldInFile(this.file);
  }

  takeBackup(): void {
    if (this.running !== undefined) this.backup = { main: this.running.db.serialize() };
  }

  /** Becomes a copy of another peer's file. */
  copyFrom(other: Peer): void {
    if (other.running === undefined) return;
    replaceFile(this.file, other.running.db.serialize());
    this.start();
  }

  async leave(): Promise<void> {
    await this.drop();
    this.gone = true;
    this.heldWhenDown = new Map();
    removeFile(this.file);
  }

  dial(other: number, kind: "stream" | "datagram"): void {
    this.dials.add(other);
    this.running?.replica.connect(this.#owner.network.dialer(this.number, other, kind));
  }

  write(steps: readonly Step[], end: "COMMIT" | "ROLLBACK" | "none", bytes: number): void {
    if (this.running === undefined) return;
    const { db } = this.running;
    const lacks = lacksOf(db);
    if (end !== "none") db.exec("BEGIN");
    if (bytes > 0) fill(db, bytes);
    for (const [level, step] of steps.entries()) runStep(db, step, lacks, level);
    if (end !== "none") db.exec(end);
    this.#owner.onCommit(this);
  }

  /** Many transactions at once; as many rows in turn. */
  burst(count: number, statement: Statement): void {
    if (this.running === undefined) return;
    const { db } = this.running;
    const lacks = lacksOf(db);
    for (let i = 0; i < count; i++) {
      runStep(db, { ...statement, key: statement.key + i, value: i }, lacks, 0);
    }
    this.#owner.onCommit(this);
  }

  checkpoint(): void {
    this.running?.db.pragma("wal_checkpoint(PASSIVE)");
  }

  migrate(): void {
    if (this.running !== undefined && migrate(this.running.db)) this.#owner.onCommit(this);
  }

  /** The wall clock that SQLite sees. */
  tellTime(): void {
    if (this.running !== undefined) native.setClock(this.running.handle, this.clock.now());
  }

  /** Ends at once. Nobody is told, and the file is left to the caller. */
  async drop(): Promise<void> {
    if (this.#closing !== undefined) {
      this.#owner.network.unplug(this.number);
      await this.#closing;
    }
    if (this.running === undefined) return;
    const { db, replica } = this.running;
    this.heldWhenDown = this.held;
    this.running = undefined;
    this.#owner.network.unplug(this.number);
    this.clock.cancelAll();
    await replica.close();
    this.clock.cancelAll();
    db.close();
  }

  #attach(db: Database.Database, tables: readonly string[]): void {
    db.pragma("synchronous = OFF");
    // They would be made on another thread, whenever it runs: here they are a part of the plan.
    db.pragma("wal_autocheckpoint = 0");
    const { plan, network } = this.#owner;
    const chance = this.#owner.chance.stream(`peer${this.number}.${this.#starts++}`);
    const handle = handleOf(db);
    native.setSeed(handle, chance.wide());
    native.setClock(handle, this.clock.now());
    const replica = attach(db, {
      tables,
      watchFile: false,
      clock: this.clock,
      random: chance.next,
      heartbeatMs: plan.heartbeatMs,
      driftMaxMs: plan.driftMaxMs,
      mergeSliceMs: this.#plan.mergeSliceMs,
    });
    this.running = { db, handle, replica };
    this.#owner.trace(`start ${this.number} as ${replica.peerId}`);
    network.listen(this.number, (transport) => replica.connect(transport));
    this.#listen(replica);
    for (const other of this.dials) this.dial(other, this.kindTo(other));
    this.#owner.onCommit(this);
  }

  kindTo(other: number): "stream" | "datagram" {
    const { kind } = this.#owner.plan;
    if (kind !== "both") return kind;
    return (this.number + other) % 2 === 0 ? "stream" : "datagram";
  }

  #listen(replica: Replica): void {
    const { number } = this;
    replica.on("identity", ({ peerId }) => this.#owner.trace(`identity ${number} is ${peerId}`));
    replica.on("link", ({ peerId, live, ...end }) => {
      const code = "code" in end ? ` ${end.code}` : "";
      this.#owner.trace(`link ${number} with ${peerId} ${live ? "live" : "over"}${code}`);
      if (code === " PROTOCOL_MALFORMED")
        this.#owner.fail(`peer ${number}: ${JSON.stringify(end)}`);
    });
    replica.on("error", ({ error }) => {
      this.#owner.trace(`error ${number} ${error.code} ${error.message}`);
      if (expectedErrors.includes(error.code)) return;
      this.#owner.fail(`error event at peer ${number}: ${error.code} ${error.message}`);
    });
    replica.on("refused", ({ origin, sequence, reason }) =>
      this.#owner.fail(`peer ${number} refused ${origin}.${sequence}: ${reason}`),
    );
  }
}

function fill(db: Database.Database, bytes: number): void {
  const insert = db.prepare("INSERT OR REPLACE INTO note (id, a, b) VALUES (?, ?, ?)");
  const rows = Math.ceil(bytes / 65_536);
  for (let row = 0; row < rows; row++) {
    insert.run(100 + row, row, "m".repeat(Math.ceil(bytes / rows)));
  }
}

/** A statement that violates a constraint is undone by itself, and the transaction goes on. */
function runStep(db: Database.Database, step: Step, lacks: Lacks, level: number): void {
  const name = `s${level % 2}`;
  const sql =
    typeof step !== "string"
      ? toSql(step, lacks)
      : step === "savepoint"
        ? `SAVEPOINT ${name}`
        : `${step} ${name}`;
  try {
    db.exec(sql);
  } catch (error) {
    const { code, message } = error as { code?: unknown; message?: unknown };
    const isExpected =
      String(code).startsWith("SQLITE_CONSTRAINT") ||
      String(message).startsWith("no such savepoint");
    if (!isExpected) throw error;
  }
}
