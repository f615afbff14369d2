/** How a shipper begins: it goes on where it was, or compares, or takes everything. */
import type { Clock } from "../clock.ts";
import { Capture, type Captured } from "./capture.ts";
import { PageMap } from "./page-map.ts";
import type { QueuedFile, StateFolder } from "./state-folder.ts";
import type { Wal } from "./wal.ts";

/** What the storages have: the newest transaction, and whether it is all from this folder. */
export interface Shipped {
  readonly txid: number;
  readonly isOurs: boolean;
  /** Transaction ids that must not be used. */
  readonly skipped: number;
}

export interface Started {
  readonly capture: Capture;
  readonly captured: Captured;
  /** Files from before that wait. */
  readonly queue: readonly QueuedFile[];
  /** The transaction with which all that is known of the database before ends; 0 for nothing. */
  readonly after: number;
}

/** `isGuest`: somebody else has opened the WAL, and holds its beginning. */
export async function startCapture(
  { folder, wal, isGuest }: { folder: StateFolder; wal: Wal; isGuest: boolean },
  clock: Clock,
  shipped: readonly Shipped[],
): Promise<Started> {
  const { state, map, queue } = await folder.open();
  if (!isGuest) await wal.open();
  const newest = Math.max(0, ...shipped.map(({ txid }) => txid));
  const areOurs = shipped.every(({ isOurs }) => isOurs);
  const isKnown = state !== undefined && state.pageSize === wal.pageSize;
  if (isKnown && areOurs && newest <= state.txid) {
    const capture = new Capture(wal, folder, clock, { state, map, isGuest });
    const isMapKnown = map.txid === state.txid;
    const captured = isMapKnown ? await capture.resume() : undefined;
    const after = state.txid;
    return { capture, captured: captured ?? (await capture.rebase("wal")), queue, after };
  }
  // What the storages have comes from somebody else, or this folder is older than they are.
  for (const { name } of queue) await folder.removeFile(name);
  const skipped = Math.max(0, ...shipped.map((each) => each.skipped));
  const txid = Math.max(newest, isKnown ? state.txid : 0) + skipped;
  const place = new Uint32Array(5);
  const unknown = { txid, timestampMs: 0, pageSize: wal.pageSize, place };
  const capture = new Capture(wal, folder, clock, { state: unknown, map: new PageMap(), isGuest });
  const captured = await capture.rebase(newest > 0 ? "storage" : "start");
  return { capture, captured, queue: [], after: 0 };
}
