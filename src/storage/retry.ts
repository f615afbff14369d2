/** Trying again what fails in passing. */
import { type Clock, jitter, type Random, systemClock } from "../clock.ts";
import { ReplicaError } from "../errors.ts";

export interface RetryOptions {
  /** Attempts at one operation before it is given up. @default 6 */
  readonly attemptsMax?: number;
  /** Pause before the second attempt, at most; it doubles from then on. @default 200 */
  readonly pauseMs?: number;
  /** The longest pause. @default 10000 */
  readonly pauseMsMax?: number;
  /** @default the system's */
  readonly clock?: Clock;
  /** @default `Math.random` */
  readonly random?: Random;
}

export function isPassing(error: unknown): boolean {
  return error instanceof ReplicaError && error.code === "STORAGE_UNAVAILABLE";
}

/** Counts the attempts at one operation; progress starts the count anew. */
export class Attempts {
  readonly #options: Required<RetryOptions>;
  readonly #signal: AbortSignal | undefined;
  #failed = 0;

  constructor(options: RetryOptions, signal: AbortSignal | undefined) {
    this.#options = {
      attemptsMax: 6,
      pauseMs: 200,
      pauseMsMax: 10_000,
      clock: systemClock,
      random: Math.random,
      ...options,
    };
    this.#signal = signal;
  }

  /** More than one attempt has been made: an earlier one may have had an effect. */
  get repeated(): boolean {
    return this.#failed > 0;
  }

  reset(): void {
    this.#failed = 0;
  }

  /** Pauses before the next attempt, or throws when there is none: the error, or the abort. */
  async pauseAfter(error: unknown): Promise<void> {
    const { attemptsMax, pauseMs, pauseMsMax, clock, random } = this.#options;
    this.#signal?.throwIfAborted();
    this.#failed++;
    if (!isPassing(error) || this.#failed >= attemptsMax) throw error;
    const pause = Math.min(pauseMsMax, pauseMs * 2 ** (this.#failed - 1));
    await clock.sleep(jitter(pause, random), { signal: this.#signal });
  }

  async run<T>(attempt: () => Promise<T>): Promise<T> {
    for (;;) {
      this.#signal?.throwIfAborted();
      try {
        return await attempt();
      } catch (error) {
        await this.pauseAfter(error);
      }
    }
  }
}
