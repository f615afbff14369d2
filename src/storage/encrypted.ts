/** A storage in front of another one that keeps what goes there from those who run it. */
import { randomBytes } from "node:crypto";
import { bytesOf, changedMeanwhile, piecesOf } from "./driver.ts";
import {
  damagedObject,
  type EncryptionKeys,
  encryptedHeaderBytes,
  encryptedMagic,
  isEncrypted,
  KeyRing,
  noKey,
  type ObjectName,
  plainBytesOf,
  sealedSegmentBytes,
  segmentBytes,
  segmentsOf,
} from "./encryption.ts";
import { Pieces } from "./pieces.ts";
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

/**
 * Everything put is encrypted with the first key; everything read must be encrypted, with any of
 * them. Keys of objects, their sizes, times and metadata stay to be seen.
 *
 * Reading throws `ENCRYPTION_PLAIN` for what is not encrypted, `ENCRYPTION_KEY` without its key, and
 * `ENCRYPTION_DAMAGED` for anything but what was put under that key of that object. Of a range the
 * bytes are authentic, the object's length only when the range comes to its end.
 * @throws `TypeError`
 */
export function encryptedStorage(inner: Storage, keys: EncryptionKeys): Storage {
  return new EncryptedStorage(inner, new KeyRing(keys));
}

/** A storage that nothing encrypted is read from as if it were plain. @throws `ENCRYPTION_KEY` */
export function plainStorage(inner: Storage): Storage {
  return new PlainStorage(inner);
}

/** Up to here an object is encrypted in one piece. */
const wholeBytesMax = 1024 * 1024;

abstract class WrappedStorage implements Storage {
  protected readonly inner: Storage;

  constructor(inner: Storage) {
    this.inner = inner;
  }

  get name(): string {
    return this.inner.name;
  }
  get kind(): StorageKind {
    return this.inner.kind;
  }
  get keepsMetadata(): boolean {
    return this.inner.keepsMetadata;
  }

  abstract put(key: string, body: Body, options?: PutOptions): Promise<void>;
  abstract putIfAbsent(key: string, body: Uint8Array, options?: PutOptions): Promise<boolean>;
  abstract get(key: string, options?: GetOptions): Promise<ObjectContent>;
  abstract list(prefix: string, options?: ListOptions): AsyncIterable<StoredObject>;

  async delete(key: string, options?: StorageCallOptions): Promise<void> {
    await this.inner.delete(key, options);
  }
  async close(): Promise<void> {
    await this.inner.close();
  }
}

class PlainStorage extends WrappedStorage {
  async put(key: string, body: Body, options?: PutOptions): Promise<void> {
    await this.inner.put(key, body, options);
  }
  async putIfAbsent(key: string, body: Uint8Array, options?: PutOptions): Promise<boolean> {
    return await this.inner.putIfAbsent(key, body, options);
  }
  list(prefix: string, options?: ListOptions): AsyncIterable<StoredObject> {
    return this.inner.list(prefix, options);
  }

  async get(key: string, options?: GetOptions): Promise<ObjectContent> {
    const content = await this.inner.get(key, options);
    const isBeginning = (options?.range?.offset ?? 0) === 0;
    return isBeginning ? { ...content, body: this.#looked(key, content.body) } : content;
  }

  async *#looked(key: string, body: AsyncIterable<Uint8Array>) {
    let beginning: Uint8Array = new Uint8Array();
    let isKnown = false;
    for await (const piece of body) {
      if (isKnown) {
        yield piece;
        continue;
      }
      beginning = Buffer.concat([beginning, piece]);
      if (beginning.length < encryptedMagic.length) continue;
      if (isEncrypted(beginning)) throw noKey(`${this.name}: ${key}`, "it is encrypted");
      isKnown = true;
      yield beginning;
    }
    if (!isKnown && beginning.length > 0) yield beginning;
  }
}

class EncryptedStorage extends WrappedStorage {
  readonly #ring: KeyRing;

  constructor(inner: Storage, ring: KeyRing) {
    super(inner);
    this.#ring = ring;
  }

  async put(key: string, body: Body, options?: PutOptions): Promise<void> {
    // Begun again, an upload has a salt of its own again: no two bodies share a key and a nonce.
    const sealed = () => this.#seal(key, body);
    const isSmall = typeof body !== "function" && body.length <= wholeBytesMax;
    await this.inner.put(key, isSmall ? await bytesOf(sealed()) : sealed, options);
  }

  async putIfAbsent(key: string, body: Uint8Array, options?: PutOptions): Promise<boolean> {
    return await this.inner.putIfAbsent(key, await bytesOf(this.#seal(key, body)), options);
  }

  async get(key: string, { range, signal }: GetOptions = {}): Promise<ObjectContent> {
    const start = range?.offset ?? 0;
    const end = start + (range?.length ?? Number.MAX_SAFE_INTEGER);
    const first = Math.floor(start / segmentBytes);
    const after = Math.max(first + 1, Math.ceil(end / segmentBytes));
    // The header comes along when the beginning is read.
    const offset = first === 0 ? 0 : encryptedHeaderBytes + first * sealedSegmentBytes;
    const length = encryptedHeaderBytes + after * sealedSegmentBytes - offset;
    const sealed = range === undefined ? {} : { range: { offset, length } };
    const content = await this.inner.get(key, { ...sealed, signal });
    const bytes = plainBytesOf(content.bytes);
    const part = { first, start, end: Math.min(end, bytes ?? 0), bytes, signal };
    return { ...content, bytes: bytes ?? 0, body: this.#open(key, content, part) };
  }

  async *list(prefix: string, options?: ListOptions): AsyncGenerator<StoredObject> {
    for await (const object of this.inner.list(prefix, options)) {
      // Some other program's, which nothing but a look at it tells.
      yield { ...object, bytes: plainBytesOf(object.bytes) ?? object.bytes };
    }
  }

  async *#seal(key: string, body: Body): AsyncGenerator<Uint8Array, void, undefined> {
    const { header, segments } = this.#ring.seal(this.#object(key), randomBytes(32));
    yield header;
    const pieces = new Pieces(piecesOf(body));
    try {
      let segment = await pieces.take(segmentBytes);
      for (let index = 0; ; index++) {
        // Which segment is the last is known when there is no other.
        const next = await pieces.take(segmentBytes);
        yield segments.seal(index, segment, next.length === 0);
        if (next.length === 0) return;
        segment = next;
      }
    } finally {
      await pieces.close();
    }
  }

  async *#open(
    key: string,
    content: ObjectContent,
    part: {
      readonly first: number;
      readonly start: number;
      readonly end: number;
      readonly bytes: number | undefined;
      readonly signal: AbortSignal | undefined;
    },
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const { first, start, end, bytes, signal } = part;
    const object = this.#object(key);
    const reader = new Pieces(content.body);
    const nextSegment = () => reader.take(sealedSegmentBytes);
    try {
      // Begun first: only a body that was begun is dropped when the header cannot be read.
      let begun = first === 0 ? undefined : await nextSegment();
      const header =
        begun === undefined
          ? await reader.take(encryptedHeaderBytes)
          : await this.#header(key, content.version, signal);
      const segments = this.#ring.open(object, header);
      if (bytes === undefined) throw damagedObject(object.name);
      const last = segmentsOf(bytes) - 1;
      for (let index = first; index <= last; index++) {
        const from = index * segmentBytes;
        if (index > first && from >= end) return;
        const isLast = index === last;
        const plain = segments.open(index, begun ?? (await nextSegment()), isLast);
        begun = undefined;
        const wanted = plain.subarray(Math.max(0, start - from), Math.max(0, end - from));
        if (wanted.length > 0) yield wanted;
      }
    } finally {
      await reader.close();
    }
  }

  #object(key: string): ObjectName {
    return { key, name: `${this.name}: ${key}` };
  }

  async #header(
    key: string,
    version: string,
    signal: AbortSignal | undefined,
  ): Promise<Uint8Array> {
    const range = { offset: 0, length: encryptedHeaderBytes };
    const content = await this.inner.get(key, { range, signal });
    const header = await bytesOf(content.body);
    if (content.version === version) return header;
    throw changedMeanwhile(this.name, key);
  }
}
