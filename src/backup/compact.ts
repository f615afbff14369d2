/** Joins objects of a backup into one, without a look at the database. */
import { compactLtx } from "../ltx/compact.ts";
import { levelStyleOf, ltxKey } from "../ltx/keys.ts";
import { LtxReader } from "../ltx/reader.ts";
import { encodeLtx } from "../ltx/writer.ts";
import type { BackupFile } from "../restore/chain.ts";
import { checkHeader } from "../restore/inventory.ts";
import { metadataOf } from "../ship/manifest.ts";
import type { Metadata, Storage, StorageCallOptions } from "../storage/storage.ts";
import type { CompactionStep, TimedFile } from "./levels.ts";

export interface CompactOptions extends StorageCallOptions {
  /** Put with the object, over what its last input has; where the storage keeps metadata. */
  readonly metadata?: Metadata;
  /** In ms since 1970, for the file's `modifiedMs`. @default 0 */
  readonly nowMs?: number;
}

/** All inputs together unpack so much at a time, in bytes. */
const unpackedBytesMax = 4 * 1024 * 1024;

/**
 * Puts the joined file and reads it back, to its checksum: its inputs may be deleted afterwards.
 * They are all read, too, so that damage in one of them is noticed and not passed on.
 * @throws `LTX_CORRUPT`, `LTX_GAP`, and the storage's errors; then nothing has changed
 */
export async function compact(
  storage: Storage,
  { level, inputs }: CompactionStep,
  { metadata = {}, nowMs = 0, signal }: CompactOptions = {},
): Promise<TimedFile> {
  const first = inputs[0];
  const last = inputs.at(-1);
  if (first === undefined || last === undefined) throw new TypeError("a step has inputs");
  const file = { level, minTxid: first.minTxid, maxTxid: last.maxTxid };
  const key = ltxKey(file, levelStyleOf(storage));
  const inherited = storage.keepsMetadata ? await metadataBehind(storage, last, signal) : {};
  let bytes = 0;
  const body = async function* () {
    bytes = 0;
    for await (const piece of joined(storage, inputs, signal)) {
      bytes += piece.length;
      yield piece;
    }
  };
  await storage.put(key, body, { metadata: { ...inherited, ...metadata }, signal });
  const { timestampMs, checksum } = last;
  const known = checksum === undefined ? {} : { checksum };
  const made = { ...file, key, bytes, modifiedMs: nowMs, timestampMs, ...known };
  try {
    await readThrough(storage, made, { signal });
  } catch (error) {
    await storage.delete(key, { signal });
    throw error;
  }
  return made;
}

async function metadataBehind(
  storage: Storage,
  file: TimedFile,
  signal: AbortSignal | undefined,
): Promise<Metadata> {
  const { maxTxid: txid, timestampMs, checksum } = file;
  // The fence is that of who joins.
  if (checksum !== undefined) return metadataOf({ txid, timestampMs, checksum }, 0);
  return (await storage.get(file.key, { signal, range: { offset: 0, length: 1 } })).metadata;
}

async function* joined(
  storage: Storage,
  inputs: readonly TimedFile[],
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  const batchBytes = Math.ceil(unpackedBytesMax / Math.max(inputs.length, 16));
  const opened = await Promise.allSettled(
    inputs.map((file) => openFile(storage, file, { batchBytes, signal })),
  );
  const readers = opened.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
  try {
    for (const one of opened) if (one.status === "rejected") throw one.reason;
    const { header, batches } = compactLtx(readers);
    yield* encodeLtx(header, batches);
  } finally {
    for (const reader of readers) await reader.close();
  }
}

async function openFile(
  storage: Storage,
  file: BackupFile,
  { signal, ...options }: StorageCallOptions & { readonly batchBytes?: number },
): Promise<LtxReader> {
  const { body } = await storage.get(file.key, { signal });
  const reader = await LtxReader.open(body, { name: file.key, ...options });
  try {
    checkHeader(reader.header, file);
    return reader;
  } catch (error) {
    await reader.close();
    throw error;
  }
}

/** Reads an object to its checksum. @throws `LTX_CORRUPT`, and the storage's errors */
export async function readThrough(
  storage: Storage,
  file: BackupFile,
  { signal }: StorageCallOptions,
): Promise<void> {
  const reader = await openFile(storage, file, { signal });
  for await (const _ of reader.batches()) {
    // Its checksum is at its end.
  }
}
