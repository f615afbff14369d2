/** Promises that settle when something about the replica has become true. */

interface Waiter {
  readonly isDone: () => boolean;
  readonly resolve: () => void;
  readonly reject: (reason: unknown) => void;
}

export class Waiters {
  readonly #waiters = new Set<Waiter>();

  /** Resolves once `isDone`, asked now and at every `check`; rejects with `signal.reason`. */
  until(isDone: () => boolean, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted) return Promise.reject(signal.reason);
    if (isDone()) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const abort = () => settle(() => reject(signal?.reason));
      const settle = (then: () => void) => {
        this.#waiters.delete(waiter);
        signal?.removeEventListener("abort", abort);
        then();
      };
      const waiter: Waiter = {
        isDone,
        resolve: () => settle(resolve),
        reject: (reason) => settle(() => reject(reason)),
      };
      this.#waiters.add(waiter);
      signal?.addEventListener("abort", abort, { once: true });
    });
  }

  check(): void {
    for (const waiter of [...this.#waiters]) if (waiter.isDone()) waiter.resolve();
  }

  rejectAll(reason: unknown): void {
    for (const waiter of [...this.#waiters]) waiter.reject(reason);
  }
}
