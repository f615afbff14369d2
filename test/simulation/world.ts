/** Runs a plan: peers, network and faults on virtual time, with every check on the way. */
import { createHash, type Hash } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { native } from "../../src/native.ts";
import { act } from "./actions.ts";
import {
  checkAtomic,
  checkConverged,
  checkEqualVectors,
  checkLinks,
  isQuiet,
  runningOf,
} from "./checks.ts";
import { Ledger } from "./ledger.ts";
import { Network } from "./network.ts";
import { Peer, type PeerOwner } from "./peer.ts";
import type { PeerPlan, Plan } from "./plan.ts";
import { Chance } from "./random.ts";
import { Time } from "./time.ts";
import { linksOf } from "./topology.ts";

export interface Outcome {
  /** Equal for two runs of one plan. */
  readonly hash: string;
  readonly violation: string | undefined;
  readonly changesets: number;
  readonly messages: number;
  /** Virtual time it took to converge after the faults had stopped. */
  readonly convergedMs: number;
}

export interface RunOptions {
  /** Told every line of the trace. */
  readonly onTrace?: (line: string) => void;
  /** Leave the files where they are, and tell where that is. */
  readonly onFolder?: (folder: string) => void;
}

const peersMax = 12;
/** Where timestamps count from, by `docs/format.md`. */
const epochMs = Date.UTC(2025, 0, 1);
/** The longest waits of the library: for a retry, for dialling again; and some of each. */
const convergeMsMax = 600_000;

export class Violation extends Error {}

export class World implements PeerOwner {
  readonly time = new Time();
  readonly peers: Peer[] = [];
  readonly network: Network;
  readonly chance: Chance;
  readonly ledger: Ledger;
  readonly plan: Plan;
  readonly folder: string;
  messages = 0;
  /** Faults have stopped. */
  healed = false;
  #violation: string | undefined;
  readonly #hash: Hash = createHash("sha256");
  readonly #onTrace: ((line: string) => void) | undefined;

  constructor(plan: Plan, options: RunOptions) {
    this.plan = plan;
    this.#onTrace = options.onTrace;
    this.folder = makeFolder();
    this.chance = new Chance(plan.seed);
    this.ledger = new Ledger((text) => this.fail(text));
    this.network = new Network({
      time: this.time,
      chance: this.chance.stream("network"),
      onMessage: ({ from, to, bytes }) => this.#onMessage(from, to, bytes),
    });
    this.time.onMove = () => {
      for (const peer of this.peers) peer.tellTime();
    };
  }

  get hash(): string {
    return this.#hash.copy().digest("hex").slice(0, 16);
  }

  trace(text: string): void {
    const line = `${this.time.nowMs % 1_000_000_000} ${text}`;
    this.#hash.update(line).update("\n");
    this.#onTrace?.(line);
  }

  fail(text: string): void {
    this.#violation ??= text;
  }

  onCommit(peer: Peer): void {
    peer.running?.replica.poll();
    const sequence = this.ledger.record(peer);
    this.trace(`commit ${peer.number} ${peer.peerId}.${sequence}`);
  }

  /** The peer a number of the plan stands for. */
  peerOf(number: number): Peer {
    const peer = this.peers[number % this.peers.length];
    if (peer === undefined) throw new RangeError("there are no peers");
    return peer;
  }

  addPeer(plan: PeerPlan): Peer | undefined {
    if (this.peers.length >= peersMax) return undefined;
    const peer = new Peer(this, this.peers.length, plan);
    this.peers.push(peer);
    return peer;
  }

  /** After a file has lost something. */
  afterLoss(): void {
    this.ledger.afterLoss(this.peers.map((peer) => peer.held));
  }

  async run(): Promise<void> {
    for (const plan of this.plan.peers) this.addPeer(plan)?.create();
    for (const [a, b] of linksOf(this.plan.topology, this.peers.length)) {
      const peer = this.peers[a];
      peer?.dial(b, peer.kindTo(b));
    }
    this.network.weather = this.plan.weather;
    const events = [...this.plan.events];
    for (let tick = 0; tick < this.plan.ticks; tick++) {
      while (events[0] !== undefined && events[0].tick <= tick) {
        const event = events.shift();
        if (event === undefined) break;
        this.trace(`do ${JSON.stringify(event.action)}`);
        await act(this, event.action);
        this.#throwViolation();
      }
      await this.time.run(this.plan.tickMs);
      this.#check(tick % 10 === 9);
    }
  }

  /** The faults stop; returns how long it took until nothing was left to do. */
  async converge(): Promise<number> {
    this.trace("heal");
    this.healed = true;
    this.network.heal();
    for (const peer of this.peers) {
      peer.clock.set({ offsetMs: 0, rate: 0 });
      peer.start();
    }
    this.#joinRest();
    const startMs = this.time.nowMs;
    for (const peer of this.peers) peer.migrate();
    const endMs = startMs + convergeMsMax + this.#aheadMs();
    for (;;) {
      const reason = isQuiet(this.peers, this.ledger) ? checkLinks(this.peers) : this.#vectors();
      if (reason === undefined) break;
      if (this.time.nowMs > endMs) this.fail(`not converged in time: ${reason}`);
      this.#throwViolation();
      await this.time.run(1_000);
      for (const peer of this.peers) peer.migrate();
      this.#check(false);
    }
    const convergedMs = this.time.nowMs - startMs;
    // Heartbeats tell what acknowledgements have not, and what is parked is looked at once more.
    await this.time.run(3 * this.plan.heartbeatMs);
    this.#check(true);
    for (const [origin, sequence] of this.ledger.guaranteed) {
      for (const peer of this.peers) {
        const held = peer.held.get(origin) ?? 0;
        if (peer.running === undefined || held >= sequence) continue;
        this.fail(`lost: peer ${peer.number} holds ${origin}.${held} of ${sequence}`);
      }
    }
    const wrong = checkConverged(this.peers);
    if (wrong !== undefined) this.fail(wrong);
    this.#throwViolation();
    this.trace(`converged ${convergedMs}`);
    return convergedMs;
  }

  async close(onFolder: ((folder: string) => void) | undefined): Promise<void> {
    for (const peer of this.peers) await peer.drop();
    if (onFolder === undefined) rmSync(this.folder, { recursive: true, force: true });
    else onFolder(this.folder);
  }

  /** A promise nobody waits for was rejected: a mistake as good as any. */
  readonly onRejection = (reason: unknown): void => {
    this.fail(`unhandled rejection: ${reason instanceof Error ? reason.stack : String(reason)}`);
  };

  #onMessage(from: number, to: number, bytes: Uint8Array): void {
    this.messages += 1;
    this.trace(`${from}>${to} ${bytes[0]} ${bytes.byteLength} ${crc32(bytes).toString(16)}`);
  }

  #check(thorough: boolean): void {
    const wrong = checkAtomic(this.peers) ?? (thorough ? checkEqualVectors(this.peers) : undefined);
    if (wrong !== undefined) this.fail(wrong);
    if (thorough) for (const peer of this.peers) this.ledger.check(peer);
    this.#throwViolation();
  }

  #throwViolation(): void {
    if (this.#violation !== undefined) throw new Violation(this.#violation);
  }

  /** Those that stay are connected, whoever has left. */
  #joinRest(): void {
    const rest = runningOf(this.peers).map(({ peer }) => peer);
    const reached = new Set<Peer>(rest.slice(0, 1));
    const isLinked = (a: Peer, b: Peer) => a.dials.has(b.number) || b.dials.has(a.number);
    while (reached.size < rest.length) {
      const near = rest.filter((peer) => reached.has(peer));
      const far = rest.filter((peer) => !reached.has(peer));
      const next = far.find((peer) => near.some((one) => isLinked(one, peer)));
      const [from] = near;
      const [to] = far;
      if (next === undefined && from !== undefined && to !== undefined) {
        from.dial(to.number, from.kindTo(to.number));
      }
      reached.add(next ?? (to as Peer));
    }
  }

  /** Changesets stamped in the future wait for their time. */
  #aheadMs(): number {
    const stamps = runningOf(this.peers).map(
      ({ running }) => native.status(running.handle).timestamp,
    );
    return Math.max(0, Math.max(...stamps) / 8192 + epochMs - this.time.nowMs);
  }

  #vectors(): string {
    return runningOf(this.peers)
      .map(({ peer, running }) => {
        const marks = running.replica
          .vector()
          .map((one) => `${one.peerId}.${one.held}/${one.merged}`);
        return `${peer.number}: ${marks.sort().join(" ")}`;
      })
      .join("; ");
  }
}

/** Runs a plan to its end, or to the first thing that is wrong. */
export async function simulate(plan: Plan, options: RunOptions = {}): Promise<Outcome> {
  const world = new World(plan, options);
  let violation: string | undefined;
  let convergedMs = 0;
  process.on("unhandledRejection", world.onRejection);
  try {
    await world.run();
    convergedMs = await world.converge();
  } catch (error) {
    violation =
      error instanceof Violation
        ? error.message
        : error instanceof Error
          ? error.stack
          : String(error);
    world.trace(`violation ${violation}`);
  } finally {
    await world.close(options.onFolder);
    process.off("unhandledRejection", world.onRejection);
  }
  const { hash, messages } = world;
  return { hash, violation, changesets: world.ledger.changesets, messages, convergedMs };
}

/** Memory, where there is a file system in memory. */
function makeFolder(): string {
  const base =
    process.env.MERGELITE_SIM_FOLDER ?? (process.platform === "linux" ? "/dev/shm" : tmpdir());
  mkdirSync(base, { recursive: true });
  return mkdtempSync(join(base, "mergelite-sim-"));
}
