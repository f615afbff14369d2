/** Reads objects in their order, small ones ahead of time: most of the time a request waits. */
import type { Storage } from "../storage/storage.ts";
import type { BackupFile } from "./chain.ts";

export interface Fetched {
  readonly file: BackupFile;
  /** Fails where its reading does. */
  readonly body: AsyncIterable<Uint8Array>;
}

export interface FetchOptions {
  readonly signal?: AbortSignal | undefined;
  /** Objects up to this size are read ahead of time. @default 4 MiB */
  readonly smallBytes?: number;
  /** Objects read ahead of time. @default 8 */
  readonly aheadMax?: number;
}

/** What was read ahead in vain is dropped when the generator ends. */
export async function* fetchInOrder(
  storage: Storage,
  files: readonly BackupFile[],
  { signal, smallBytes = 4 * 1024 * 1024, aheadMax = 8 }: FetchOptions = {},
): AsyncGenerator<Fetched, void, undefined> {
  const ahead = new Map<BackupFile, Promise<Uint8Array[]>>();
  const stop = new AbortController();
  const either = signal === undefined ? stop.signal : AbortSignal.any([stop.signal, signal]);
  let next = 0;
  try {
    for (const file of files) {
      for (; next < files.length && ahead.size < aheadMax; next++) {
        const later = files[next];
        if (later === undefined || later.bytes > smallBytes) continue;
        const reading = readWhole(storage, later, either);
        // Whoever waits for it hears of the failure; until then nobody does.
        reading.catch(() => {});
        ahead.set(later, reading);
      }
      const whole = ahead.get(file);
      ahead.delete(file);
      yield { file, body: whole === undefined ? stream(storage, file, either) : piecesOf(whole) };
    }
  } finally {
    stop.abort();
  }
}

async function* stream(
  storage: Storage,
  file: BackupFile,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  yield* (await storage.get(file.key, { signal })).body;
}

async function readWhole(
  storage: Storage,
  file: BackupFile,
  signal: AbortSignal,
): Promise<Uint8Array[]> {
  const pieces: Uint8Array[] = [];
  for await (const piece of stream(storage, file, signal)) pieces.push(piece);
  return pieces;
}

async function* piecesOf(whole: Promise<Uint8Array[]>): AsyncGenerator<Uint8Array> {
  yield* await whole;
}
