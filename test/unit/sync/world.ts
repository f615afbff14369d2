/**
 * A few replicas on virtual time, joined by links over a network that loses, repeats and reorders.
 * A log is a counter an origin, for a record follows from its origin and sequence.
 */
import { ByteReader, ByteWriter } from "../../../src/log/bytes.ts";
import { createIntake, plan, planDueMs } from "../../../src/sync/intake.ts";
import {
  createLink,
  endLink,
  type LinkAction,
  type LinkConfig,
  type LinkInput,
  type LinkState,
  nextTickMs,
  step,
} from "../../../src/sync/link.ts";
import { decodeMessage, encodeMessage, type Message } from "../../../src/sync/protocol.ts";

export function mulberry32(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The only record there can be of an origin and a sequence. */
export function record({ origin, sequence }: { origin: number; sequence: number }): Uint8Array {
  const payload = new Uint8Array(20 + ((origin * 31 + sequence * 7) % 100)).fill(sequence % 251);
  const writer = new ByteWriter(1_000_000);
  writer.varint(origin);
  writer.varint(sequence);
  writer.varint(sequence * 10);
  writer.varint(payload.byteLength);
  writer.bytes(payload);
  return writer.finish();
}

export function shapeOf(origin: number): string {
  return origin.toString(16).padStart(16, "0");
}

export interface Network {
  loss: number;
  repetition: number;
  delayMsMax: number;
}

export interface WorldOptions extends Network {
  seed: number;
  /** How long a merge takes. */
  mergeMs?: number;
  link?: Partial<LinkConfig>;
}

interface Event {
  atMs: number;
  order: number;
  run: () => void;
}

/** A binary heap: the earliest event first, of two at one time the older one. */
class Queue {
  readonly #heap: Event[] = [];

  get first(): Event | undefined {
    return this.#heap[0];
  }

  push(event: Event): void {
    let at = this.#heap.push(event) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.#isBefore(at, parent)) return;
      this.#swap(at, parent);
      at = parent;
    }
  }

  shift(): void {
    const last = this.#heap.pop();
    if (last === undefined || this.#heap.length === 0) return;
    this.#heap[0] = last;
    for (let at = 0; ; ) {
      let least = at;
      for (const child of [2 * at + 1, 2 * at + 2]) {
        if (child < this.#heap.length && this.#isBefore(child, least)) least = child;
      }
      if (least === at) return;
      this.#swap(at, least);
      at = least;
    }
  }

  #isBefore(left: number, right: number): boolean {
    const [a, b] = [this.#heap[left], this.#heap[right]];
    if (a === undefined || b === undefined) return false;
    return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
  }

  #swap(left: number, right: number): void {
    const [a, b] = [this.#heap[left], this.#heap[right]];
    if (a === undefined || b === undefined) return;
    this.#heap[left] = b;
    this.#heap[right] = a;
  }
}

export class World {
  nowMs = 1_000;
  nextLinkId = 1;
  readonly random: () => number;
  readonly options: WorldOptions;
  readonly replicas: WorldReplica[] = [];
  /** Every link there has been. */
  readonly links: WorldLink[] = [];
  readonly #events = new Queue();
  #order = 0;

  constructor(options: WorldOptions) {
    this.options = options;
    this.random = mulberry32(options.seed);
  }

  replica(peerId: number): WorldReplica {
    const replica = new WorldReplica(this, peerId);
    this.replicas.push(replica);
    return replica;
  }

  join(left: WorldReplica, right: WorldReplica, config: Partial<LinkConfig> = {}): WorldLink[] {
    const there = new WorldLink(this, left, config);
    const back = new WorldLink(this, right, config);
    there.other = back;
    back.other = there;
    there.input({ type: "open", nowMs: this.nowMs });
    back.input({ type: "open", nowMs: this.nowMs });
    return [there, back];
  }

  after(ms: number, run: () => void): void {
    this.#events.push({ atMs: this.nowMs + ms, order: this.#order++, run });
  }

  /** Runs until `isDone`, or until `ms` of virtual time have passed. */
  run(ms: number, isDone: () => boolean = () => false): boolean {
    const endMs = this.nowMs + ms;
    while (!isDone()) {
      const event = this.#events.first;
      if (event === undefined || event.atMs > endMs) break;
      this.#events.shift();
      this.nowMs = event.atMs;
      event.run();
    }
    if (isDone()) return true;
    this.nowMs = endMs;
    return false;
  }

  isConverged(): boolean {
    const vectors = this.replicas.map(({ held }) => held);
    const origins = new Set(vectors.flatMap((held) => [...held.keys()]));
    return [...origins].every((id) => new Set(vectors.map((held) => held.get(id))).size === 1);
  }
}

export class WorldReplica {
  readonly held = new Map<number, number>();
  readonly shapes = new Set<string>();
  readonly links: WorldLink[] = [];
  readonly intake = createIntake();
  /** How far this replica's clock is ahead of the world's. */
  clockAheadMs = 0;
  #planId = 0;
  #planAtMs = Number.POSITIVE_INFINITY;
  readonly peerId: number;
  readonly world: World;

  constructor(world: World, peerId: number) {
    this.world = world;
    this.peerId = peerId;
  }

  commit(count: number): void {
    const nowMs = this.world.nowMs;
    if (!this.shapes.has(shapeOf(this.peerId))) this.learn([shapeOf(this.peerId)]);
    this.held.set(this.peerId, (this.held.get(this.peerId) ?? 0) + count);
    for (const link of this.links) link.input({ type: "grew", vector: this.held, nowMs });
  }

  /** Asks for what is missing when it is time, as the hub does. */
  schedulePlan(): void {
    const dueMs = planDueMs(this.intake) - this.clockAheadMs;
    if (dueMs >= this.#planAtMs) return;
    this.#planAtMs = dueMs;
    const id = ++this.#planId;
    this.world.after(Math.max(dueMs - this.world.nowMs, 0), () => {
      if (id !== this.#planId) return;
      this.#planAtMs = Number.POSITIVE_INFINITY;
      const { nowMs } = this.world;
      for (const ask of plan(this.intake, nowMs + this.clockAheadMs)) {
        const link = this.links.find(({ state }) => state.source.id === ask.id);
        link?.input({ type: "want", ranges: ask.ranges, nowMs });
      }
      this.schedulePlan();
    });
  }

  learn(hashes: string[], from?: WorldLink): void {
    for (const hash of hashes) this.shapes.add(hash);
    for (const link of this.links) {
      const fromRemote = link === from;
      link.input({ type: "shapesGrew", hashes, fromRemote, nowMs: this.world.nowMs });
    }
  }

  merge(records: Uint8Array, from: WorldLink): void {
    const nowMs = this.world.nowMs;
    const reader = new ByteReader(records);
    while (reader.remaining > 0) {
      const origin = reader.varint();
      const sequence = reader.varint();
      if (reader.varint() !== sequence * 10) throw new Error("a record was altered");
      reader.skip(reader.varint());
      const next = (this.held.get(origin) ?? 0) + 1;
      if (!this.shapes.has(shapeOf(origin))) {
        from.input({ type: "unknownShapes", hashes: [shapeOf(origin)], nowMs });
        from.input({ type: "gap", origin, first: next, nowMs });
      } else if (sequence > next) from.input({ type: "gap", origin, first: next, nowMs });
      else if (sequence === next) this.held.set(origin, sequence);
    }
    from.input({ type: "merged", vector: this.held, nowMs });
    for (const link of this.links) {
      if (link !== from) link.input({ type: "grew", vector: this.held, nowMs });
    }
  }
}

export class WorldLink {
  readonly state: LinkState;
  readonly replica: WorldReplica;
  readonly actions: LinkAction[] = [];
  /** Every message sent, in order. */
  readonly sent: Message[] = [];
  readonly world: World;
  other: WorldLink | undefined;
  inFlightMax = 0;
  isSilent = false;
  sentBytes = 0;
  #isStepping = false;
  #inputs: LinkInput[] = [];
  #tickId = 0;
  #tickAtMs = Number.POSITIVE_INFINITY;

  constructor(world: World, replica: WorldReplica, config: Partial<LinkConfig>) {
    this.world = world;
    this.replica = replica;
    const { peerId, held: vector, shapes, intake } = replica;
    const id = world.nextLinkId++;
    this.state = createLink({
      id,
      intake,
      peerId,
      vector,
      shapes,
      ...world.options.link,
      ...config,
    });
    replica.links.push(this);
    world.links.push(this);
  }

  get closed(): Extract<LinkAction, { type: "close" }> | undefined {
    return this.actions.find((action) => action.type === "close");
  }

  input(given: LinkInput): void {
    const { clockAheadMs } = this.replica;
    const input = "nowMs" in given ? { ...given, nowMs: given.nowMs + clockAheadMs } : given;
    this.#inputs.push(input);
    if (this.#isStepping) return;
    this.#isStepping = true;
    for (let next = this.#inputs.shift(); next !== undefined; next = this.#inputs.shift()) {
      for (const action of step(this.state, next).actions) this.#perform(action);
      this.inFlightMax = Math.max(this.inFlightMax, this.state.push.bytesInFlight);
    }
    this.#isStepping = false;
    this.#scheduleTick();
    this.replica.schedulePlan();
  }

  /** The transport breaks. */
  end(): void {
    endLink(this.state);
    const { links } = this.replica;
    links.splice(links.indexOf(this), 1);
    this.replica.schedulePlan();
  }

  transmit(message: Message): void {
    this.sent.push(message);
    const { random, options } = this.world;
    const bytes = encodeMessage(message);
    this.sentBytes += bytes.byteLength;
    if (this.isSilent || random() < options.loss) return;
    const copies = random() < options.repetition ? 2 : 1;
    for (let copy = 0; copy < copies; copy++) {
      this.world.after(1 + random() * options.delayMsMax, () => {
        const nowMs = this.world.nowMs;
        const message = decodeMessage(bytes);
        this.other?.input({ type: "message", message, bytes: bytes.byteLength, nowMs });
      });
    }
  }

  #perform(action: LinkAction): void {
    this.actions.push(action);
    if (action.type === "send") this.transmit(action.message);
    else if (action.type === "sendFingerprints") this.#sendFingerprints(action.origin);
    else if (action.type === "fingerprints" && this.state.phase === "suspect") {
      this.input({ type: "close", code: this.state.suspicion?.code ?? "LINK_CLOSED" });
    } else if (action.type === "read") this.#read(action);
    else if (action.type === "sendShapes") {
      const descriptors = action.hashes.map((hash) => new TextEncoder().encode(hash));
      this.transmit({ kind: "shapes", descriptors });
    } else if (action.type === "merge") {
      const { records } = action;
      this.world.after(this.world.options.mergeMs ?? 1, () => this.replica.merge(records, this));
    } else if (action.type === "learnShapes") {
      const hashes = action.descriptors.map((bytes) => new TextDecoder().decode(bytes));
      this.replica.learn(hashes, this);
    }
  }

  #sendFingerprints(origin: number): void {
    const sequence = this.replica.held.get(origin) ?? 0;
    this.transmit({
      kind: "fingerprints",
      origin,
      fingerprints: [{ sequence, print: sequence * 10 + 1 }],
    });
  }

  #read({ origin, first, last, bytesMax }: Extract<LinkAction, { type: "read" }>): void {
    const records: Uint8Array[] = [];
    let bytes = 0;
    let sequence = first;
    for (; sequence <= last && (bytes < bytesMax || records.length === 0); sequence++) {
      const next = record({ origin, sequence });
      if (records.length > 0 && bytes + next.byteLength > bytesMax) break;
      records.push(next);
      bytes += next.byteLength;
    }
    this.transmit({ kind: "changes", records: Buffer.concat(records) });
    const nowMs = this.world.nowMs;
    this.input({ type: "read", origin, last: sequence - 1, bytes: bytes + 2, nowMs });
  }

  #scheduleTick(): void {
    const dueMs = nextTickMs(this.state) - this.replica.clockAheadMs;
    if (dueMs >= this.#tickAtMs) return;
    this.#tickAtMs = dueMs;
    const id = ++this.#tickId;
    this.world.after(Math.max(dueMs - this.world.nowMs, 0), () => {
      if (id !== this.#tickId) return;
      this.#tickAtMs = Number.POSITIVE_INFINITY;
      this.input({ type: "tick", nowMs: this.world.nowMs });
    });
  }
}
