/** Processes that want one lease, on virtual time: each with clocks of its own, paused and killed. */
import type { Clock } from "../../src/clock.ts";
import { acquireLease, type Lease } from "../../src/ship/lease.ts";
import { decodeLease } from "../../src/ship/lease-rules.ts";
import type { DriverGet, DriverList, DriverPut, StorageDriver } from "../../src/storage/driver.ts";
import { ManagedStorage } from "../../src/storage/managed.ts";
import type { Body, Storage } from "../../src/storage/storage.ts";
import type { Chance } from "../simulation/random.ts";
import { Faults, faultStorage } from "../support/fault-storage.ts";
import { MemoryDriver } from "../support/memory-storage.ts";
import { VirtualClock } from "../unit/transport/virtual-clock.ts";

export const ttlMs = 10_000;

/** A process: its timers and its answers wait while it stands still, for ever once it is dead. */
export class WorldProcess implements Clock {
  readonly name: string;
  readonly rate: number;
  readonly #world: VirtualClock;
  #wallAheadMs: number;
  #standsUntilMs = 0;
  #sleptMs = 0;
  dead = false;

  constructor(world: VirtualClock, name: string, chance: Chance) {
    this.#world = world;
    this.name = name;
    // Two clocks differ by less than a tenth.
    this.rate = 0.96 + 0.08 * chance.next();
    this.#wallAheadMs = chance.int(-1e9, 1e9);
  }

  now(): number {
    return this.#world.now() * this.rate + this.#wallAheadMs;
  }
  steady(): number {
    return (this.#world.now() - this.#sleptMs) * this.rate;
  }

  /** Stands still, as by SIGSTOP; `asleep` is the whole machine, whose steady clock stops too. */
  stand(ms: number, asleep = false): void {
    this.#standsUntilMs = Math.max(this.#standsUntilMs, this.#world.now() + ms);
    if (asleep) this.#sleptMs += ms;
  }
  setWall(ms: number): void {
    this.#wallAheadMs += ms;
  }

  /** Resolves when the process runs. */
  async running(): Promise<void> {
    if (this.dead) await new Promise<never>(() => {});
    while (this.#standsUntilMs > this.#world.now()) {
      await this.#world.sleep(this.#standsUntilMs - this.#world.now());
    }
    if (this.dead) await new Promise<never>(() => {});
  }

  setTimer(ms: number, fn: () => void): () => void {
    let cancelled = false;
    const cancel = this.#world.setTimer(ms / this.rate, () => {
      void this.running().then(() => (cancelled ? undefined : fn()));
    });
    return () => {
      cancelled = true;
      cancel();
    };
  }
  nextTurn(fn: () => void): void {
    this.setTimer(0, fn);
  }
  async sleep(ms: number): Promise<void> {
    await this.#world.sleep(ms / this.rate);
    await this.running();
  }
}

/** Requests go on their way while a process stands still; their answers wait for it. */
class GateDriver implements StorageDriver {
  readonly kind = "file";
  readonly keepsMetadata = true;
  readonly name = "memory://gate";
  readonly #inner: Storage;
  readonly #process: WorldProcess;
  readonly #chance: Chance;

  constructor(inner: Storage, process: WorldProcess, chance: Chance) {
    this.#inner = inner;
    this.#process = process;
    this.#chance = chance;
  }

  async put(key: string, body: Body, { ifAbsent }: DriverPut): Promise<boolean> {
    return await this.#gated(async () => {
      if (ifAbsent && body instanceof Uint8Array) return await this.#inner.putIfAbsent(key, body);
      await this.#inner.put(key, body);
      return true;
    });
  }
  get(key: string, { range }: DriverGet) {
    return this.#gated(() => this.#inner.get(key, range === undefined ? {} : { range }));
  }
  async *list(prefix: string, { after }: DriverList) {
    yield await this.#gated(async () => {
      const objects = [];
      for await (const object of this.#inner.list(prefix, { after })) objects.push(object);
      return objects;
    });
  }
  delete(key: string): Promise<void> {
    return this.#gated(() => this.#inner.delete(key));
  }
  async close(): Promise<void> {}

  async #gated<T>(request: () => Promise<T>): Promise<T> {
    // The worst moments to stand still are those between two requests, and before an answer.
    const before = this.#chance.chance(0.02);
    if (before || this.#chance.chance(0.01)) {
      this.#process.stand(this.#chance.int(1, this.#chance.pick([2, 20]) * ttlMs));
    }
    if (before) await this.#process.running();
    try {
      return await request();
    } finally {
      await this.#process.running();
    }
  }
}

export class LeaseWorld {
  readonly clock = new VirtualClock();
  readonly objects = new MemoryDriver(() => this.clock.now());
  readonly processes: WorldProcess[] = [];
  readonly faults: Faults;
  /** What went wrong, if anything did. */
  readonly wrong: string[] = [];
  /** Of each process that got the lease, in this order. */
  readonly fences: number[] = [];
  confirmed = 0;
  lost = 0;
  readonly #chance: Chance;

  constructor(chance: Chance, faults: Omit<ConstructorParameters<typeof Faults>[0], "random">) {
    this.#chance = chance;
    this.faults = new Faults({
      ...faults,
      random: chance.stream("faults").next,
      clock: this.clock,
    });
  }

  /** Starts one that gets the lease again and again, writes, and makes sure, now and then. */
  start(name: string, release: boolean): WorldProcess {
    const process = new WorldProcess(this.clock, name, this.#chance.stream(name));
    const inner = faultStorage(new ManagedStorage(this.objects), this.faults, { attemptsMax: 1 });
    const random = this.#chance.stream(`${name} retries`).next;
    const options = { clock: process, random, attemptsMax: 3, pauseMs: 500 };
    const gate = new GateDriver(inner, process, this.#chance.stream(`${name} gate`));
    const storage = new ManagedStorage(gate, options);
    const live = async () => {
      for (;;) await this.#hold(process, storage, release);
    };
    live().catch((error: unknown) => this.wrong.push(`${name}: ${String(error)}`));
    this.processes.push(process);
    return process;
  }

  async #hold(process: WorldProcess, storage: Storage, release: boolean): Promise<void> {
    const chance = this.#chance.stream(`${process.name} ${this.fences.length}`);
    try {
      const lease = await acquireLease(storage, { ttlMs, label: process.name, clock: process });
      this.fences.push(lease.fence);
      const restMs = chance.pick([20, 100, 1000, ttlMs, 2 * ttlMs]);
      for (let i = chance.int(1, restMs < 1000 ? 100 : 20); i > 0; i--) {
        await process.sleep(chance.int(1, restMs));
        if (restMs < 1000) await lease.renew();
        await storage.put(`data/${process.name}`, Buffer.from("x"));
        await lease.confirm();
        this.#check(process, lease);
      }
      if (release) await lease.release();
      await process.sleep(chance.int(1, restMs));
    } catch (error) {
      const { code } = error as { code?: string };
      if (code === "LEASE_LOST") this.lost++;
      else if (code !== "STORAGE_UNAVAILABLE") throw error;
    }
  }

  /** Who may say that its write is good: the holder of the row's newest number, as things are. */
  #check(process: WorldProcess, { fence }: Lease): void {
    this.confirmed++;
    const newest = [...this.objects.objects.keys()]
      .filter((key) => key.startsWith("mergelite/lease/"))
      .sort();
    const key = newest.at(-1) ?? "";
    const record = decodeLease(this.objects.objects.get(key)?.bytes ?? Buffer.of(), key);
    if (record.fence === fence && !record.released) return;
    const at = this.clock.now();
    this.wrong.push(`${at}: ${process.name} confirmed ${fence}, and ${record.label} has ${key}`);
  }
}
