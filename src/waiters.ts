/** Promises that settle when something about the replica has become true. */
import { onAbort } from "./on-abort.ts";

interface Waiter {
  readonly isDone: () => boolean;
  readonly resolve: () => void;
  readonly reject: (reason: unknown) => void;
}

/** The longest a timer runs; it only has to exist. */
const timerMsMax = 0x7fff_ffff;

export class Waiters {
  readonly #waiters = new Set<Waiter>();
  #abortedCount = 0;
  /** Someone awaits: the process must not end for want of other work. */
  #keepAlive: NodeJS.Timeout | undefined;

  /** Resolves once `isDone`, asked now and at every `check`; rejects with `signal.reason`. */
  until(isDone: () => boolean, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted) return Promise.reject(signal.reason);
    if (isDone()) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const abort = () => {
        this.#abortedCount += 1;
        settle(() => reject(signal?.reason));
      };
      const settle = (then: () => void) => {
        this.#waiters.delete(waiter);
        this.#holdProcess();
        off();
        then();
      };
      const waiter: Waiter = {
        isDone,
        resolve: () => settle(resolve),
        reject: (reason) => settle(() => reject(reason)),
      };
      this.#waiters.add(waiter);
      this.#holdProcess();
      const off = onAbort(signal, abort);
    });
  }

  /** How many have been given up: their signal aborted first. */
  get abortedCount(): number {
    return this.#abortedCount;
  }

  check(): void {
    for (const waiter of [...this.#waiters]) {
      try {
        if (waiter.isDone()) waiter.resolve();
      } catch (error) {
        // Whoever waits is told, not whoever brought the news: the database is closed, for one.
        waiter.reject(error);
      }
    }
  }

  rejectAll(reason: unknown): void {
    for (const waiter of [...this.#waiters]) waiter.reject(reason);
  }

  #holdProcess(): void {
    if (this.#waiters.size > 0) {
      this.#keepAlive ??= setInterval(() => undefined, timerMsMax);
      return;
    }
    clearInterval(this.#keepAlive);
    this.#keepAlive = undefined;
  }
}
