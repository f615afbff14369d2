/** The row of a lease's objects in a storage. */
import { randomUUID } from "node:crypto";
import { ReplicaError } from "../errors.ts";
import { bytesOf, unavailable } from "../storage/driver.ts";
import type { Storage, StorageCallOptions } from "../storage/storage.ts";
import {
  decodeLease,
  encodeLease,
  type LeaseRecord,
  leaseKey,
  leaseNumberOf,
  leasePrefix,
} from "./lease-rules.ts";

/** Longer ones are nobody's lease. */
const recordBytesMax = 4096;

/** Objects of the row before a new holding tidies up. */
const rowLengthMax = 64;

export class LeaseRow {
  readonly #storage: Storage;
  readonly #root: string;

  constructor(storage: Storage, root: string) {
    this.#storage = storage;
    this.#root = root;
  }

  get name(): string {
    return `${this.#storage.name}: ${this.#root}lease`;
  }

  /** All numbers there are, rising. */
  async numbers(options: StorageCallOptions): Promise<number[]> {
    const numbers: number[] = [];
    for await (const { key } of this.#storage.list(leasePrefix(this.#root), options)) {
      const number = leaseNumberOf(this.#root, key);
      if (number !== undefined) numbers.push(number);
    }
    return numbers;
  }

  /** `undefined`: it is gone. */
  async read(number: number, options: StorageCallOptions): Promise<LeaseRecord | undefined> {
    const key = leaseKey(this.#root, number);
    try {
      const range = { offset: 0, length: recordBytesMax };
      const { body } = await this.#storage.get(key, { range, ...options });
      return decodeLease(await bytesOf(body), `${this.#storage.name}: ${key}`);
    } catch (error) {
      if (error instanceof ReplicaError && error.code === "STORAGE_MISSING") return undefined;
      throw error;
    }
  }

  /**
   * `ours`: an object of this very holding is there already, from a put whose answer was lost. It
   * has been there for longer than this call, so whoever waits has waited since then.
   */
  async put(
    number: number,
    record: Omit<LeaseRecord, "nonce">,
    options: StorageCallOptions,
  ): Promise<"done" | "ours" | "taken"> {
    const bytes = encodeLease({ ...record, nonce: randomUUID() });
    const key = leaseKey(this.#root, number);
    if (await this.#storage.putIfAbsent(key, bytes, options)) return "done";
    const there = await this.read(number, options);
    // Seen late, or deleted at this moment: the next try tells.
    if (there === undefined) throw unavailable(`${this.#storage.name}: ${key} is there and is not`);
    return there.holding === record.holding ? "ours" : "taken";
  }

  async delete(number: number, options: StorageCallOptions): Promise<void> {
    await this.#storage.delete(leaseKey(this.#root, number), options);
  }

  /** Forgets what is far behind, given all numbers. */
  async tidy(numbers: readonly number[], options: StorageCallOptions): Promise<void> {
    if (numbers.length <= rowLengthMax) return;
    for (const number of numbers.slice(0, -rowLengthMax / 2)) await this.delete(number, options);
  }
}
