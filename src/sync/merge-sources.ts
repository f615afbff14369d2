/** Links as sources of the merge: what came over each is merged in turn, and the link is told. */
import type { Clock } from "../clock.ts";
import type { ReplicaError } from "../errors.ts";
import type { MergeScheduler, MergeSource } from "../merge/scheduler.ts";
import type { MergeResult } from "../native.ts";
import type { LinkHost } from "./link-host.ts";

/** Records a link may have waiting before it is read no further. */
const queueBytesMax = 4 * 1024 * 1024;

export interface MergeSourcesOptions {
  readonly clock: Clock;
  /** Records were taken that changed no table; they may be held all the same. */
  onHeld(): void;
  /** A link has been told what became of its records. */
  onTold(): void;
  onError(error: ReplicaError): void;
}

export class MergeSources {
  readonly #scheduler: MergeScheduler;
  readonly #options: MergeSourcesOptions;
  readonly #sources = new Map<LinkHost, MergeSource>();

  constructor(scheduler: MergeScheduler, options: MergeSourcesOptions) {
    this.#scheduler = scheduler;
    this.#options = options;
  }

  merge(link: LinkHost, records: Uint8Array): void {
    this.#scheduler.enqueue(this.#of(link), records);
  }

  /** Resolves when more may be received from this link. */
  room(link: LinkHost): Promise<void> {
    return this.#scheduler.room(this.#of(link), queueBytesMax);
  }

  remove(link: LinkHost): void {
    const source = this.#sources.get(link);
    if (source !== undefined) this.#scheduler.remove(source);
    this.#sources.delete(link);
  }

  #of(link: LinkHost): MergeSource {
    const known = this.#sources.get(link);
    if (known !== undefined) return known;
    const source: MergeSource = {
      onMerged: (result) => this.#tell(link, result),
      onRejected: (error) => {
        this.#options.onError(error);
        link.close("PROTOCOL_MALFORMED", error.message);
      },
    };
    this.#sources.set(link, source);
    return source;
  }

  #tell(link: LinkHost, result: MergeResult): void {
    const nowMs = this.#options.clock.now();
    if (result.unknownShapes.length > 0) {
      link.input({ type: "unknownShapes", hashes: result.unknownShapes, nowMs });
    }
    for (let i = 0; i + 1 < result.gaps.length; i += 2) {
      const origin = result.gaps[i] ?? 0;
      link.input({ type: "gap", origin, first: result.gaps[i + 1] ?? 0, nowMs });
    }
    // What waits for its time is held and counts as no changeset merged.
    if (result.changesets === 0) this.#options.onHeld();
    link.input({ type: "merged", vector: new Map(), nowMs });
    this.#options.onTold();
  }
}
