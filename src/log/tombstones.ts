/** Drops tombstones that nobody needs any more, a slice at a time, when the horizon has moved. */
import type { Clock } from "../clock.ts";
import { ReplicaError } from "../errors.ts";
import type { FloorStore, SweepPosition } from "./floor-store.ts";

export interface SweeperOptions {
  readonly clock: Clock;
  readonly sliceMs: number;
  onError(error: ReplicaError): void;
}

/** Nobody waits for a sweep: it leaves most of the time to others. */
const pauseMs = 20;
const busyMs = 50;
const start: SweepPosition = { table: "", after: new Uint8Array(0) };

export class TombstoneSweeper {
  /** Dropped since attach. */
  dropped = 0;
  /** Left when the last sweep ended; undefined before the first. */
  kept: number | undefined;
  readonly #store: Pick<FloorStore, "sweep">;
  readonly #options: SweeperOptions;
  #horizon = 0;
  #swept = 0;
  #cancel: (() => void) | undefined;
  #closed = false;

  constructor(store: Pick<FloorStore, "sweep">, options: SweeperOptions) {
    this.#store = store;
    this.#options = options;
  }

  /** Tombstones below may go. A sweep that is under way ends first. */
  moveTo(horizon: number): void {
    this.#horizon = horizon;
    if (horizon <= this.#swept || this.#cancel !== undefined || this.#closed) return;
    this.#next(pauseMs, { horizon, position: start, kept: 0 });
  }

  close(): void {
    this.#closed = true;
    this.#cancel?.();
  }

  #next(waitMs: number, sweep: { horizon: number; position: SweepPosition; kept: number }): void {
    this.#cancel = this.#options.clock.setTimer(waitMs, () => {
      this.#cancel = undefined;
      if (!this.#closed) this.#slice(sweep);
    });
  }

  #slice(sweep: { horizon: number; position: SweepPosition; kept: number }): void {
    try {
      const { horizon, position } = sweep;
      const slice = this.#store.sweep(horizon, position, this.#options.sliceMs);
      this.dropped += slice.dropped;
      if (slice.busy) {
        this.#next(busyMs, sweep);
        return;
      }
      const kept = sweep.kept + slice.kept;
      if (slice.more) {
        this.#next(pauseMs, { horizon, position: slice, kept });
        return;
      }
      this.kept = kept;
      this.#swept = horizon;
      this.moveTo(this.#horizon);
    } catch (error) {
      if (!(error instanceof ReplicaError)) throw error;
      // The next move of the horizon tries again.
      if (error.code !== "CLOSED") this.#options.onError(error);
    }
  }
}
