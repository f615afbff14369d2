/**
 * A point in the history of a shipped database: the n-th transaction since shipping began. It is
 * what LTX files and their keys count by, so a position is also the name of a restorable state.
 */
import { formatTxid, parseTxid } from "../ltx/keys.ts";

export interface Position {
  /** From 1 on: the first one is the snapshot that shipping began with. */
  readonly txid: number;
  /** When it was read from the WAL, in ms since 1970: up to `intervalMs` after the commit. */
  readonly timestampMs: number;
}

/** 16 hexadecimal digits, as in the keys of the files. */
export function formatPosition({ txid }: Pick<Position, "txid">): string {
  return formatTxid(txid);
}

/** The transaction id of a position as people write it: leading zeros may be left out. */
export function parsePosition(text: string): number | undefined {
  return /^[0-9a-f]{1,16}$/i.test(text)
    ? parseTxid(text.toLowerCase().padStart(16, "0"))
    : undefined;
}
