/** Objects in memory, as a driver, for tests that need a storage and not one kind of it. */
import {
  bytesOf,
  type DriverGet,
  type DriverList,
  type DriverPut,
  missing,
  type StorageDriver,
} from "../../src/storage/driver.ts";
import { type ManagedOptions, ManagedStorage } from "../../src/storage/managed.ts";
import type {
  Body,
  Metadata,
  ObjectContent,
  Storage,
  StorageKind,
} from "../../src/storage/storage.ts";

export interface MemoryObject {
  readonly bytes: Uint8Array;
  readonly metadata: Metadata;
  readonly version: string;
  readonly modifiedMs: number;
}

export class MemoryDriver implements StorageDriver {
  kind: StorageKind = "file";
  readonly keepsMetadata = true;
  readonly name = "memory://test";
  readonly objects = new Map<string, MemoryObject>();
  readonly #now: () => number;
  #puts = 0;

  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  async put(key: string, body: Body, { metadata, ifAbsent, signal }: DriverPut): Promise<boolean> {
    signal?.throwIfAborted();
    const bytes = Uint8Array.from(await bytesOf(body));
    if (ifAbsent && this.objects.has(key)) return false;
    const version = String(++this.#puts);
    this.objects.set(key, { bytes, metadata, version, modifiedMs: this.#now() });
    return true;
  }

  async get(key: string, { range, signal }: DriverGet): Promise<ObjectContent> {
    signal?.throwIfAborted();
    const object = this.objects.get(key);
    if (object === undefined) throw missing(this.name, key);
    const { bytes, metadata, version } = object;
    const end = range === undefined ? bytes.length : range.offset + range.length;
    async function* body() {
      yield Uint8Array.from(bytes.subarray(range?.offset ?? 0, end));
    }
    return { bytes: bytes.length, metadata, version, body: body() };
  }

  async *list(prefix: string, { after, signal }: DriverList) {
    const keys = [...this.objects.keys()].filter((key) => key.startsWith(prefix) && key > after);
    keys.sort();
    for (let at = 0; at < keys.length; at += 1000) {
      signal?.throwIfAborted();
      yield keys.slice(at, at + 1000).flatMap((key) => {
        const object = this.objects.get(key);
        if (object === undefined) return [];
        return [{ key, bytes: object.bytes.length, modifiedMs: object.modifiedMs }];
      });
    }
  }

  async delete(key: string, signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted();
    this.objects.delete(key);
  }

  async close(): Promise<void> {}
}

export function memoryStorage(options: ManagedOptions = {}): Storage {
  return new ManagedStorage(new MemoryDriver(), options);
}
