/** A read-only copy of a database, kept up to date from its backup while others read it. */
import { createHash } from "node:crypto";
import { rm } from "node:fs/promises";
import { resolve } from "node:path";
import { type Clock, systemClock } from "../clock.ts";
import { ReplicaError } from "../errors.ts";
import { Emitter, type Listener } from "../events.ts";
import { FileLock } from "../file-lock.ts";
import type { Storage, StorageCallOptions } from "../storage/storage.ts";
import { FollowLoop } from "./follow-loop.ts";
import { type FollowEvents, type FollowPosition, FollowState, markFor } from "./follow-state.ts";
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
 * @throws `FILE_EXISTS` for a file that is no copy, `FOLLOW_ACTIVE` for one that somebody follows
 * already, and what `restore` throws
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
  await checkIsCopy(path, file);
  const lock = await lockCopy(path, file);
  let marks: MarkFile | undefined;
  let copy: DatabaseCopy | undefined;
  try {
    marks = await openMarks(path);
    marks.mark = markFor(sourceOf(storage), marks.mark);
    if (!(await exists(path))) {
      const { source } = marks.mark;
      await marks.write({ ...unknownMark, source });
      const options = {
        force: true,
        ...(onProgress === undefined ? {} : { onProgress }),
        ...(signal === undefined ? {} : { signal }),
      };
      const restored = await restore(storage, path, options);
      const { txid = 0, timestampMs = 0 } = restored ?? {};
      await marks.write({ applied: txid, timestampMs, applying: txid, source });
    }
    copy = await DatabaseCopy.open(path);
    const state = new FollowState(marks, new Emitter<FollowEvents>());
    const loop = new FollowLoop({ storage, copy, state, clock, intervalMs });
    await loop.catchUp(signal);
    return start({ storage, loop, state, copy, lock });
  } catch (error) {
    await copy?.close();
    await marks?.close();
    lock.release();
    throw error;
  }
}

/** One writer to a copy, for none of them knows what another one writes. */
async function lockCopy(path: string, file: string): Promise<FileLock> {
  const lock = await FileLock.take(`${path}-follow-lock`);
  if (lock !== undefined) return lock;
  throw new ReplicaError("FOLLOW_ACTIVE", `${file} is followed already`, {
    hint: "Read the copy as it is, or follow into another file.",
  });
}

/** Positions of one place say nothing of another one. */
function sourceOf({ kind, name }: Storage): string {
  return createHash("sha256").update(`${kind} ${name}`).digest("hex").slice(0, 16);
}

/** Or will be one. */
async function checkIsCopy(path: string, file: string): Promise<void> {
  if ((await exists(markPathOf(path))) || !(await exists(path))) return;
  throw new ReplicaError("FILE_EXISTS", `${file} exists and is no copy that was followed`, {
    hint: "Follow into another file; this one would be overwritten.",
  });
}

async function openMarks(path: string): Promise<MarkFile> {
  const markPath = markPathOf(path);
  const isNew = !(await exists(markPath));
  try {
    return await MarkFile.open(markPath);
  } catch (error) {
    if (isNew) await rm(markPath, { force: true });
    throw error;
  }
}

interface Parts {
  readonly storage: Storage;
  readonly loop: FollowLoop;
  readonly state: FollowState;
  readonly copy: DatabaseCopy;
  readonly lock: FileLock;
}

function start({ storage, loop, state, copy, lock }: Parts): Follower {
  const unwatch = watchBackup(storage, () => loop.wake());
  loop.run();
  let closed: Promise<void> | undefined;
  const close = async () => {
    unwatch();
    await loop.close();
    try {
      await state.close();
    } finally {
      await copy.close();
      lock.release();
    }
  };
  return {
    get position() {
      return state.position;
    },
    wait: (position, options) => state.wait(position.txid, options?.signal),
    metrics: () => ({ ...state.metrics }),
    on: (name, listener, options) => state.emitter.on(name, listener, options),
    close() {
      closed ??= close();
      return closed;
    },
  };
}
