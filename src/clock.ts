/**
 * Time and chance as parameters: nothing else in `src` reads the wall clock, sets a timer or rolls
 * dice, so tests and the simulator run on virtual time from a seed.
 */

import { onAbort } from "./on-abort.ts";

export interface Clock {
  /** Wall time in milliseconds. May step backwards, as wall clocks do. */
  now(): number;
  /** Milliseconds since some moment, by a clock that nobody sets. @default what `now` says */
  steady?(): number;
  /** Resolves after `ms`; rejects with `signal.reason` when aborted first. */
  sleep(ms: number, options?: { signal?: AbortSignal | undefined }): Promise<void>;
  /** Calls `fn` once after `ms` unless the returned function is called first. */
  setTimer(ms: number, fn: () => void): () => void;
  /** Calls `fn` in a later turn, when what is ready now has been handled. */
  nextTurn(fn: () => void): void;
}

/** A number in [0, 1), as `Math.random` gives. */
export type Random = () => number;

/** `setTimeout` fires at once for anything longer than a signed 32-bit count of milliseconds. */
const timeoutMsMax = 0x7fff_ffff;

/** The real clock. `sleep` keeps the process alive, for someone awaits it; `setTimer` does not. */
export const systemClock: Clock = {
  now: () => Date.now(),
  steady: () => performance.now(),
  sleep: sleepOnSystemClock,
  setTimer(ms, fn) {
    const timer = setTimeout(fn, clampTimeout(ms));
    timer.unref();
    return () => clearTimeout(timer);
  },
  // After the poll phase: messages that arrived together are handled together.
  nextTurn: (fn) => void setImmediate(fn),
};

/**
 * Full jitter: anywhere between nothing and `ms`. Peers that lost one hub at the same moment come
 * back spread out instead of all at once.
 */
export function jitter(ms: number, random: Random): number {
  return ms * random();
}

function sleepOnSystemClock(
  ms: number,
  { signal }: { signal?: AbortSignal | undefined } = {},
): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason);
      return;
    }
    const timer = setTimeout(() => {
      off();
      resolve();
    }, clampTimeout(ms));
    const off = onAbort(signal, () => {
      clearTimeout(timer);
      reject(signal?.reason);
    });
  });
}

function clampTimeout(ms: number): number {
  return Math.min(Math.max(ms, 0), timeoutMsMax);
}
