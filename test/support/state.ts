/** State transfers over the raw binding, whole or cut anywhere. */
import { native, type StateChunk } from "../../src/native.ts";
import { maintainAll, patiently, type RawReplica } from "./replica.ts";

export interface TransferOptions {
  /** Size of a chunk. */
  bytesMax?: number;
  /** Time for one slice of merging, in ms. */
  sliceMs?: number;
  /** Stops after this many chunks, as a link that is cut. */
  chunksMax?: number;
  restart?: boolean;
  /** Called before each chunk is read and before each slice is merged. */
  between?: () => void;
}

export interface Transfer {
  chunks: number;
  rows: number;
  complete: boolean;
}

function readChunk(from: RawReplica, cursor: Uint8Array, bytesMax: number): StateChunk {
  for (let i = 0; i < 10_000; i++) {
    const read = native.readState(from.handle, cursor, bytesMax, patiently);
    if (read.busy) throw new Error("the sender is busy");
    if (!read.more) return read;
    maintainAll(from);
  }
  throw new Error("the sender never gets ready");
}

const paused = new Int32Array(new SharedArrayBuffer(4));

/** After a large write the receiver is busy until the checkpoint, on another thread, is done. */
function onceReady<Result extends { busy: boolean }>(call: () => Result): Result {
  for (let i = 0; i < 2000; i++) {
    const result = call();
    if (!result.busy) return result;
    Atomics.wait(paused, 0, 0, 5);
  }
  throw new Error("the receiver is busy");
}

/** Brings state from one replica to another; goes on with a transfer that was cut. */
export function transferState(
  from: RawReplica,
  to: RawReplica,
  options: TransferOptions = {},
): Transfer {
  const { bytesMax = 1 << 19, sliceMs = patiently, chunksMax = 1e9, between } = options;
  const started = native.startState(to.handle, options.restart === true ? 1 : 0);
  let { cursor } = started;
  const done: Transfer = { chunks: 0, rows: 0, complete: false };
  while (!done.complete && done.chunks < chunksMax) {
    between?.();
    const { chunk, next } = readChunk(from, cursor, bytesMax);
    done.chunks++;
    let offset = 0;
    for (let again: 0 | 1 = 0, more = true; more; again = 1) {
      between?.();
      const merged = onceReady(() =>
        native.mergeState(to.handle, chunk, next, offset, again, sliceMs),
      );
      if (merged.resumeAtMs > 0) return done;
      done.rows += merged.rows;
      ({ consumed: offset, more } = merged);
      done.complete = merged.complete;
    }
    cursor = next;
  }
  return done;
}

export function trimAll({ handle }: RawReplica, timestamp = 2 ** 53 - 1): void {
  while (
    native.trim(handle, timestamp, new Float64Array(0), new Float64Array(0), 1, patiently).more
  );
}

export function horizonOf({ handle }: RawReplica): Map<number, number> {
  const flat = native.horizon(handle);
  const pairs: [number, number][] = [];
  for (let i = 0; i < flat.length; i += 2) pairs.push([flat[i] ?? 0, flat[i + 1] ?? 0]);
  return new Map(pairs);
}
