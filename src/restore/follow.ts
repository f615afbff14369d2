/** A read-only copy of a database, kept up to date from its backup or primary while it is read. */
import { createHash } from "node:crypto";
import { rm } from "node:fs/promises";
import { resolve } from "node:path";
import { checkNames } from "../arguments.ts";
import { type Clock, type Random, systemClock } from "../clock.ts";
import { ReplicaError } from "../errors.ts";
import { Emitter, type Listener } from "../events.ts";
import { FileLock } from "../file-lock.ts";
import { checkStorage, type Storage, type StorageCallOptions } from "../storage/storage.ts";
import type { Dialer } from "../transport/transport.ts";
import { FollowLoop } from "./follow-loop.ts";
import {
  type FollowEvents,
  type FollowPosition,
  FollowState,
  followEventNames,
  markFor,
} from "./follow-state.ts";
import { LiveLoop } from "./live-loop.ts";
import { MarkFile, markPathOf, unknownMark } from "./mark.ts";
import { type RestoreProgress, restore } from "./restore.ts";
import { DatabaseCopy } from "./sqlite.ts";
import { exists } from "./target.ts";

export interface FollowOptions {
  /**
   * How often to look for new files, in ms: a list of those after the last one. Of a backup in a
   * folder they are noticed at once besides, and a live primary sends them. @default 1000
   */
  readonly intervalMs?: number;
  /** Of the restore that a new copy begins with. */
  readonly onProgress?: (progress: RestoreProgress) => void;
  /** Ends the beginning: `follow` rejects with `signal.reason`. Later there is `close`. */
  readonly signal?: AbortSignal | undefined;
  /** For tests. @default the system's */
  readonly clock?: Clock;
  /** For tests. @default Math.random */
  readonly random?: Random;
}

export interface FollowMetrics extends FollowPosition {
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
 * newest position; from then on it follows: a backup, or a live primary that is dialled. Readers
 * see whole transactions and never wait. Nobody else may write the copy: what they write is undone.
 * It keeps the process alive until `close`.
 * @throws `FILE_EXISTS` for a file that is no copy, `FOLLOW_ACTIVE` for one that somebody follows
 * already, `SQLITE` for one that cannot be locked or opened, what `restore` throws, and of a
 * primary `PROTOCOL_MALFORMED`, `TRANSPORT_FAILED`, `TRANSPORT_REFUSED`, `VERSION_MISMATCH`
 */
export async function follow(
  source: Storage | Dialer,
  file: string,
  options: FollowOptions = {},
): Promise<Follower> {
  if (!isDialer(source)) checkStorage(source);
  checkNames(options, ["intervalMs", "onProgress", "signal", "clock", "random"]);
  const { intervalMs = 1000, signal } = options;
  if (!Number.isSafeInteger(intervalMs) || intervalMs < 1) {
    throw new TypeError("intervalMs is a whole number from 1 on");
  }
  const path = resolve(file);
  await checkIsCopy(path, file);
  const lock = await lockCopy(path, file);
  const emitter = new Emitter<FollowEvents>(followEventNames);
  let marks: MarkFile | undefined;
  let loop: FollowLoop | LiveLoop | undefined;
  try {
    marks = await openMarks(path);
    const of = { path, marks, emitter };
    const opened = isDialer(source)
      ? await openLive(source, of, options)
      : await openBackup(source, of, { ...options, intervalMs });
    loop = opened.loop;
    await loop.begin(signal);
    return followerOf(loop, opened.state, lock);
  } catch (error) {
    await loop?.close();
    await marks?.close();
    // A mark without a copy would let a later file of somebody else's pass for one.
    if (!(await exists(path))) await rm(markPathOf(path), { force: true });
    lock.release();
    throw error;
  }
}

function isDialer(source: Storage | Dialer): source is Dialer {
  return typeof source === "object" && source !== null && "dial" in source;
}

interface CopyParts {
  readonly path: string;
  readonly marks: MarkFile;
  readonly emitter: Emitter<FollowEvents>;
}

async function openBackup(
  storage: Storage,
  { path, marks, emitter }: CopyParts,
  options: FollowOptions & { intervalMs: number },
): Promise<{ loop: FollowLoop; state: FollowState }> {
  const { intervalMs, onProgress, signal, clock = systemClock } = options;
  const source = sourceOf(storage);
  marks.mark = markFor(source, marks.mark);
  if (!(await exists(path))) {
    await marks.write({ ...unknownMark, source });
    const restored = await restore(storage, path, {
      force: true,
      ...(onProgress === undefined ? {} : { onProgress }),
      ...(signal === undefined ? {} : { signal }),
    });
    const { txid = 0, timestampMs = 0 } = restored ?? {};
    await marks.write({ applied: txid, timestampMs, applying: txid, source });
  }
  const copy = await DatabaseCopy.open(path);
  const state = new FollowState(marks, emitter);
  return { loop: new FollowLoop({ storage, copy, state, clock, intervalMs }), state };
}

async function openLive(
  primary: Dialer,
  { path, marks, emitter }: CopyParts,
  options: FollowOptions,
): Promise<{ loop: LiveLoop; state: FollowState }> {
  const { onProgress = () => {}, clock = systemClock, random = Math.random } = options;
  const isThere = await exists(path);
  if (!isThere) await marks.write({ ...unknownMark, source: marks.mark.source });
  const copy = isThere ? await DatabaseCopy.open(path) : undefined;
  const state = new FollowState(marks, emitter);
  return { loop: new LiveLoop({ primary, path, copy, state, clock, random, onProgress }), state };
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

function followerOf(loop: FollowLoop | LiveLoop, state: FollowState, lock: FileLock): Follower {
  let closed: Promise<void> | undefined;
  const close = async () => {
    try {
      await loop.close();
    } finally {
      await state.close().finally(() => lock.release());
    }
  };
  return {
    get position() {
      return state.position;
    },
    wait: (position, options) => state.wait(position.txid, options?.signal),
    metrics: () => ({ ...state.metrics, ...state.position }),
    on: (name, listener, options) => state.emitter.on(name, listener, options),
    close() {
      closed ??= close();
      return closed;
    },
  };
}
