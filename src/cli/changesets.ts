/** Changesets in the log of a file. */
import { ByteReader } from "../log/bytes.ts";
import type { Database } from "./database.ts";

export interface Token {
  readonly peerId: number;
  readonly sequence: number;
}

export interface Changeset extends Token {
  readonly timestamp: number;
  readonly bytes: number;
  readonly patches: number;
}

/** A log row's id holds the origin's ordinal (22 bits) above the sequence (40 bits). */
const changesetsSql = `
  SELECT o.peer AS peerId, l.id & 0xffffffffff AS sequence, l.timestamp AS timestamp,
    length(l.payload) AS bytes, substr(l.payload, 1, 4096) AS head
  FROM _mergelite_log AS l JOIN _mergelite_origins AS o ON o.ordinal = (l.id >> 40) & 0x3fffff`;

/** An origin's rows are one range of ids; this peer's own (odd ordinals) come after all others. */
const originBase = "(((o.ordinal & 1) << 62) | (o.ordinal << 40))";
const afterSequence = `l.id > ${originBase} + ? AND l.id <= ${originBase} + 0xffffffffff`;

// The sequence is bound as a bigint: added as a float, it would round a 64-bit id.
/** In the order of their timestamps: the newest, or what follows `since`. */
export function selectChangesets(
  db: Database.Database,
  since: Token | undefined,
  limit: number,
): Changeset[] {
  const order = (direction: string) =>
    `ORDER BY timestamp ${direction}, peerId ${direction}, sequence ${direction} LIMIT ?`;
  const rows =
    since === undefined
      ? db
          .prepare(`${changesetsSql} ${order("DESC")}`)
          .all(limit)
          .reverse()
      : db
          .prepare(`${changesetsSql} WHERE o.peer = ? AND ${afterSequence} ${order("ASC")}`)
          .all(since.peerId, BigInt(since.sequence), limit);
  return (rows as (Changeset & { head: Uint8Array })[]).map(({ head, ...changeset }) => ({
    ...changeset,
    patches: patchCount(head),
  }));
}

/** Format, flags, hashes of shapes, and then the number of patches: see docs/format.md. */
function patchCount(head: Uint8Array): number {
  const reader = new ByteReader(head, 2);
  const shapes = reader.varint();
  if (shapes * 8 > reader.remaining) return 0;
  reader.skip(shapes * 8);
  return reader.varint();
}

/** The changesets of each origin as one range, for companions are read by range. */
export function rangesOf(
  changesets: readonly Token[],
): { peerId: number; first: number; last: number }[] {
  const rangesByPeer = new Map<number, { peerId: number; first: number; last: number }>();
  for (const { peerId, sequence } of changesets) {
    const range = rangesByPeer.get(peerId) ?? { peerId, first: sequence, last: sequence };
    range.first = Math.min(range.first, sequence);
    range.last = Math.max(range.last, sequence);
    rangesByPeer.set(peerId, range);
  }
  return [...rangesByPeer.values()];
}
