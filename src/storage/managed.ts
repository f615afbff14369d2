/** What all kinds of storage have in common: retries, a limit of requests, checked arguments. */
import { ReplicaError } from "../errors.ts";
import {
  bytesOf,
  changedMeanwhile,
  type DriverPut,
  type StorageDriver,
  unavailable,
} from "./driver.ts";
import { checkKey, checkMetadata, checkPrefix } from "./keys.ts";
import { Limit } from "./limit.ts";
import { Attempts, isPassing, type RetryOptions } from "./retry.ts";
import type {
  Body,
  GetOptions,
  ListOptions,
  ObjectContent,
  PutOptions,
  Storage,
  StorageCallOptions,
  StorageKind,
  StoredObject,
} from "./storage.ts";

export interface ManagedOptions extends RetryOptions {
  /** Requests under way at a time; bodies being read do not count. @default 8 */
  readonly requestsMax?: number;
}

/** Of {@link ManagedOptions}. */
export const managedNames: readonly string[] = [
  "requestsMax",
  "attemptsMax",
  "pauseMs",
  "pauseMsMax",
  "clock",
  "random",
];

/** `putIfAbsent` sends its bytes in one piece, and may read them back. */
const smallBytesMax = 1024 * 1024;

export class ManagedStorage implements Storage {
  readonly #driver: StorageDriver;
  readonly #options: ManagedOptions;
  readonly #limit: Limit;
  #closed: Promise<void> | undefined;

  constructor(driver: StorageDriver, options: ManagedOptions = {}) {
    this.#driver = driver;
    this.#options = options;
    this.#limit = new Limit(options.requestsMax ?? 8);
  }

  get name(): string {
    return this.#driver.name;
  }
  get kind(): StorageKind {
    return this.#driver.kind;
  }
  get keepsMetadata(): boolean {
    return this.#driver.keepsMetadata;
  }

  async put(key: string, body: Body, options: PutOptions = {}): Promise<void> {
    const put = this.#putOf(key, options, false);
    await this.#attempts(options).run(() => this.#once(() => this.#driver.put(key, body, put)));
  }

  async putIfAbsent(key: string, body: Uint8Array, options: PutOptions = {}): Promise<boolean> {
    const put = this.#putOf(key, options, true);
    if (body.length > smallBytesMax) throw new TypeError("putIfAbsent takes at most 1 MiB");
    const attempts = this.#attempts(options);
    const done = await attempts.run(() => this.#once(() => this.#driver.put(key, body, put)));
    if (done || !attempts.repeated) return done;
    // An attempt before this one may have put the object, and its answer was lost.
    const there = await attempts.run(() => this.#readBack(key, options));
    return Buffer.compare(there, body) === 0;
  }

  async get(key: string, options: GetOptions = {}): Promise<ObjectContent> {
    checkKey(key);
    const attempts = this.#attempts(options);
    const { signal, range } = options;
    const content = await attempts.run(() =>
      this.#once(() => this.#driver.get(key, { range, signal })),
    );
    const offset = Math.min(range?.offset ?? 0, content.bytes);
    const length = Math.min(range?.length ?? Number.POSITIVE_INFINITY, content.bytes - offset);
    return { ...content, body: this.#resuming(key, content, { offset, length, signal }) };
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<StoredObject> {
    checkPrefix(prefix);
    const { signal } = options;
    let after = options.after ?? "";
    const attempts = this.#attempts(options);
    for (;;) {
      this.#checkOpen();
      signal?.throwIfAborted();
      try {
        for await (const page of this.#driver.list(prefix, { after, signal })) {
          attempts.reset();
          for (const object of page) {
            yield object;
            after = object.key;
          }
        }
        return;
      } catch (error) {
        await attempts.pauseAfter(error);
      }
    }
  }

  async delete(key: string, options: StorageCallOptions = {}): Promise<void> {
    checkKey(key);
    const { signal } = options;
    await this.#attempts(options).run(() => this.#once(() => this.#driver.delete(key, signal)));
  }

  async close(): Promise<void> {
    this.#closed ??= this.#driver.close();
    await this.#closed;
  }

  /** What is there for sure, though some storages show it a moment late. */
  async #readBack(key: string, { signal }: StorageCallOptions): Promise<Uint8Array> {
    try {
      const range = { offset: 0, length: smallBytesMax };
      return await bytesOf((await this.get(key, { range, signal })).body);
    } catch (error) {
      const isMissing = error instanceof ReplicaError && error.code === "STORAGE_MISSING";
      throw isMissing ? unavailable(error.message, error) : error;
    }
  }

  #putOf(key: string, { metadata = {}, signal }: PutOptions, ifAbsent: boolean): DriverPut {
    checkKey(key);
    checkMetadata(metadata);
    return { metadata, ifAbsent, signal };
  }

  #attempts({ signal }: StorageCallOptions): Attempts {
    return new Attempts(this.#options, signal);
  }

  async #once<T>(attempt: () => Promise<T>): Promise<T> {
    this.#checkOpen();
    return await this.#limit.run(attempt);
  }

  #checkOpen(): void {
    if (this.#closed !== undefined) throw new ReplicaError("CLOSED", `${this.name} is closed`);
  }

  async *#resuming(
    key: string,
    first: ObjectContent,
    part: { offset: number; length: number; signal: AbortSignal | undefined },
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const { offset, length, signal } = part;
    const attempts = new Attempts(this.#options, signal);
    let content = first;
    let done = 0;
    for (;;) {
      try {
        for await (const piece of content.body) {
          signal?.throwIfAborted();
          attempts.reset();
          done += piece.length;
          yield piece;
        }
        if (done >= length) return;
        throw unavailable(`${this.name}: ${key} ended after ${done} of ${length} bytes`);
      } catch (error) {
        if (isPassing(error) && done >= length) return;
        await attempts.pauseAfter(error);
      }
      const rest = { offset: offset + done, length: length - done };
      content = await attempts.run(() =>
        this.#once(() => this.#driver.get(key, { range: rest, signal })),
      );
      if (content.version === first.version && content.bytes === first.bytes) continue;
      throw changedMeanwhile(this.name, key);
    }
  }
}
