/** One simulated peer: a real replica on a real file, on a clock of its own. */
import { join } from "node:path";
import Database from "better-sqlite3";
import { attach } from "../../src/attach.ts";
import { native } from "../../src/native.ts";
import type { Replica } from "../../src/replica.ts";
import { handleOf } from "../support/replica.ts";
import {
  ageBoot,
  edit,
  type Held,
  heldInFile,
  isTransferUnderWay,
  passFor,
  putImage,
  removeFile,
  replaceFile,
  takeImage,
  type WalPosition,
  walEnds,
  walPosition,
} from "./files.ts";
import type { Journal } from "./journal.ts";
import { trimmedOf } from "./ledger.ts";
import type { Network } from "./network.ts";
import type { PeerPlan, Plan } from "./plan.ts";
import type { Chance } from "./random.ts";
import { createTables, migrate, type Statement } from "./schema.ts";
import { changesOf } from "./statements.ts";
import { PeerClock } from "./time.ts";
import {
  migrations,
  type VersionedWrite,
  type Versions,
  versionedSql,
  versionOf,
} from "./versions.ts";
import { burst, type Transaction, write } from "./writes.ts";

export interface PeerOwner {
  readonly folder: string;
  readonly network: Network;
  readonly plan: Plan;
  readonly chance: Chance;
  readonly journal: Journal;
  readonly versions: Versions;
  trace(text: string): void;
  fail(text: string): void;
  /** The file has new changesets of its own. */
  onCommit(peer: Peer): void;
  /** The peer has another id now. */
  onIdentity(peer: Peer, former: number): void;
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
  backup: { readonly main: Uint8Array; readonly peerId: number } | undefined;
  readonly plan: PeerPlan;
  /** The id it goes by, or went by when it was last open; 0 when the next start brings another. */
  lastId = 0;
  /** Up to where rows came instead of the log. */
  readonly transferred = new Map<number, number>();
  readonly #owner: PeerOwner;
  #starts = 0;
  /** What attaching has synced. */
  #attached: WalPosition | undefined;
  #closing: Promise<void> | undefined;
  #lookedAt: Running | undefined;
  #changes = 0;

  constructor(owner: PeerOwner, number: number, plan: PeerPlan) {
    this.#owner = owner;
    this.number = number;
    this.plan = plan;
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

  /** Whether the file may hold anything else than when this was asked last. */
  hasChanged(): boolean {
    const { running } = this;
    const changes = running === undefined ? 0 : changesOf(running.db);
    if (running === this.#lookedAt && changes === this.#changes) return false;
    this.#lookedAt = running;
    this.#changes = changes;
    return true;
  }

  /** Rows may show whose transactions do not. */
  get isReceivingState(): boolean {
    return this.running !== undefined && isTransferUnderWay(this.running.db);
  }

  create(): void {
    const db = new Database(this.file);
    db.pragma("journal_mode = WAL");
    const names = createTables(db, this.plan.lacks);
    this.#attach(db, names);
    if (this.plan.version !== undefined) this.upgrade(this.plan.version);
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
    this.#owner.journal.look(this);
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
      db.exec("INSERT INTO journal VALUES (-1, NULL)");
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
    const ends = walEnds(this.file, image.wal, this.#attached);
    const end = ends.length === 0 ? image.wal.byteLength : (ends[keep % ends.length] ?? 0);
    await this.drop();
    putImage(this.file, { main: image.main, wal: image.wal.subarray(0, end) });
    ageBoot(this.file);
    this.#hasChanged();
  }

  /** An older copy takes the place of the file; or is written over it, and nothing shows. */
  async restore({ inPlace = false }: { inPlace?: boolean | undefined }): Promise<void> {
    const { backup } = this;
    if (backup === undefined) return;
    await this.drop();
    if (inPlace) putImage(this.file, { main: Buffer.from(backup.main), wal: Buffer.alloc(0) });
    else replaceFile(this.file, backup.main);
    this.#hasChanged();
    if (inPlace) this.lastId = backup.peerId;
  }

  /** What no program does: tables of the file are changed without a trace. */
  async sabotage(sql: string): Promise<void> {
    await this.drop();
    edit(this.file, sql);
    this.start();
  }

  #hasChanged(): void {
    this.heldWhenDown = heldInFile(this.file);
    this.lastId = 0;
  }

  takeBackup(): void {
    if (this.running === undefined) return;
    this.backup = { main: this.running.db.serialize(), peerId: this.peerId };
  }

  /** Becomes a copy of another peer's file; `twin`: and takes itself for it. */
  copyFrom(other: Peer, { twin = false }: { twin?: boolean | undefined }): void {
    if (other.running === undefined) return;
    replaceFile(this.file, other.running.db.serialize());
    if (twin) passFor(this.file);
    for (const [origin, sequence] of other.transferred) this.transferred.set(origin, sequence);
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

  write(transaction: Transaction, erase: number | undefined): void {
    if (this.running === undefined) return;
    const { db } = this.running;
    write(db, transaction, () => this.#owner.journal.enter(db, this, erase));
    this.#owner.onCommit(this);
  }

  burst(count: number, statement: Statement): void {
    if (this.running === undefined) return;
    burst(this.running.db, count, statement);
    this.#owner.onCommit(this);
  }

  checkpoint(): void {
    this.running?.db.pragma("wal_checkpoint(PASSIVE)");
  }

  migrate(): void {
    if (this.running !== undefined && migrate(this.running.db)) this.#owner.onCommit(this);
  }

  /** Nothing, where the plan has no versions. */
  upgrade(to: number): void {
    if (this.running === undefined || this.#owner.plan.version === undefined) return;
    if (versionOf(this.running.db) === to) return;
    this.#owner.versions.note(to);
    this.running.replica.migrate(migrations, { to });
    this.#owner.trace(`version ${this.number} is ${to}`);
    this.#owner.onCommit(this);
  }

  writeVersioned(write: VersionedWrite): void {
    if (this.running === undefined) return;
    const sql = versionedSql(this.running.db, write);
    if (sql === undefined) return;
    this.running.db.exec(sql);
    this.#owner.onCommit(this);
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
    this.#owner.journal.look(this);
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
      mergeSliceMs: this.plan.mergeSliceMs,
      trim: this.plan.trim,
      retentionMs: this.plan.retentionMs,
      tombstones: plan.floors ? "drop" : "keep",
    });
    this.running = { db, handle, replica };
    this.#attached = walPosition(this.file);
    this.lastId = replica.peerId;
    this.#owner.trace(`start ${this.number} as ${replica.peerId}`);
    network.listen(this.number, (transport) => replica.connect(transport));
    this.#listen(replica, handle);
    for (const other of this.dials) this.dial(other, this.kindTo(other));
    this.#owner.onCommit(this);
  }

  kindTo(other: number): "stream" | "datagram" {
    const { kind } = this.#owner.plan;
    if (kind !== "both") return kind;
    return (this.number + other) % 2 === 0 ? "stream" : "datagram";
  }

  #listen(replica: Replica, handle: number): void {
    const { number } = this;
    replica.on("identity", ({ peerId }) => {
      this.#owner.trace(`identity ${number} is ${peerId}`);
      const former = this.lastId;
      this.lastId = peerId;
      this.#owner.onIdentity(this, former);
    });
    replica.on("membership", ({ peerId, member, reissued }) =>
      this.#owner.trace(`member ${number} ${peerId} ${member} ${reissued}`),
    );
    replica.on("state", ({ rows, done }) => {
      this.#owner.trace(`state ${number} ${rows} ${done}`);
      if (!done) return;
      for (const [origin, sequence] of trimmedOf(handle)) this.transferred.set(origin, sequence);
    });
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
