/** What could not be merged as it was written, one by one. */
import type { NativeConflict, SqlValue } from "./native.ts";

export const conflictReasons = [
  "row",
  "table",
  "column",
  "key",
  "unique",
  "not-null",
  "constraint",
  "check",
  "foreign-key",
  "changeset",
  "clock",
] as const;

/** What each of them means is in `docs/conflicts.md`. */
export type ConflictReason = (typeof conflictReasons)[number];

export interface Conflict {
  /** Names the conflict as long as it lasts, and the place in the list. */
  readonly id: string;
  /** "" where it is about a whole changeset. */
  readonly table: string;
  /** By column, as the origin wrote it; an integer beyond 53 bits is a bigint. */
  readonly key: Readonly<Record<string, SqlValue>>;
  readonly reason: ConflictReason;
  /** SQLite's message, or what else is known; may be "". */
  readonly detail: string;
  /** Who wrote it, in which changeset and when (HLC); 0 where that is not remembered. */
  readonly origin: number;
  readonly sequence: number;
  readonly timestamp: number;
  /** Of the patch that waits, or of the row that is withheld or violates something. */
  readonly values: Readonly<Record<string, SqlValue>>;
}

/** Where a conflict is kept: the first word of its id, and the order of the list. */
export const sections = ["parked", "refused", "waiting", "orphan"] as const;
export type Section = (typeof sections)[number];

export function fromNative(found: NativeConflict): Conflict {
  return {
    id: `parked ${found.id}`,
    table: found.table,
    key: recordOf(found.key),
    reason: reasonOf(found.reason),
    detail: found.detail,
    origin: found.origin,
    sequence: found.sequence,
    timestamp: found.timestamp,
    values: recordOf(found.values),
  };
}

export function changesetConflict(
  one: { origin: number; sequence: number; timestamp: number; detail: string },
  reason: "changeset" | "clock",
): Conflict {
  const { origin, sequence, timestamp, detail } = one;
  const section: Section = reason === "clock" ? "waiting" : "refused";
  const id = `${section} ${origin} ${sequence}`;
  return { id, table: "", key: {}, values: {}, reason, detail, origin, sequence, timestamp };
}

export function reasonOf(reason: string): ConflictReason {
  return conflictReasons.find((one) => one === reason) ?? "constraint";
}

/** Names and values in turn, as an object; a column may be called `__proto__`. */
export function recordOf(pairs: readonly SqlValue[]): Record<string, SqlValue> {
  const entries: [string, SqlValue][] = [];
  for (let i = 0; i + 1 < pairs.length; i += 2) {
    entries.push([String(pairs[i]), pairs[i + 1] ?? null]);
  }
  return Object.fromEntries(entries);
}
