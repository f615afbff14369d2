import { onAbort } from "./on-abort.ts";

/** Something that happens again and again, and that several wait for. */
export class Change {
  readonly #waiters = new Set<() => void>();

  /** Resolves at the next `tell` or when `signal` aborts: the caller looks which it was. */
  next(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        off();
        this.#waiters.delete(done);
        resolve();
      };
      this.#waiters.add(done);
      const off = onAbort(signal, done);
    });
  }

  tell(): void {
    for (const tell of [...this.#waiters]) tell();
  }
}
