/** A read-only copy of a database, kept up to date from its backup while others read it. */
import { rm } from "node:fs/promises";
import { resolve } from "node:path";
import { type Clock, systemClock } from "../clock.ts";
import { ReplicaError } from "../errors.ts";
import { Emitter, type Listener } from "../events.ts";
import type { Storage, StorageCallOptions } from "../storage/storage.ts";
import { type FollowEvents, FollowLoop, type FollowPosition } from "./follow-loop.ts";
import { MarkFile, markPathOf, unknownMark } from "./mark.ts";
import { type RestoreProgress, restore } from "./restore.ts";
import { DatabaseCopy } from "./sqlite.ts";
import { exists } from "./target.ts";
import { watchBackup } from "./watch.ts";

export interface FollowOptions {
  /**
   * How often to look for new files, in ms: a list of those after the last one. Of a backup in a
   * folder they are noticed at once besides. @default 1000
   */
  readonly intervalMs?: number;
  /** Of the restore that a new copy begins with. */
  readonly onProgress?: (progress: RestoreProgress) => void;
  /** Ends the beginning: `follow` rejects with `signal.reason`. Later there is `close`. */
  readonly signal?: AbortSignal;
  /** For tests. @default the system's */
  readonly clock?: Clock;
}

export interface FollowMetrics {
  /** Transactions written into the copy, and objects and their bytes read for them. */
  readonly commits: number;
  readonly files: number;
  readonly bytes: number;
  readonly failures: number;
}

export interface Follower {
  /** What the copy shows. */
  readonly position: FollowPosition;
  /**
   * Resolves when the copy shows that position or a later one.
   * @throws `CLOSED`, `signal.reason`
   */
  wait(position: Pick<FollowPosition, "txid">, options?: StorageCallOptions): Promise<void>;
  metrics(): FollowMetrics;
  on<Name extends keyof FollowEvents>(
    name: Name,
    listener: Listener<FollowEvents[Name]>,
    options?: { signal?: AbortSignal | undefined },
  ): () => void;
  /** Lets go of the copy, which stays as it is; a later `follow` goes on with it. Idempotent. */
  close(): Promise<void>;
}

/**
 * Restores a new copy, or goes on with one that was followed before, and resolves when it shows the
 * newest position; from then on it follows. Readers see whole transactions and never wait. Nobody
 * else may write the copy: what they write is undone. It keeps the process alive until `close`.
 * @throws `FILE_EXISTS` for a file that is no copy, and what `restore` throws
 */
export async function follow(
  storage: Storage,
  file: string,
  { intervalMs = 1000, onProgress, signal, clock = systemClock }: FollowOptions = {},
): Promise<Follower> {
  if (!Number.isSafeInteger(intervalMs) || intervalMs < 1) {
    throw new TypeError("intervalMs is a whole number from 1 on");
  }
  const path = resolve(file);
  const marks = await openMarks(path, file);
  let copy: DatabaseCopy | undefined;
  try {
    if (!(await exists(path))) {
      await marks.write(unknownMark);
      const options = {
        force: true,
        ...(onProgress === undefined ? {} : { onProgress }),
        ...(signal === undefined ? {} : { signal }),
      };
      const restored = await restore(storage, path, options);
      const { txid = 0, timestampMs = 0 } = restored ?? {};
      await marks.write({ applied: txid, timestampMs, applying: txid });
    }
    copy = await DatabaseCopy.open(path);
    const emitter = new Emitter<FollowEvents>();
    const loop = new FollowLoop({ storage, copy, marks, clock, intervalMs, emitter });
    await loop.catchUp(signal);
    return start(storage, loop, emitter);
  } catch (error) {
    await copy?.close();
    await marks.close();
    throw error;
  }
}

async function openMarks(path: string, file: string): Promise<MarkFile> {
  const markPath = markPathOf(path);
  const isCopy = await exists(markPath);
  if (!isCopy && (await exists(path))) {
    throw new ReplicaError("FILE_EXISTS", `${file} exists and is no copy that was followed`, {
      hint: "Follow into another file; this one would be overwritten.",
    });
  }
  try {
    return await MarkFile.open(markPath);
  } catch (error) {
    if (!isCopy) await rm(markPath, { force: true });
    throw error;
  }
}

function start(storage: Storage, loop: FollowLoop, emitter: Emitter<FollowEvents>): Follower {
  const unwatch = watchBackup(storage, () => loop.wake());
  loop.run();
  let closed: Promise<void> | undefined;
  return {
    get position() {
      return loop.position;
    },
    wait: (position, options) => loop.wait(position.txid, options?.signal),
    metrics: () => ({ ...loop.metrics }),
    on: (name, listener, options) => emitter.on(name, listener, options),
    close() {
      unwatch();
      closed ??= loop.close();
      return closed;
    },
  };
}
