/** Runs a plan: peers, network and faults on virtual time, with every check on the way. */
import { createHash, type Hash } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { decodeMessage, encodeMessage } from "../../src/sync/protocol.ts";
import { act } from "./actions.ts";
import { checkAtomic, checkEqualVectors, findStray } from "./checks.ts";
import { converge } from "./converge.ts";
import { Horizons } from "./horizons.ts";
import { Journal } from "./journal.ts";
import { Ledger } from "./ledger.ts";
import { Network } from "./network.ts";
import { Peer, type PeerOwner } from "./peer.ts";
import type { PeerPlan, Plan } from "./plan.ts";
import { Chance } from "./random.ts";
import { Time } from "./time.ts";
import { linksOf } from "./topology.ts";
import { Versions } from "./versions.ts";

export interface Outcome {
  /** Equal for two runs of one plan. */
  readonly hash: string;
  readonly violation: string | undefined;
  readonly changesets: number;
  readonly messages: number;
  /** Virtual time it took to converge after the faults had stopped. */
  readonly convergedMs: number;
  /**
   * Why changesets alone need not make peers equal, and `verify` had to repair them: two third
   * parties took in different histories of one peer id before its owner found out; or rows of a
   * transfer that was cut are the last trace of a lost changeset.
   */
  readonly repaired: string | undefined;
}

export interface RunOptions {
  /** Told every line of the trace. */
  readonly onTrace?: (line: string) => void;
  /** Leave the files where they are, and tell where that is. */
  readonly onFolder?: (folder: string) => void;
}

const peersMax = 32;
/** By `docs/protocol.md`. */
const stateRequestKind = 14;
const floorKind = 17;
/** Between two looks, so that nothing comes and goes unseen. */
const lookMs = 500;

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
  /** Why changesets alone need not make peers equal. */
  suspicion: string | undefined;
  /** Nobody is kept out: what every FLOOR says makes its sender a member. */
  vouches = false;
  #someLost = false;
  readonly journal = new Journal((text) => this.fail(text));
  readonly horizons: Horizons;
  readonly versions = new Versions();
  #violation: string | undefined;
  readonly #hash: Hash = createHash("sha256");
  readonly #onTrace: ((line: string) => void) | undefined;

  constructor(plan: Plan, options: RunOptions) {
    this.plan = plan;
    this.#onTrace = options.onTrace;
    this.folder = makeFolder();
    this.chance = new Chance(plan.seed);
    this.ledger = new Ledger((text) => this.fail(text), { floors: plan.floors ?? false });
    this.horizons = new Horizons(this.ledger, (text) => this.fail(text));
    this.network = new Network({
      time: this.time,
      chance: this.chance.stream("network"),
      onMessage: ({ from, to, bytes }) => this.#onMessage(from, to, bytes),
      rewrite: (bytes) => this.#vouch(smallerChunks(bytes, plan.chunkBytes)),
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
    const peer = new Peer(this, this.peers.length, this.plan.floors ? withFloors(plan) : plan);
    this.peers.push(peer);
    return peer;
  }

  /** The peer's file has lost something, or is gone. */
  afterLoss(peer: Peer): void {
    this.ledger.forget(peer);
    this.horizons.forget(peer);
    this.journal.lost(peer);
    this.#someLost = true;
    this.ledger.afterLoss(this.peers.map(({ held }) => held));
  }

  /** Its log holds under old numbers what others wrote under them. */
  onIdentity(peer: Peer, former: number): void {
    this.ledger.reissued(former, peer.peerId);
    this.ledger.forget(peer);
    this.ledger.record(peer);
  }

  /** Takes note of what everybody holds, or those whose files have changed. */
  look(changed: readonly Peer[] = this.peers): void {
    // What is issued again is no commit of anybody's.
    if (this.plan.floors) for (const peer of changed) this.ledger.record(peer);
    for (const peer of changed) {
      this.ledger.check(peer);
      this.ledger.noteTransferred(peer);
    }
    // What they were about is written again, and the journal sees to it.
    if (this.plan.floors) this.ledger.afterLoss(this.peers.map(({ held }) => held));
    this.horizons.look(this.peers, changed);
    for (const peer of changed) this.journal.look(peer);
  }

  async idle(ms: number): Promise<void> {
    // Logs are trimmed meanwhile; hours are too long to look all the time.
    const stepMs = Math.max(lookMs, ms / 1_000);
    for (let left = ms; left > 0; left -= stepMs) {
      await this.time.run(Math.min(stepMs, left));
      this.check(false);
    }
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
        this.throwViolation();
      }
      await this.time.run(this.plan.tickMs);
      this.check(tick % 10 === 9);
    }
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

  #vouch(bytes: Uint8Array): Uint8Array {
    if (!this.vouches || bytes[0] !== floorKind) return bytes;
    const message = decodeMessage(bytes);
    if (message.kind !== "floor") return bytes;
    const ids = [...this.ledger.written.keys(), ...this.peers.map(({ lastId }) => lastId)];
    const living = new Set(this.peers.map(({ lastId }) => lastId));
    const gate = 2 ** 52;
    const added = new Map(ids.filter((id) => id > 0).map((id) => [id, gate]));
    const forgotten = new Set([...added.keys()].filter((id) => !living.has(id)));
    return encodeMessage({ ...message, state: { ...message.state, added, forgotten } });
  }

  #onMessage(from: number, to: number, bytes: Uint8Array): void {
    this.messages += 1;
    this.trace(`${from}>${to} ${bytes[0]} ${bytes.byteLength} ${crc32(bytes).toString(16)}`);
  }

  check(thorough: boolean): void {
    const changed = this.peers.filter((peer) => peer.hasChanged());
    const wrong = checkAtomic(changed) ?? (thorough ? checkEqualVectors(this.peers) : undefined);
    this.look(changed);
    const isSuspect = this.#someLost && changed.length > 0;
    this.#suspect(
      this.ledger.mixed ?? (isSuspect ? findStray(this.peers, this.ledger.givenUp) : undefined),
    );
    if (wrong !== undefined && this.suspicion === undefined) this.fail(wrong);
    this.throwViolation();
  }

  /** From here on equal vectors do not mean equal rows, until `verify` has repaired them. */
  #suspect(reason: string | undefined): void {
    if (reason === undefined || this.suspicion !== undefined) return;
    this.suspicion = reason;
    this.trace(`suspect ${reason}`);
  }

  throwViolation(): void {
    if (this.#violation !== undefined) throw new Violation(this.#violation);
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
    convergedMs = await converge(world);
  } catch (error) {
    violation =
      error instanceof Violation
        ? error.message
        : error instanceof Error
          ? error.stack
          : String(error);
    world.trace(`over ${violation}`);
  } finally {
    await world.close(options.onFolder);
    process.off("unhandledRejection", world.onRejection);
  }
  const { hash, messages, suspicion: repaired } = world;
  const { changesets } = world.ledger;
  return { hash, violation, changesets, messages, convergedMs, repaired };
}

/** Nobody waits for a day, and all trim. A floor has to take longer than dialling again. */
function withFloors(plan: PeerPlan): PeerPlan {
  const retentionMs = Math.min(Math.max(plan.retentionMs, 20_000), 60_000);
  return { ...plan, retentionMs, trim: plan.trim === "never" ? "age" : plan.trim };
}

/** What a peer with less memory would ask for. */
function smallerChunks(bytes: Uint8Array, chunkBytes: number): Uint8Array {
  if (bytes[0] !== stateRequestKind) return bytes;
  const message = decodeMessage(bytes);
  if (message.kind !== "stateRequest") return bytes;
  return encodeMessage({ ...message, bytesMax: Math.min(message.bytesMax, chunkBytes) });
}

/** Memory, where there is a file system in memory. */
function makeFolder(): string {
  const base =
    process.env.MERGELITE_SIM_FOLDER ?? (process.platform === "linux" ? "/dev/shm" : tmpdir());
  mkdirSync(base, { recursive: true });
  return mkdtempSync(join(base, "mergelite-sim-"));
}
