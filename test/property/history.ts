/** Random histories: what replicas write and when they hear of each other. */
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import fc from "fast-check";
import { native } from "../../src/native.ts";
import {
  attachRaw,
  converge,
  maintainAll,
  progressOf,
  pull,
  type RawReplica,
  teachShapes,
} from "../support/replica.ts";
import { horizonOf, transferState, trimAll } from "../support/state.ts";
import { fill, filler, foldEverything, spare, tables, toSql, type Write } from "./schema.ts";

/** One statement of a transaction, or what happens to its savepoints. */
type Statement = Write | "savepoint" | "rollback to" | "release" | "fill";

interface Transaction {
  statements: readonly Statement[];
  /** `none`: every statement by itself. */
  end: "commit" | "rollback" | "none";
}

export type Step =
  | ({ do: "write"; at: number } & Transaction)
  | { do: "deliver"; from: number; to: number; origin: number; after: number; count: number }
  | { do: "maintain"; at: number }
  | { do: "fold"; at: number }
  | { do: "reopen"; at: number }
  | { do: "trim"; at: number }
  | { do: "state"; from: number; to: number; chunks: number }
  | { do: "clock"; at: number; ms: number };

export interface History {
  replicas: number;
  /** How far each replica's clock is off, in ms. */
  skews: readonly number[];
  /** Numbers of the tables that are written. */
  tables: readonly number[];
  steps: readonly Step[];
}

const small = fc.nat({ max: 11 });
const write = fc.record({
  table: small,
  // Inserts count less: the rows they meet are few.
  kind: fc.constantFrom(0, 1, 2, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 9, 10),
  key: small,
  other: small,
  values: fc.array(small, { minLength: 3, maxLength: 3 }),
});
const statement: fc.Arbitrary<Statement> = fc.oneof(
  { weight: 8, arbitrary: write },
  { weight: 1, arbitrary: fc.constantFrom("savepoint", "rollback to", "release") },
);
const transaction = (one: fc.Arbitrary<Statement>) =>
  fc.record({
    do: fc.constant("write" as const),
    at: fc.nat({ max: 3 }),
    statements: fc.array(one, { minLength: 1, maxLength: 6, size: "max" }),
    end: fc.constantFrom(
      "commit" as const,
      "commit" as const,
      "none" as const,
      "none" as const,
      "rollback" as const,
    ),
  });
const other: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("deliver"),
      from: fc.nat({ max: 3 }),
      to: fc.nat({ max: 3 }),
      origin: fc.nat({ max: 3 }),
      // Mostly the next ones, at times old ones again or ones that come too early.
      after: fc.constantFrom(0, 0, 0, 0, -1, -3, 1),
      count: fc.integer({ min: 1, max: 6 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constantFrom("maintain", "fold", "reopen"),
      at: fc.nat({ max: 3 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("trim"), at: fc.nat({ max: 3 }) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("state"),
      from: fc.nat({ max: 3 }),
      to: fc.nat({ max: 3 }),
      chunks: fc.constantFrom(1, 1, 2, 5, 1000),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant("clock"), at: fc.nat({ max: 3 }), ms: fc.nat(2) }),
  },
) as fc.Arbitrary<Step>;
const short = fc.oneof(
  { weight: 8, arbitrary: transaction(statement) },
  { weight: 13, arbitrary: other },
);
// Large transactions cost much more than small ones.
const withFill: fc.Arbitrary<Statement> = fc.oneof(
  { weight: 6, arbitrary: statement },
  { weight: 1, arbitrary: fc.constant("fill" as const) },
);
const long = fc.oneof(
  { weight: 8, arbitrary: transaction(withFill) },
  { weight: 13, arbitrary: other },
);

const historyOf = (step: fc.Arbitrary<Step>): fc.Arbitrary<History> =>
  fc.record({
    replicas: fc.integer({ min: 2, max: 4 }),
    // Within the drift of 60 s, mostly equal so that stamps tie; the last is beyond it.
    skews: fc.array(fc.constantFrom(0, 0, 0, 1, 2, -5, 20_000, -30_000, 100_000), {
      minLength: 4,
      maxLength: 4,
    }),
    // Few tables a history, so that replicas meet on rows.
    tables: fc.array(fc.nat({ max: tables.length - 1 }), { minLength: 1, maxLength: 3 }),
    // Histories as long as may be: only shrinking makes them short.
    steps: fc.array(step, { minLength: 1, maxLength: 50, size: "max" }),
  });
export const history: fc.Arbitrary<History> = fc.oneof(
  { weight: 80, arbitrary: historyOf(short) },
  { weight: 1, arbitrary: historyOf(long) },
);

const startMs = Date.UTC(2026, 0, 1);

// Made once a set of tables: a replica starts as a copy, each with other rows from before
// replication began.
const templates = new Map<string, Buffer>();
function templateOf(number: number, chosen: readonly number[]): Buffer {
  const specs = tables.filter((_, index) => chosen.includes(index));
  const name = `${number}: ${specs.map((spec) => spec.name).join(" ")}`;
  const known = templates.get(name);
  if (known !== undefined) return known;
  const db = new Database(":memory:");
  const { handle } = attachRaw(db);
  db.exec([...specs.map(({ create }) => create), spare, filler].join(";"));
  for (const spec of specs) {
    for (let key = 0; key < number; key++) {
      const values = [key + number, key, number];
      db.exec(toSql(spec, { table: 0, kind: 1, key: key * number, other: 0, values }));
    }
  }
  for (const { name: table } of [...specs, { name: "spare" }, { name: "filler" }])
    native.replicate(handle, table);
  const made = db.serialize();
  db.close();
  templates.set(name, made);
  return made;
}

/** One file, or one database in memory, and the connections to it. */
class Peer {
  readonly connections: RawReplica[] = [];
  readonly peerId: number;
  readonly #file: string | undefined;
  #nowMs: number;

  constructor(
    { number, skewMs }: { number: number; skewMs: number },
    chosen: readonly number[],
    folder: string | undefined,
  ) {
    let content: Buffer | undefined = templateOf(number, chosen);
    this.#nowMs = startMs + skewMs;
    if (folder !== undefined) {
      this.#file = join(folder, `${number}.db`);
      for (const end of ["-wal", "-shm"]) rmSync(this.#file + end, { force: true });
      writeFileSync(this.#file, content);
      content = undefined;
    }
    for (let i = 0; i < (folder === undefined ? 1 : 2); i++) {
      this.connections.push(this.#connect(content, i === 0 ? number : undefined));
    }
    this.peerId = this.replica.peerId;
  }
  /** The connection whose turn it is. */
  get replica(): RawReplica {
    return this.connections[0] as RawReplica;
  }
  takeTurn(): void {
    this.connections.push(...this.connections.splice(0, 1));
  }
  advance(ms: number): void {
    this.#nowMs += ms;
    for (const { handle } of this.connections) native.setClock(handle, this.#nowMs);
  }
  /** A new connection: what the old one had in memory has to come from the file. */
  reopen(): void {
    const content = this.#file === undefined ? this.replica.db.serialize() : undefined;
    this.replica.db.close();
    this.connections[0] = this.#connect(content, undefined);
  }
  #connect(content: Buffer | undefined, number: number | undefined): RawReplica {
    const db = new Database(content ?? this.#file);
    if (content === undefined) db.pragma("journal_mode = WAL");
    if (content === undefined) db.pragma("synchronous = OFF");
    if (number !== undefined) {
      // Known before the run, so that ties end the same way in every run of one seed.
      db.prepare("UPDATE _mergelite_origins SET peer = ?").run(((number * 7 + 3) % 10) + 1);
    }
    const replica = attachRaw(db);
    native.setClock(replica.handle, this.#nowMs);
    return replica;
  }
}

/**
 * Runs a history, lets all replicas hear everything in the end, and hands them to `check`. With a
 * folder, replicas are files with two connections that take turns; without, they are in memory.
 */
export function run(
  { replicas, skews, steps, tables: chosen }: History,
  folder: string | undefined,
  check: (replicas: readonly RawReplica[], archive: RawReplica) => void,
): void {
  const peers = Array.from(
    { length: replicas },
    (_, number) => new Peer({ number, skewMs: skews[number] ?? 0 }, chosen, folder),
  );
  const all = () => peers.map(({ replica }) => replica);
  // Hears everything before it is trimmed, and tells nobody.
  const archive = new Peer({ number: replicas, skewMs: 0 }, chosen, undefined);
  try {
    for (const to of [...all(), archive.replica])
      for (const from of all()) if (from !== to) teachShapes(from, to);
    for (const one of steps) take(one, { peers, archive: archive.replica }, chosen);
    // Whoever is ahead, its time has come by now.
    for (const peer of peers) peer.advance(300_000);
    for (const from of all()) pull(from, archive.replica);
    convergeByState(all());
    converge(all());
    check(all(), archive.replica);
  } finally {
    for (const { connections } of [...peers, archive]) for (const { db } of connections) db.close();
  }
}

function take(
  step: Step,
  { peers, archive }: { peers: readonly Peer[]; archive: RawReplica },
  chosen: readonly number[],
): void {
  const pick = (number: number) => peers[number % peers.length] as Peer;
  for (const peer of peers) peer.takeTurn();
  if (step.do === "write") {
    transact(pick(step.at).replica.db, step, chosen);
  } else if (step.do === "deliver") {
    deliver(pick(step.from).replica, pick(step.to).replica, pick(step.origin), step);
  } else if (step.do === "maintain") {
    maintainAll(pick(step.at).replica);
  } else if (step.do === "fold") {
    pick(step.at).replica.db.exec(foldEverything);
  } else if (step.do === "reopen") {
    pick(step.at).reopen();
  } else if (step.do === "trim") {
    pull(pick(step.at).replica, archive);
    trimAll(pick(step.at).replica);
  } else if (step.do === "state") {
    const [from, to] = [pick(step.from).replica, pick(step.to).replica];
    if (from !== to) transferState(from, to, { bytesMax: 1, chunksMax: step.chunks });
  } else {
    pick(step.at).advance(step.ms);
  }
}

function transact(
  db: Database.Database,
  { statements, end }: Transaction,
  chosen: readonly number[],
): void {
  let open = 0;
  if (end !== "none") db.exec("BEGIN");
  for (const one of statements) {
    if (typeof one !== "string") {
      const table = tables[chosen[one.table % chosen.length] ?? 0];
      if (table !== undefined) attempt(db, toSql(table, one));
    } else if (one === "fill") {
      db.exec(fill);
    } else if (end === "none") {
      // Outside a transaction a savepoint would be one.
    } else if (one === "savepoint") {
      db.exec(`SAVEPOINT s${open++}`);
    } else if (open > 0) {
      // Any savepoint that is open, not just the last.
      const level = one === "release" ? --open : Math.floor(open / 2);
      if (one === "rollback to") open = level + 1;
      db.exec(`${one} s${level}`);
    }
  }
  if (db.inTransaction) db.exec(end);
}

/** A statement that violates a constraint is undone by itself, and the transaction goes on. */
function attempt(db: Database.Database, sql: string): void {
  try {
    db.exec(sql);
  } catch (error) {
    if (!String((error as { code?: unknown }).code).startsWith("SQLITE_CONSTRAINT")) throw error;
  }
}

/** To every replica that a log does not reach goes the state. */
function convergeByState(replicas: readonly RawReplica[]): void {
  for (let round = 0; round < 2; round++) {
    for (const to of replicas) {
      maintainAll(to);
      for (const from of replicas) {
        if (from === to) continue;
        pull(from, to);
        const held = new Map(progressOf(to).map((one) => [one.peerId, one.held]));
        const behind = [...horizonOf(from)].some(([peer, end]) => (held.get(peer) ?? 0) < end);
        if (!behind) continue;
        const { complete } = transferState(from, to, { bytesMax: 200, restart: round === 1 });
        if (!complete) throw new Error("the transfer does not end");
        pull(from, to);
      }
    }
  }
}

function deliver(
  from: RawReplica,
  to: RawReplica,
  { peerId: origin }: Peer,
  { after, count }: { after: number; count: number },
): void {
  const held = progressOf(to).find(({ peerId }) => peerId === origin)?.held ?? 0;
  const first = Math.max(0, held + after);
  const records = native.readLog(from.handle, origin, first + 1, first + count, 2 ** 30);
  native.merge(to.handle, records, 0, 1000);
}
