/** How far a followed copy is: what its readers see, what its mark says, and who waits for more. */
import { Change } from "../change.ts";
import { ReplicaError } from "../errors.ts";
import type { Emitter } from "../events.ts";
import { type FollowMark, type MarkFile, unknownMark } from "./mark.ts";

export interface FollowPosition {
  readonly txid: number;
  /** When it was committed, in ms since 1970. */
  readonly timestampMs: number;
}

export interface FollowEvents {
  /** The copy shows a later position. */
  applied: FollowPosition;
  /** A look or a write failed; it is tried again after `retryMs`. The copy stays as it is. */
  failed: { readonly error: unknown; readonly retryMs: number };
  /** The first success after failures. */
  recovered: Record<never, never>;
  /** Somebody else has written the copy: it gets all its pages anew. */
  altered: Record<never, never>;
  /** What has changed since the copy's position cannot be told: it gets all its pages anew. */
  renewed: Record<never, never>;
}

/** For listeners of other names to be refused. */
export const followEventNames: Readonly<Record<keyof FollowEvents, true>> = {
  applied: true,
  failed: true,
  recovered: true,
  altered: true,
  renewed: true,
};

export class FollowState {
  readonly metrics = { commits: 0, files: 0, bytes: 0, failures: 0 };
  readonly emitter: Emitter<FollowEvents>;
  readonly #marks: MarkFile;
  readonly #moved = new Change();
  /** The mark on disk may lag behind by one transaction. */
  #position: FollowPosition;
  #reachAtLeast: number;
  #source: string;
  #isClosed = false;

  constructor(marks: MarkFile, emitter: Emitter<FollowEvents>) {
    this.#marks = marks;
    this.emitter = emitter;
    const { applied, timestampMs, applying, source } = marks.mark;
    this.#position = { txid: applied, timestampMs };
    this.#reachAtLeast = applying;
    this.#source = source;
  }

  /** What the copy shows; transaction 0: nothing is known of what it holds. */
  get position(): FollowPosition {
    return this.#position;
  }

  /** A transaction that may or may not be in the copy must be reached by the next one. */
  get reachAtLeast(): number {
    return this.#reachAtLeast;
  }

  /** Whose transactions these are. */
  get source(): string {
    return this.#source;
  }

  /** The same transactions have the same numbers there. */
  moveTo(source: string): void {
    this.#source = source;
  }

  /** Durable when it resolves: then transactions up to `end` may be written. */
  async announce(end: number): Promise<{ undo: () => void }> {
    await this.#write(end);
    const before = this.#reachAtLeast;
    this.#reachAtLeast = end;
    const undo = () => {
      this.#reachAtLeast = before;
    };
    return { undo };
  }

  /** Readers see it. */
  applied(position: FollowPosition, { files, bytes }: { files: number; bytes: number }): void {
    this.#position = position;
    this.metrics.commits++;
    this.metrics.files += files;
    this.metrics.bytes += bytes;
    this.#moved.tell();
    this.emitter.emit("applied", position);
  }

  /** What the copy holds cannot be told any more. */
  forget(why: "altered" | "renewed"): void {
    if (this.#position.txid > 0 || this.#reachAtLeast > 0) this.emitter.emit(why, {});
    this.#position = { txid: 0, timestampMs: 0 };
    this.#reachAtLeast = 0;
  }

  /** Then a restart has nothing to do again. */
  async settle(): Promise<void> {
    const { txid } = this.#position;
    const { mark } = this.#marks;
    const isSettled = mark.applied === txid && mark.source === this.#source;
    if (this.#reachAtLeast <= txid && !isSettled) await this.#write(txid);
  }

  /** @throws `CLOSED`, `signal.reason` */
  async wait(txid: number, signal: AbortSignal | undefined): Promise<void> {
    while (this.#position.txid < txid) {
      signal?.throwIfAborted();
      if (this.#isClosed) throw followerClosed();
      await this.#moved.next(signal);
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#moved.tell();
    try {
      await this.settle();
    } finally {
      await this.#marks.close();
    }
  }

  async #write(applying: number): Promise<void> {
    const { txid: applied, timestampMs } = this.#position;
    await this.#marks.write({ applied, timestampMs, applying, source: this.#source });
  }
}

/** What a mark says of a copy of `source`: nothing, when it is of something else. */
export function markFor(source: string, mark: FollowMark): FollowMark {
  return mark.source === source ? mark : { ...unknownMark, source };
}

export function followerClosed(): ReplicaError {
  return new ReplicaError("CLOSED", "the follower is closed");
}
