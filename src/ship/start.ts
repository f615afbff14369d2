/** How a shipper begins: it goes on where it was, or compares, or takes everything. */
import type { Clock } from "../clock.ts";
import { Capture, type Captured } from "./capture.ts";
import { PageMap } from "./page-map.ts";
import type { QueuedFile, StateFolder } from "./state-folder.ts";
import type { Wal } from "./wal.ts";

/** `shipped`: the newest transactions that the storages have. */
export async function startCapture(
  folder: StateFolder,
  wal: Wal,
  clock: Clock,
  shipped: readonly number[],
): Promise<{ capture: Capture; captured: Captured; queue: readonly QueuedFile[] }> {
  const { state, map, queue } = await folder.open();
  await wal.open();
  const newest = Math.max(0, ...shipped);
  const isKnown = state !== undefined && state.pageSize === wal.pageSize;
  if (isKnown && newest <= state.txid) {
    const capture = new Capture(wal, folder, clock, { state, map });
    const isMapKnown = map.txid === state.txid;
    const captured = isMapKnown ? await capture.resume() : undefined;
    return { capture, captured: captured ?? (await capture.rebase("wal")), queue };
  }
  // What the storages have comes from somebody else, or this folder is older than they are.
  for (const { name } of queue) await folder.removeFile(name);
  const txid = Math.max(newest, isKnown ? state.txid : 0);
  const place = new Uint32Array(5);
  const unknown = { txid, timestampMs: 0, pageSize: wal.pageSize, place };
  const capture = new Capture(wal, folder, clock, { state: unknown, map: new PageMap() });
  return { capture, captured: await capture.rebase(newest > 0 ? "storage" : "start"), queue: [] };
}
