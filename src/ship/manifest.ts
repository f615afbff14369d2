/**
 * What a backup says about itself besides its LTX files. Restoring needs neither of the two: the
 * files alone are enough, and Litestream writes nothing else.
 *
 * - **Metadata** of each LTX object, where the storage keeps any: its time, and the checksum of the
 *   database.
 * - The **manifest**, one small object: what the shipper knew last. Put after every upload where
 *   the storage keeps no metadata, elsewhere with snapshots of the database and when the shipper
 *   closes: so the head it names may be older than the newest file, and is never newer.
 */
import { ReplicaError } from "../errors.ts";
import { formatTxid, parseTxid } from "../ltx/keys.ts";
import type { Metadata } from "../storage/storage.ts";

export const manifestKey = "mergelite/manifest.json";

/** What is known of the database at one position. */
export interface DatabaseState {
  readonly txid: number;
  /** As in the header of the LTX file that ends there. */
  readonly timestampMs: number;
  /** Of the database, in pages. */
  readonly pages: number;
  /**
   * Of the database: exclusive or of the checksums of all its pages but the lock page (see
   * `pageChecksums`), with the highest bit set. Tells whether a restored file is right.
   */
  readonly checksum: bigint;
}

export interface Manifest {
  readonly pageSize: number;
  /** The newest position uploaded. */
  readonly head: DatabaseState;
  /** The number of the lease under which it was put; 0 without a lease. */
  readonly fence: number;
}

/** Names of metadata. Litestream restores to a time by the first. */
export const metadataNames = {
  timestamp: "litestream-timestamp",
  checksum: "mergelite-checksum",
  fence: "mergelite-fence",
} as const;

/** Of an LTX object that ends at `at`. */
export function metadataOf(
  at: Pick<DatabaseState, "txid" | "timestampMs" | "checksum">,
  fence: number,
): Metadata {
  return {
    [metadataNames.timestamp]: new Date(at.timestampMs).toISOString(),
    [metadataNames.checksum]: formatChecksum(at.checksum),
    ...(fence === 0 ? {} : { [metadataNames.fence]: String(fence) }),
  };
}

export function formatChecksum(checksum: bigint): string {
  return checksum.toString(16).padStart(16, "0");
}

/** `undefined` unless it is 16 hexadecimal digits. */
export function parseChecksum(text: string): bigint | undefined {
  return /^[0-9a-f]{16}$/.test(text) ? BigInt(`0x${text}`) : undefined;
}

export function encodeManifest({ pageSize, head, fence }: Manifest): Uint8Array {
  const { txid, timestampMs, pages, checksum } = head;
  const text = JSON.stringify({
    format: 1,
    pageSize,
    head: { txid: formatTxid(txid), timestampMs, pages, checksum: formatChecksum(checksum) },
    fence,
  });
  return new TextEncoder().encode(`${text}\n`);
}

/** @throws `BACKUP_DAMAGED` */
export function decodeManifest(bytes: Uint8Array): Manifest {
  const manifest = readManifest(bytes);
  if (manifest !== undefined) return manifest;
  throw new ReplicaError("BACKUP_DAMAGED", `${manifestKey} is no manifest of a backup`, {
    hint: "The backup can be restored without it: delete that object.",
  });
}

export const manifestBytesMax = 4096;

function readManifest(bytes: Uint8Array): Manifest | undefined {
  if (bytes.length > manifestBytesMax) return undefined;
  let read: unknown;
  try {
    read = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    return undefined;
  }
  const { format, pageSize, head, fence } = fieldsOf(read);
  const { txid, timestampMs, pages, checksum } = fieldsOf(head);
  const number = typeof txid === "string" ? parseTxid(txid) : undefined;
  const sum = typeof checksum === "string" ? parseChecksum(checksum) : undefined;
  const isKnown = format === 1 && isWhole(pageSize, 512) && isWhole(fence, 0);
  if (!isKnown || !isWhole(timestampMs, 0) || !isWhole(pages, 1)) return undefined;
  if (number === undefined || sum === undefined) return undefined;
  return { pageSize, head: { txid: number, timestampMs, pages, checksum: sum }, fence };
}

function fieldsOf(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? { ...value } : {};
}

function isWhole(value: unknown, min: number): value is number {
  return Number.isSafeInteger(value) && typeof value === "number" && value >= min;
}
