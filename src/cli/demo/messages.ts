/** What the demo's processes say to each other. */
import type { SqlValue } from "./values.ts";

/** One row. */
export interface RowKey {
  readonly table: string;
  readonly key: Readonly<Record<string, SqlValue>>;
}

/** One column of one row. */
export interface Cell extends RowKey {
  readonly column: string;
}

export interface Report {
  readonly peerId: number;
  /** Sequence of the newest local changeset. */
  readonly sequence: number;
  /** Peer id and how far it is merged, of all origins. */
  readonly merged: readonly (readonly [peerId: number, sequence: number])[];
  readonly transactions: number;
  readonly changes: number;
  readonly refused: number;
  /** Patches that met a newer one, and patches that had to wait. */
  readonly lost: number;
  readonly parked: number;
  readonly links: number;
}

export type ToPeer =
  | {
      type: "start";
      index: number;
      name: string;
      folder: string;
      file: string;
      seed: number;
      /** Rows that random changes leave alone. */
      reserved: readonly RowKey[];
    }
  /** The addresses of the peers this one dials. */
  | { type: "dial"; peers: readonly { index: number; url: string }[] }
  | { type: "write" }
  | { type: "pause" }
  /** The peers this one cannot reach from now on. */
  | { type: "cut"; from: readonly number[] }
  | { type: "edit"; cell: Cell }
  | { type: "close" };

export type FromPeer =
  | { type: "ready"; url: string }
  | { type: "report"; report: Report }
  /** What was written, or null when the row was not there or the schema did not allow it. */
  | { type: "edited"; value: SqlValue }
  /** It writes no more: the sequence in this report is its last. */
  | { type: "paused"; report: Report }
  | { type: "closed"; report: Report }
  | { type: "failed"; message: string };
