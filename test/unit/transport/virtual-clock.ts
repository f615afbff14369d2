import type { Clock } from "../../../src/clock.ts";

/** Time that passes only when told to. */
export class VirtualClock implements Clock {
  #nowMs = 0;
  #timers: { atMs: number; fn: () => void }[] = [];

  now(): number {
    return this.#nowMs;
  }

  get timers(): number {
    return this.#timers.length;
  }

  setTimer(ms: number, fn: () => void): () => void {
    const timer = { atMs: this.#nowMs + ms, fn };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  nextTurn(fn: () => void): void {
    this.setTimer(0, fn);
  }

  sleep(ms: number, { signal }: { signal?: AbortSignal | undefined } = {}): Promise<void> {
    return new Promise((resolve, reject) => {
      const abort = () => {
        cancel();
        reject(signal?.reason);
      };
      const cancel = this.setTimer(ms, () => {
        signal?.removeEventListener("abort", abort);
        resolve();
      });
      signal?.addEventListener("abort", abort, { once: true });
    });
  }

  /** Fires what is due, in order, letting promises settle after each. */
  async advance(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms;
    await settle();
    for (;;) {
      this.#timers.sort((a, b) => a.atMs - b.atMs);
      const timer = this.#timers[0];
      if (timer === undefined || timer.atMs > endMs) break;
      this.#timers.shift();
      this.#nowMs = timer.atMs;
      timer.fn();
      await settle();
    }
    this.#nowMs = endMs;
  }
}

/** Lets everything that is ready to run do so. */
export function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
