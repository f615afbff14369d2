/**
 * `verify`: two peers compare digests of a table's rows and list what differs, without sending
 * rows. Both sides walk their table in slices, so neither holds up its event loop.
 */
import { ReplicaError } from "../errors.ts";
import type { Bucket, BucketRow, Digest, VerifyMessage } from "./protocol-verify.ts";

/** What verify needs of the store. */
export interface Digestible {
  digestRows(
    table: string,
    afterKey: Uint8Array,
    budgetMs: number,
    sums: BigUint64Array,
  ): { rows: number; lastKey: Uint8Array; done: boolean };
  digestBucket(
    table: string,
    afterKey: Uint8Array,
    budgetMs: number,
    bucket: { buckets: number; bucket: number },
  ): { rows: BucketRow[]; lastKey: Uint8Array; done: boolean };
}

export interface Difference {
  readonly table: string;
  /** The row's key as SQL literals. */
  readonly key: string;
  readonly kind: "differs" | "missing here" | "missing there";
}

export interface TableVerification {
  readonly table: string;
  readonly rows: number;
  readonly remoteRows: number;
  readonly differences: Difference[];
}

export interface Verification {
  readonly tables: TableVerification[];
  readonly differences: number;
}

export type Ask = (
  message: VerifyMessage & { kind: "digestRequest" | "bucketRequest" },
) => Promise<Digest | Bucket>;

const buckets = 1024;
const sliceMs = 4;
const rowsMax = 4096;
const keyBytesMax = 1024;

/** Answers another peer's request. */
export async function answerVerify(
  store: Digestible,
  message: VerifyMessage,
): Promise<VerifyMessage | undefined> {
  const { requestId } = message;
  if (message.kind === "digestRequest") {
    try {
      const { rows, sums } = await digest(store, message.table, message.buckets);
      return { kind: "digest", requestId, found: true, rows, sums };
    } catch (error) {
      if (!(error instanceof ReplicaError)) throw error;
      const sums = new BigUint64Array(0);
      return { kind: "digest", requestId, found: false, rows: 0, sums };
    }
  }
  if (message.kind === "bucketRequest") {
    const { table, bucket } = message;
    const all = await listBucket(store, table, { buckets: message.buckets, bucket });
    const rows = all.slice(0, rowsMax);
    return { kind: "bucket", requestId, rows, truncated: rows.length < all.length };
  }
  return undefined;
}

/**
 * Compares every table with a peer's. Stops listing, not counting tables, at `limit` differences.
 */
export async function verifyTables(
  store: Digestible,
  tables: readonly string[],
  { ask, limit }: { ask: Ask; limit: number },
): Promise<Verification> {
  const verified: TableVerification[] = [];
  let differences = 0;
  for (const table of tables) {
    const one = await verifyTable(store, table, { ask, limit: limit - differences });
    differences += one.differences.length;
    verified.push(one);
  }
  return { tables: verified, differences };
}

async function verifyTable(
  store: Digestible,
  table: string,
  { ask, limit }: { ask: Ask; limit: number },
): Promise<TableVerification> {
  const [ours, theirs] = await Promise.all([
    digest(store, table, buckets),
    ask({ kind: "digestRequest", requestId: 0, table, buckets }),
  ]);
  const differences: Difference[] = [];
  if (theirs.kind !== "digest" || !theirs.found) {
    differences.push({ table, key: "(the whole table)", kind: "missing there" });
    return { table, rows: ours.rows, remoteRows: 0, differences };
  }
  for (let bucket = 0; bucket < buckets && differences.length < limit; bucket++) {
    if (ours.sums[bucket] === theirs.sums[bucket]) continue;
    const answer = await ask({ kind: "bucketRequest", requestId: 0, table, buckets, bucket });
    if (answer.kind !== "bucket") continue;
    const rows = await listBucket(store, table, { buckets, bucket });
    differences.push(...compareRows(table, rows, answer.rows));
  }
  return {
    table,
    rows: ours.rows,
    remoteRows: theirs.rows,
    differences: differences.slice(0, Math.max(limit, 0)),
  };
}

function compareRows(
  table: string,
  here: readonly BucketRow[],
  there: readonly BucketRow[],
): Difference[] {
  const hashesThere = new Map(there.map(({ key, hash }) => [key, hash]));
  const differences: Difference[] = [];
  for (const { key, hash } of here) {
    const other = hashesThere.get(key);
    hashesThere.delete(key);
    if (other === undefined) differences.push({ table, key, kind: "missing there" });
    else if (other !== hash) differences.push({ table, key, kind: "differs" });
  }
  for (const key of hashesThere.keys()) differences.push({ table, key, kind: "missing here" });
  return differences;
}

async function digest(
  store: Digestible,
  table: string,
  bucketCount: number,
): Promise<{ rows: number; sums: BigUint64Array }> {
  const sums = new BigUint64Array(bucketCount);
  let rows = 0;
  let afterKey: Uint8Array = new Uint8Array(0);
  for (;;) {
    const page = store.digestRows(table, afterKey, sliceMs, sums);
    rows += page.rows;
    afterKey = page.lastKey;
    if (page.done) return { rows, sums };
    await nextTurn();
  }
}

async function listBucket(
  store: Digestible,
  table: string,
  bucket: { buckets: number; bucket: number },
): Promise<BucketRow[]> {
  const rows: BucketRow[] = [];
  let afterKey: Uint8Array = new Uint8Array(0);
  for (;;) {
    const page = store.digestBucket(table, afterKey, sliceMs, bucket);
    for (const { key, hash } of page.rows) rows.push({ key: shorten(key, hash), hash });
    afterKey = page.lastKey;
    if (page.done || rows.length > rowsMax) return rows;
    await nextTurn();
  }
}

/** Long keys are told by their beginning and the row's hash: enough to look for them. */
function shorten(key: string, hash: bigint): string {
  return key.length <= keyBytesMax ? key : `${key.slice(0, keyBytesMax)}… (${hash.toString(16)})`;
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
