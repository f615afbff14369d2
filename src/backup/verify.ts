/** Proves a backup by restoring it. */
import { type FileHandle, mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { checkNames } from "../arguments.ts";
import { ReplicaError } from "../errors.ts";
import { formatTxid } from "../ltx/keys.ts";
import { native } from "../native.ts";
import { type BackupFile, planChain } from "../restore/chain.ts";
import { listBackup } from "../restore/inventory.ts";
import {
  type Restored,
  type RestoreIntoOptions,
  restoreInto,
  restoreNames,
} from "../restore/restore.ts";
import { DatabaseCopy } from "../restore/sqlite.ts";
import { decodeManifest, manifestKey, metadataNames, parseChecksum } from "../ship/manifest.ts";
import type { Storage, StorageCallOptions } from "../storage/storage.ts";

/** Of the names of folders for proofs: what is left of a killed one can be deleted. */
export const verifyPrefix = "mergelite-verify-";

export interface VerifyOptions extends RestoreIntoOptions {
  /** Where the backup is restored to, and deleted again. @default a new folder below `os.tmpdir()` */
  readonly folder?: string;
}

export interface Verified extends Restored {
  /** Whether the shipper's own checksum of the database was there to compare with. */
  readonly checksum: "right" | "unknown";
}

/**
 * Restores into a temporary file, compares the checksum of all its pages with what the shipper had
 * read, and has SQLite look through it (`PRAGMA integrity_check`), on other threads.
 * @throws `BACKUP_DAMAGED`, and what `restore` throws
 */
export async function verifyBackup(
  storage: Storage,
  options: VerifyOptions = {},
): Promise<Verified> {
  checkNames(options, [...restoreNames, "folder"]);
  return await verifyFiles(storage, options, () => listBackup(storage, options));
}

/** A file, and where it is known the checksum of the database behind it. */
type KnownFile = BackupFile & { readonly checksum?: bigint };

/** The same with the objects that `list` gives, as if there were no others. */
export async function verifyFiles(
  storage: Storage,
  { folder, ...options }: VerifyOptions,
  list: () => Promise<readonly KnownFile[]>,
): Promise<Verified> {
  const place = await mkdtemp(join(folder ?? tmpdir(), verifyPrefix));
  try {
    const path = join(place, "restored.db");
    const file = await open(path, "wx+");
    let restored: Restored;
    let checksum: bigint;
    try {
      restored = await restoreInto(storage, file, options, { list });
      checksum = await checksumOf(file, restored, options);
    } finally {
      // SQLite opens the file next, and it must be closed by then.
      await file.close();
    }
    const expected = await expectedChecksum(storage, await list(), restored.txid, options);
    if (expected !== undefined && expected !== checksum)
      throw damaged(storage, restored, "its pages have another checksum than the database had");
    const problems = await integrityProblems(path);
    if (problems.length > 0) throw damaged(storage, restored, problems.join("; "));
    return { ...restored, checksum: expected === undefined ? "unknown" : "right" };
  } finally {
    await rm(place, { recursive: true, force: true });
  }
}

/** Of pages that are read at once; twice as much is in memory. */
const readBytes = 1024 * 1024;

async function checksumOf(
  file: FileHandle,
  { bytes, pageSize }: Restored,
  { signal }: StorageCallOptions,
): Promise<bigint> {
  const read = async (buffer: Uint8Array, at: number) => {
    const size = Math.min(buffer.length, bytes - at);
    for (let done = 0; done < size; ) {
      const { bytesRead } = await file.read(buffer, done, size - done, at + done);
      if (bytesRead === 0) throw new Error("the restored file became shorter");
      done += bytesRead;
    }
    return buffer.subarray(0, size);
  };
  let [now, other] = [new Uint8Array(readBytes), new Uint8Array(readBytes)];
  let part = await read(now, 0);
  let sum = 0n;
  for (let at = 0; at < bytes; at += readBytes) {
    signal?.throwIfAborted();
    // The next part is read while this one is summed up.
    const [one, next] = await Promise.all([
      native.sumPages(pageSize, at / pageSize + 1, part),
      read(other, Math.min(at + readBytes, bytes)),
    ]);
    sum ^= one;
    part = next;
    [now, other] = [other, now];
  }
  return sum | (1n << 63n);
}

/** What the shipper noted of the database at that position, in metadata or in the manifest. */
async function expectedChecksum(
  storage: Storage,
  files: readonly KnownFile[],
  txid: number,
  { signal }: StorageCallOptions,
): Promise<bigint | undefined> {
  const known = files.find(({ maxTxid, checksum }) => maxTxid === txid && checksum !== undefined);
  if (known !== undefined) return known.checksum;
  const last = planChain(files, { upTo: txid }).files.at(-1);
  if (storage.keepsMetadata && last !== undefined) {
    const { metadata } = await storage.get(last.key, { signal, range: { offset: 0, length: 1 } });
    return parseChecksum(metadata[metadataNames.checksum] ?? "");
  }
  try {
    const pieces: Uint8Array[] = [];
    for await (const piece of (await storage.get(manifestKey, { signal })).body) pieces.push(piece);
    const { head } = decodeManifest(Buffer.concat(pieces));
    return head.txid === txid ? head.checksum : undefined;
  } catch (error) {
    // Litestream writes none.
    if (error instanceof ReplicaError && error.code === "STORAGE_MISSING") return undefined;
    throw error;
  }
}

async function integrityProblems(path: string): Promise<readonly string[]> {
  let copy: DatabaseCopy | undefined;
  try {
    copy = await DatabaseCopy.open(path);
    return await copy.check();
  } catch (error) {
    // A damaged schema keeps SQLite from looking any further.
    if (error instanceof ReplicaError && error.code === "SQLITE") return [error.message];
    throw error;
  } finally {
    await copy?.close();
  }
}

function damaged(storage: Storage, { txid }: Restored, what: string): ReplicaError {
  return new ReplicaError(
    "BACKUP_DAMAGED",
    `${storage.name} restored to ${formatTxid(txid)} is damaged: ${what}`,
    { hint: "Look whether the database itself is sound, and take a new snapshot of it." },
  );
}
