/** Single changesets of the log, by SQL: their timestamps and fingerprints, not their patches. */
import type { SqliteDatabase } from "./store.ts";

type Statement = ReturnType<SqliteDatabase["prepare"]>;

/** An origin's changesets are one range of ids, which begins behind this (docs/format.md). */
const base = "(((o.ordinal & 1) << 62) | (o.ordinal << 40))";
/** The part of a timestamp that a fingerprint has. */
const printTimestampSpan = 2 ** 21;

/** What tells a changeset from another one of the same number, as the native core makes it. */
export function fingerprintOf(timestamp: number, payload: Uint8Array): number {
  const end = payload.subarray(-4);
  let checksum = 0;
  for (let i = end.length - 1; i >= 0; i--) checksum = checksum * 256 + (end[i] ?? 0);
  return (timestamp % printTimestampSpan) * 2 ** 32 + checksum || 1;
}

export class LogLookup {
  readonly #db: SqliteDatabase;
  #timestampAt: Statement | undefined;
  #refusedIn: Statement | undefined;
  #oldIn: Statement | undefined;
  readonly #isOwn = new Map<number, boolean>();

  constructor(db: SqliteDatabase) {
    this.#db = db;
  }

  /** `undefined` when the log does not have it (any more). */
  timestampAt(origin: number, sequence: number): number | undefined {
    this.#timestampAt ??= this.#db.prepare(
      `SELECT l.timestamp AS timestamp FROM _mergelite_origins AS o
       JOIN _mergelite_log AS l ON l.id = ${base} + CAST(? AS INTEGER) WHERE o.peer = ?`,
    );
    const row = this.#timestampAt.get(...([sequence, origin] as never[]));
    return row === undefined ? undefined : Number((row as { timestamp: number }).timestamp);
  }

  /** Of an origin's changesets from `first` to `last`, those that make no sense. */
  refusedIn(origin: number, { first, last }: { first: number; last: number }): Set<number> {
    this.#refusedIn ??= this.#db.prepare(
      "SELECT sequence FROM _mergelite_refused WHERE peer = ? AND sequence BETWEEN ? AND ?",
    );
    const rows = this.#refusedIn.all(...([origin, first, last] as never[]));
    return new Set((rows as { sequence: number }[]).map(({ sequence }) => Number(sequence)));
  }

  /** A payload that undoes a changeset of this file, if its tables keep old values. */
  oldIn(origin: number, sequence: number): Uint8Array | undefined {
    this.#oldIn ??= this.#db.prepare(
      `SELECT b.payload AS payload FROM _mergelite_origins AS o
       JOIN _mergelite_old AS b ON b.id = ${base} + CAST(? AS INTEGER) WHERE o.peer = ?`,
    );
    const row = this.#oldIn.get(...([sequence, origin] as never[]));
    if (row === undefined) return undefined;
    const { buffer, byteOffset, byteLength } = (row as { payload: Uint8Array }).payload;
    // A driver's Buffer is sliced without a copy.
    return new Uint8Array(buffer, byteOffset, byteLength);
  }

  /** Whether this is or was a peer id of this file. */
  isOwn(origin: number): boolean {
    const known = this.#isOwn.get(origin);
    if (known !== undefined) return known;
    const isOwn = this.ownPeers().includes(origin);
    this.#isOwn.set(origin, isOwn);
    return isOwn;
  }

  /** Peer ids that were this file's own, the present one last. */
  ownPeers(): number[] {
    const rows = this.#db
      .prepare("SELECT peer FROM _mergelite_origins WHERE ordinal & 1 ORDER BY ordinal")
      .all() as { peer: number }[];
    return rows.map(({ peer }) => Number(peer));
  }

  /** The changeset of an origin with a fingerprint, 0 if there is none. Reads them all. */
  find(origin: number, fingerprint: number): number {
    const rows = this.#db
      .prepare(
        `SELECT l.id & 0xffffffffff AS sequence, l.timestamp AS timestamp,
           substr(l.payload, -4) AS end
         FROM _mergelite_origins AS o JOIN _mergelite_log AS l
           ON l.id > ${base} AND l.id <= ${base} + 0xffffffffff
         WHERE o.peer = ? AND l.timestamp % ${printTimestampSpan} = ?`,
      )
      .all(...([origin, Math.floor(fingerprint / 2 ** 32)] as never[])) as {
      sequence: number;
      timestamp: number;
      end: Uint8Array;
    }[];
    const found = rows.find(
      ({ timestamp, end }) => fingerprintOf(Number(timestamp), end) === fingerprint,
    );
    return Number(found?.sequence ?? 0);
  }
}
