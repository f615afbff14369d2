/** Reads objects in their order, and ahead of time: most of the time a request waits. */
import { changedMeanwhile } from "../storage/driver.ts";
import { Limit } from "../storage/limit.ts";
import type { ObjectContent, Storage, StorageKind } from "../storage/storage.ts";
import type { BackupFile } from "./chain.ts";

export interface Fetched {
  readonly file: BackupFile;
  /** Fails where its reading does. */
  readonly body: AsyncIterable<Uint8Array>;
}

export interface FetchOptions {
  readonly signal?: AbortSignal | undefined;
  /** Read large objects over several connections; each part is a request. @default false */
  readonly hurries?: boolean;
  /** Bytes of such a part; four of them are read ahead of time. @default 4 MiB */
  readonly partBytes?: number;
}

/** Objects up to this size are read whole. */
const smallBytes = 4 * 1024 * 1024;
/** Of them together, in bytes and in number. */
const aheadBytesMax = 32 * 1024 * 1024;
const aheadMax = 64;
/** Fewer than a storage has requests under way: those for large ones do not wait for all others. */
const aheadAtOnce = 6;
const partsAhead = 4;
/** Where a connection is slower than the way there, and a request for a part costs little. */
const inParts: ReadonlySet<StorageKind> = new Set(["azure", "gcs", "s3"]);

/** What was read ahead in vain is dropped when the generator ends. */
export async function* fetchInOrder(
  storage: Storage,
  files: readonly BackupFile[],
  { signal, hurries = false, partBytes = 4 * 1024 * 1024 }: FetchOptions = {},
): AsyncGenerator<Fetched, void, undefined> {
  const stop = new AbortController();
  const either = signal === undefined ? stop.signal : AbortSignal.any([stop.signal, signal]);
  const small = new SmallObjects(storage, files, either);
  const parts = hurries && inParts.has(storage.kind);
  try {
    for (const file of files) {
      small.readAhead();
      const whole = small.take(file);
      const get = { key: file.key, partBytes, signal: either };
      if (whole !== undefined) yield { file, body: piecesOf(whole) };
      else if (parts) yield { file, body: readParts(storage, get) };
      else yield { file, body: stream(storage, get) };
    }
  } finally {
    stop.abort();
  }
}

/** Those of the files that are read whole, some of them ahead of the others. */
class SmallObjects {
  readonly #storage: Storage;
  readonly #files: readonly BackupFile[];
  readonly #signal: AbortSignal;
  readonly #limit = new Limit(aheadAtOnce);
  readonly #reading = new Map<BackupFile, Promise<Uint8Array[]>>();
  #next = 0;
  #bytes = 0;

  constructor(storage: Storage, files: readonly BackupFile[], signal: AbortSignal) {
    this.#storage = storage;
    this.#files = files;
    this.#signal = signal;
  }

  readAhead(): void {
    for (; this.#next < this.#files.length && this.#reading.size < aheadMax; this.#next++) {
      const file = this.#files[this.#next];
      if (file === undefined || file.bytes > smallBytes) continue;
      if (this.#bytes + file.bytes > aheadBytesMax) return;
      const get = { key: file.key, signal: this.#signal };
      const reading = this.#limit.run(async () => {
        this.#signal.throwIfAborted();
        return await collect(stream(this.#storage, get));
      });
      this.#reading.set(file, quietly(reading));
      this.#bytes += file.bytes;
    }
  }

  take(file: BackupFile): Promise<Uint8Array[]> | undefined {
    const whole = this.#reading.get(file);
    if (this.#reading.delete(file)) this.#bytes -= file.bytes;
    return whole;
  }
}

interface Get {
  readonly key: string;
  readonly signal: AbortSignal;
}

async function* stream(
  storage: Storage,
  { key, signal }: Get,
): AsyncGenerator<Uint8Array, void, undefined> {
  yield* (await storage.get(key, { signal })).body;
}

async function* readParts(
  storage: Storage,
  { key, signal, partBytes }: Get & { readonly partBytes: number },
): AsyncGenerator<Uint8Array, void, undefined> {
  const get = (offset: number) =>
    storage.get(key, { signal, range: { offset, length: partBytes } });
  const first = await get(0);
  const readPart = async (offset: number) => {
    const content = await get(offset);
    // A body that nobody begins to read keeps its connection.
    const pieces = await collect(content.body);
    checkSame(storage, key, first, content);
    return pieces;
  };
  const ahead: Promise<Uint8Array[]>[] = [];
  let next = partBytes;
  const readAhead = () => {
    for (; ahead.length < partsAhead && next < first.bytes; next += partBytes) {
      ahead.push(quietly(readPart(next)));
    }
  };
  readAhead();
  yield* first.body;
  for (let part = ahead.shift(); part !== undefined; part = ahead.shift()) {
    const pieces = await part;
    readAhead();
    yield* pieces;
  }
}

function checkSame(storage: Storage, key: string, a: ObjectContent, b: ObjectContent): void {
  if (a.version === b.version && a.bytes === b.bytes) return;
  throw changedMeanwhile(storage.name, key);
}

async function collect(body: AsyncIterable<Uint8Array>): Promise<Uint8Array[]> {
  const pieces: Uint8Array[] = [];
  for await (const piece of body) pieces.push(piece);
  return pieces;
}

/** Whoever waits for it hears of the failure; until then nobody does. */
function quietly<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {});
  return promise;
}

async function* piecesOf(whole: Promise<Uint8Array[]>): AsyncGenerator<Uint8Array> {
  yield* await whole;
}
