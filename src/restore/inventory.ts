/** What LTX files a storage has. */
import { ReplicaError } from "../errors.ts";
import { decodeLtxHeader, type LtxHeader, ltxHeaderBytes } from "../ltx/header.ts";
import { formatTxid, levelStyleOf, ltxLevelPrefix, ltxPrefix, parseLtxKey } from "../ltx/keys.ts";
import type { LtxReader } from "../ltx/reader.ts";
import {
  checkStorage,
  type ListOptions,
  type Storage,
  type StorageCallOptions,
} from "../storage/storage.ts";
import type { BackupFile } from "./chain.ts";

/** A list longer than this is not one of a backup that anything prunes. */
const filesMax = 1_000_000;

/**
 * All of them, from the lowest level on: a file that is compacted while the list is read is in it
 * at least once. Objects with other names are nobody's business.
 */
export async function listBackup(
  storage: Storage,
  options: StorageCallOptions = {},
): Promise<BackupFile[]> {
  checkStorage(storage);
  return await listFiles(storage, ltxPrefix(levelStyleOf(storage)), options);
}

/** Of level 0, those that begin with the transaction `from` or later. */
export async function listShipped(
  storage: Storage,
  { from, signal }: StorageCallOptions & { readonly from: number },
): Promise<BackupFile[]> {
  const prefix = ltxLevelPrefix(0, levelStyleOf(storage));
  return await listFiles(storage, prefix, { signal, after: prefix + formatTxid(from) });
}

async function listFiles(
  storage: Storage,
  prefix: string,
  { signal, after }: ListOptions,
): Promise<BackupFile[]> {
  const files: BackupFile[] = [];
  const options = { signal, ...(after === undefined ? {} : { after }) };
  for await (const { key, bytes, modifiedMs } of storage.list(prefix, options)) {
    const file = parseLtxKey(key);
    if (file !== undefined) files.push({ ...file, key, bytes, modifiedMs });
    if (files.length <= filesMax) continue;
    throw new ReplicaError("STORAGE_FAILED", `${storage.name} has over ${filesMax} LTX files`, {
      hint: "Prune the backup, or give each database a place of its own.",
    });
  }
  return files;
}

/** Of one file, with one small request. @throws `LTX_CORRUPT`, `STORAGE_MISSING` */
export async function readHeader(
  storage: Storage,
  file: BackupFile,
  { signal }: StorageCallOptions = {},
): Promise<LtxHeader> {
  const range = { offset: 0, length: ltxHeaderBytes };
  const { body } = await storage.get(file.key, { range, signal });
  const pieces: Uint8Array[] = [];
  for await (const piece of body) pieces.push(piece);
  const header = decodeLtxHeader(Buffer.concat(pieces), file.key);
  checkHeader(header, file);
  return header;
}

/** @throws `LTX_CORRUPT` for a file that is not what its key says. */
export function checkHeader({ minTxid, maxTxid }: LtxHeader, file: BackupFile): void {
  if (minTxid === file.minTxid && maxTxid === file.maxTxid) return;
  throw new ReplicaError("LTX_CORRUPT", `${file.key}: it is not what its name says`);
}

/** @throws `LTX_CORRUPT` for a file whose pages have another size than those before it. */
export function checkPageSize(
  { header, name }: Pick<LtxReader, "header" | "name">,
  before: LtxHeader | undefined,
): void {
  if (before === undefined || header.minTxid === 1 || before.pageSize === header.pageSize) return;
  const sizes = `${header.pageSize} bytes and the ones before ${before.pageSize}`;
  throw new ReplicaError("LTX_CORRUPT", `${name}: its pages have ${sizes}`);
}
