/** Peers that agree on floors, without files: changesets are numbers, links are calls. */
import type { VersionVector } from "../../src/log/vector.ts";
import { covers } from "../../src/log/vector.ts";
import {
  admits,
  advanceFloor,
  compareRanks,
  type FloorState,
  forgetPeers,
  horizonOf,
  isElsewhere,
  isMember,
  isWhole,
  joinFloor,
  membersOf,
  mergeFloor,
  newFloor,
  type Verdict,
  verdictOf,
} from "../../src/sync/floor.ts";

export type Chance = (below: number) => number;

/** A generator of small integers from a seed (mulberry32). */
export function chanceOf(seed: number): Chance {
  let a = seed >>> 0;
  return (below) => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

export interface ModelPeer {
  state: FloorState;
  /** By origin, up to where it holds changesets. */
  held: VersionVector;
  /** Its hybrid clock. */
  clock: number;
  /** How far its wall clock is from the world's. */
  offset: number;
  /** What others have told last. */
  views: Map<ModelPeer, FloorState>;
  away: boolean;
  /** How often it has found itself outside since it was in. */
  outside: number;
}

const retention = 40;
const stride = 10;
const patience = 8;

export class FloorWorld {
  readonly peers: ModelPeer[] = [];
  /** Timestamps of the changesets of each origin. */
  readonly log = new Map<number, number[]>();
  readonly chance: Chance;
  now = 100;
  #nextId = 1;

  constructor(seed: number, peers: number) {
    this.chance = chanceOf(seed);
    for (let i = 0; i < peers; i++) this.add();
  }

  add(): ModelPeer {
    const offset = this.chance(4) === 0 ? this.chance(60) - 30 : 0;
    const peer: ModelPeer = {
      state: newFloor(this.#nextId++, this.now),
      held: new Map(),
      clock: 0,
      offset,
      views: new Map(),
      away: false,
      outside: 0,
    };
    this.peers.push(peer);
    return peer;
  }

  wall(peer: ModelPeer): number {
    return this.now + peer.offset;
  }

  write(peer: ModelPeer): void {
    peer.clock = Math.max(peer.clock + 1, this.wall(peer));
    this.#log(peer, peer.clock);
  }

  #log(peer: ModelPeer, timestamp: number): void {
    const { self } = peer.state;
    const log = this.log.get(self) ?? [];
    this.log.set(self, log);
    log.push(timestamp);
    peer.held.set(self, log.length);
  }

  /** A message about floors arrives. */
  tell(from: ModelPeer, to: ModelPeer): void {
    to.views.set(from, from.state);
  }

  takes(to: ModelPeer, from: ModelPeer): boolean {
    if (to.state.bound === 0) return true;
    const view = to.views.get(from);
    const isTold = view !== undefined && view.self === from.state.self;
    return isTold ? admits(to.state, view) : isMember(to.state, from.state.self);
  }

  /** Sends changesets: of some origins some, or everything. */
  send(from: ModelPeer, to: ModelPeer, { all = false } = {}): void {
    if (!this.takes(to, from)) return;
    for (const [origin, last] of from.held) {
      const first = (to.held.get(origin) ?? 0) + 1;
      if (first > last || origin === to.state.self || (!all && this.chance(3) === 0)) continue;
      const until = all ? last : first + this.chance(last - first + 1);
      for (let sequence = first; sequence <= until; sequence++) {
        const timestamp = this.log.get(origin)?.[sequence - 1] ?? 0;
        const horizon = horizonOf(to.state);
        // To who is nobody's member, state tells what became of it: F8 of the decision.
        const isAlone = to.state.added.size === 1;
        if (timestamp < horizon && !isAlone) {
          throw new Error(
            `peer ${to.state.self} takes ${origin}.${sequence} of ${timestamp}, below its horizon ${horizon}`,
          );
        }
        to.clock = Math.max(to.clock, timestamp);
      }
      to.held.set(origin, until);
    }
  }

  look(peer: ModelPeer): void {
    let { state } = peer;
    for (const [from, view] of peer.views) {
      if (view.self === from.state.self && verdictOf(state, view) === "merge") {
        state = mergeFloor(state, view);
      }
    }
    const wall = this.wall(peer);
    const views = [...peer.views].filter(([from, view]) => view.self === from.state.self);
    const isOutside = views.some(([, view]) => verdictOf(state, view) === "yield");
    state = advanceFloor(state, {
      timestamp: wall,
      aim: isOutside ? 0 : Math.max(wall - retention, 0),
      stride,
      held: peer.held,
      settled: this.chance(2) === 0,
    });
    this.#take(peer, state);
    const doors = (verdict: Verdict) =>
      views
        .filter(([from, view]) => !from.away && verdictOf(peer.state, view) === verdict)
        .sort(([, x], [, y]) => compareRanks(y, x));
    const open = doors("yield")[0];
    const best = open ?? doors("wait")[0];
    peer.outside = best === undefined ? 0 : peer.outside + 1;
    // A member of the same cluster may only not have heard of it yet.
    const waits =
      best !== undefined &&
      (isElsewhere(peer.state, best[1]) || isMember(peer.state, best[1].self)) &&
      !best[1].forgotten.has(peer.state.self);
    if (best === undefined || (waits && peer.outside <= patience)) return;
    const isOpen = open !== undefined && isWhole(best[1]);
    if (isOpen || peer.outside > 4 * patience) this.#goIn(peer, ...best);
  }

  #take(peer: ModelPeer, state: FloorState): void {
    peer.state = state;
    peer.clock = Math.max(peer.clock, state.bound);
  }

  #goIn(peer: ModelPeer, member: ModelPeer, view: FloorState): void {
    peer.clock = Math.max(peer.clock, view.gate);
    const { self } = peer.state;
    const known = (origin: number) => member.held.get(origin) ?? 0;
    const isBelow = (origin: number) =>
      (this.log.get(origin) ?? [])
        .slice(known(origin), peer.held.get(origin) ?? 0)
        .some((at) => at < view.gate);
    const own = isBelow(self);
    const others = [...peer.held.keys()].filter((origin) => origin !== self && isBelow(origin));
    const isBehind = !covers(peer.held, member.held);
    const isClosed = (others.length > 0 || isBehind) && !admits(peer.state, view);
    if (own || isElsewhere(peer.state, view) || view.forgotten.has(self) || isClosed) {
      this.renew(peer);
      return;
    }
    if (isBehind) return;
    if (others.length > 0) {
      for (const origin of others) {
        if (known(origin) === 0) peer.held.delete(origin);
        else peer.held.set(origin, known(origin));
      }
      this.#log(peer, view.gate);
    }
    peer.outside = 0;
    this.#take(peer, joinFloor(peer.state, view));
  }

  /** A copy, a reboot, or a way out of a cluster. */
  renew(peer: ModelPeer): void {
    // Without a floor there is no sweep.
    const swept = Math.max(horizonOf(peer.state), 0);
    peer.state = newFloor(this.#nextId++, this.now, { swept, whole: isWhole(peer.state) });
    peer.outside = 0;
    for (const other of this.peers) other.views.delete(peer);
  }

  forget(peer: ModelPeer, peerId: number): void {
    if (isMember(peer.state, peerId)) peer.state = forgetPeers(peer.state, [peerId]);
  }

  step(): void {
    const { chance } = this;
    const pick = () => this.peers[chance(this.peers.length)] as ModelPeer;
    const [a, b] = [pick(), pick()];
    const kind = chance(1000);
    this.now += chance(2);
    if (kind < 3) a.away = true;
    else if (kind < 40) a.away = false;
    else if (kind < 42 && this.peers.length < 8) this.add();
    else if (kind < 44) this.renew(a);
    else if (kind < 50) {
      const living = new Set(this.peers.map(({ state }) => state.self));
      const members = membersOf(a.state);
      const gone = members.filter((peerId) => !living.has(peerId));
      const list = gone.length > 0 || chance(3) > 0 ? gone : members;
      this.forget(a, list[chance(list.length)] ?? 0);
    } else if (kind < 120) this.write(a);
    else if (a === b || a.away !== b.away) return;
    else if (kind < 480) this.tell(a, b);
    else if (kind < 740) this.send(a, b, { all: chance(2) === 0 });
    else this.look(a);
  }

  /** Nobody is away, everyone hears of everything. */
  settle(rounds: number): void {
    for (const peer of this.peers) peer.away = false;
    for (let round = 0; round < rounds; round++) {
      this.now += 2;
      for (const a of this.peers) {
        for (const b of this.peers) {
          if (a === b) continue;
          this.tell(a, b);
          this.send(a, b, { all: true });
        }
        this.look(a);
      }
      // Former ids are nobody's any more.
      const living = new Set(this.peers.map(({ state }) => state.self));
      if (round % 40 !== 30) continue;
      for (const peer of this.peers) {
        const gone = membersOf(peer.state).filter((peerId) => !living.has(peerId));
        peer.state = forgetPeers(peer.state, gone);
      }
    }
  }
}
