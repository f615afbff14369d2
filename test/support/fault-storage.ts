/**
 * A storage whose network and server misbehave, in front of any other one:
 *
 *     const faults = new Faults({ random, error: 0.1, lostAnswer: 0.05, torn: 0.05 });
 *     const storage = faultStorage(fileStorage(folder), faults);
 *     faults.down = true; // …
 *
 * What it does is what storages do: none of it breaks a promise of `Storage`, except `tears`.
 */
import { type Clock, type Random, systemClock } from "../../src/clock.ts";
import {
  type DriverGet,
  type DriverList,
  type DriverPut,
  missing,
  piecesOf,
  type StorageDriver,
  unavailable,
} from "../../src/storage/driver.ts";
import { type ManagedOptions, ManagedStorage } from "../../src/storage/managed.ts";
import type { Body, ObjectContent, Storage, StoredObject } from "../../src/storage/storage.ts";

export interface FaultOptions {
  readonly random: Random;
  /** @default the system's */
  readonly clock?: Clock;
  /** Of requests that fail before they do anything. @default 0 */
  readonly error?: number;
  /** Of puts and deletes that are done, and whose answer is lost. @default 0 */
  readonly lostAnswer?: number;
  /** Of puts that break off in the middle: nothing is stored. @default 0 */
  readonly torn?: number;
  /** Of torn puts that leave what was sent under the key, as bad servers do. @default 0 */
  readonly tears?: number;
  /** Of bodies that break off while they are read. @default 0 */
  readonly brokenRead?: number;
  /** Of puts that arrive once more, up to `duplicateMs` later. @default 0 */
  readonly duplicate?: number;
  /** @default 1000 */
  readonly duplicateMs?: number;
  /** How long each request takes, at most, in ms. @default 0 */
  readonly slowMs?: number;
  /** Of requests that take `hangMs` and fail then. @default 0 */
  readonly hang?: number;
  /** @default 30000 */
  readonly hangMs?: number;
  /** New objects are not listed, nor found, for up to so long, in ms. @default 0 */
  readonly lateMs?: number;
}

/** The settings may be changed at any time. */
export class Faults {
  readonly random: Random;
  readonly clock: Clock;
  error: number;
  lostAnswer: number;
  torn: number;
  tears: number;
  brokenRead: number;
  duplicate: number;
  duplicateMs: number;
  slowMs: number;
  hang: number;
  hangMs: number;
  lateMs: number;
  /** Nothing gets through. */
  down = false;
  /** Requests that have begun, by kind. */
  readonly requests = { put: 0, get: 0, list: 0, delete: 0 };
  /** Faults that have happened. */
  happened = 0;

  constructor(options: FaultOptions) {
    this.random = options.random;
    this.clock = options.clock ?? systemClock;
    this.error = options.error ?? 0;
    this.lostAnswer = options.lostAnswer ?? 0;
    this.torn = options.torn ?? 0;
    this.tears = options.tears ?? 0;
    this.brokenRead = options.brokenRead ?? 0;
    this.duplicate = options.duplicate ?? 0;
    this.duplicateMs = options.duplicateMs ?? 1000;
    this.slowMs = options.slowMs ?? 0;
    this.hang = options.hang ?? 0;
    this.hangMs = options.hangMs ?? 30_000;
    this.lateMs = options.lateMs ?? 0;
  }

  /** From now on all goes well; what is under way ends as it will. */
  heal(): void {
    this.error = this.lostAnswer = this.torn = this.tears = this.brokenRead = 0;
    this.duplicate = this.slowMs = this.hang = this.lateMs = 0;
    this.down = false;
  }

  chance(part: number): boolean {
    const hit = part > 0 && this.random() < part;
    if (hit) this.happened++;
    return hit;
  }
}

export function faultStorage(
  inner: Storage,
  faults: Faults,
  options: ManagedOptions = {},
): Storage {
  const { clock, random } = faults;
  return new ManagedStorage(new FaultDriver(inner, faults), { clock, random, ...options });
}

class FaultDriver implements StorageDriver {
  readonly #inner: Storage;
  readonly #faults: Faults;
  readonly #visibleAtMs = new Map<string, number>();

  constructor(inner: Storage, faults: Faults) {
    this.#inner = inner;
    this.#faults = faults;
  }

  get name(): string {
    return this.#inner.name;
  }
  get kind(): Storage["kind"] {
    return this.#inner.kind;
  }
  get keepsMetadata(): boolean {
    return this.#inner.keepsMetadata;
  }

  async put(key: string, body: Body, put: DriverPut): Promise<boolean> {
    const faults = this.#faults;
    await this.#request("put", put.signal);
    if (faults.chance(faults.torn)) return await this.#tear(key, body);
    const isNew = faults.lateMs > 0 && (await this.#isMissing(key));
    const done = await this.#put(key, body, put);
    if (done && isNew) {
      this.#visibleAtMs.set(key, faults.clock.now() + faults.lateMs * faults.random());
    }
    if (faults.chance(faults.duplicate)) {
      faults.clock.setTimer(faults.duplicateMs * faults.random(), () => {
        this.#put(key, body, { ...put, signal: undefined }).catch(() => {});
      });
    }
    await this.#answer();
    return done;
  }

  async get(key: string, { range, signal }: DriverGet): Promise<ObjectContent> {
    await this.#request("get", signal);
    if (!this.#isVisible(key)) throw missing(this.name, key);
    const content = await this.#inner.get(key, range === undefined ? {} : { range });
    return { ...content, body: this.#read(content.body) };
  }

  async *list(prefix: string, { after, signal }: DriverList) {
    await this.#request("list", signal);
    let page: StoredObject[] = [];
    for await (const object of this.#inner.list(prefix, { after })) {
      if (this.#isVisible(object.key)) page.push(object);
      if (page.length < 1000) continue;
      yield page;
      page = [];
      await this.#request("list", signal);
    }
    yield page;
  }

  async delete(key: string, signal: AbortSignal | undefined): Promise<void> {
    await this.#request("delete", signal);
    await this.#inner.delete(key);
    await this.#answer();
  }

  async close(): Promise<void> {
    await this.#inner.close();
  }

  async #put(key: string, body: Body, { metadata, ifAbsent }: DriverPut): Promise<boolean> {
    if (!ifAbsent) {
      await this.#inner.put(key, body, { metadata });
      return true;
    }
    if (typeof body === "function") throw new TypeError("conditional puts are of bytes");
    return await this.#inner.putIfAbsent(key, body, { metadata });
  }

  async #request(kind: keyof Faults["requests"], signal: AbortSignal | undefined): Promise<void> {
    const faults = this.#faults;
    signal?.throwIfAborted();
    faults.requests[kind]++;
    if (faults.slowMs > 0) await faults.clock.sleep(faults.slowMs * faults.random(), { signal });
    if (faults.chance(faults.hang)) {
      await faults.clock.sleep(faults.hangMs, { signal });
      throw unavailable("no answer");
    }
    if (faults.down || faults.chance(faults.error)) throw unavailable("the network is down");
  }

  async #answer(): Promise<void> {
    const faults = this.#faults;
    if (faults.slowMs > 0) await faults.clock.sleep(faults.slowMs * faults.random());
    if (faults.chance(faults.lostAnswer)) throw unavailable("the answer was lost");
  }

  async #tear(key: string, body: Body): Promise<never> {
    const sent: Uint8Array[] = [];
    for await (const piece of piecesOf(body)) {
      const part = Math.floor(piece.length * this.#faults.random());
      sent.push(Uint8Array.from(piece.subarray(0, part)));
      if (part < piece.length / 2) break;
    }
    if (this.#faults.chance(this.#faults.tears)) await this.#inner.put(key, Buffer.concat(sent));
    throw unavailable("the connection broke");
  }

  async *#read(body: AsyncIterable<Uint8Array>) {
    const faults = this.#faults;
    for await (const piece of body) {
      if (faults.down || faults.chance(faults.brokenRead)) {
        yield piece.subarray(0, Math.floor(piece.length * faults.random()));
        throw unavailable("the connection broke");
      }
      yield piece;
    }
  }

  #isVisible(key: string): boolean {
    return (this.#visibleAtMs.get(key) ?? 0) <= this.#faults.clock.now();
  }

  async #isMissing(key: string): Promise<boolean> {
    try {
      await this.#inner.get(key, { range: { offset: 0, length: 1 } });
      return false;
    } catch {
      return true;
    }
  }
}
