/** Virtual time: it stands still while something runs, and then jumps to what is due next. */
import type { Clock } from "../../src/clock.ts";

/** More than this at one moment is a loop that never ends. */
const eventsAtOnceMax = 100_000;

interface Timer {
  readonly atMs: number;
  readonly order: number;
  fn: (() => void | Promise<void>) | undefined;
}

export class Time {
  /** True time, which no peer knows. */
  nowMs = Date.UTC(2026, 0, 1);
  /** Called when time has moved, before anything runs. */
  onMove: () => void = () => undefined;
  readonly #heap: Timer[] = [];
  #order = 0;
  #eventsAtOnce = 0;

  after(ms: number, fn: () => void | Promise<void>): () => void {
    const atMs = this.nowMs + Math.max(Math.ceil(ms), 0);
    const timer: Timer = { atMs, order: this.#order++, fn };
    this.#push(timer);
    return () => {
      timer.fn = undefined;
    };
  }

  /** Runs what is due within `ms`, each to its end, promises and all. */
  async run(ms: number): Promise<void> {
    const endMs = this.nowMs + ms;
    await settle();
    for (let timer = this.#heap[0]; timer !== undefined; timer = this.#heap[0]) {
      if (timer.atMs > endMs) break;
      this.#pop();
      if (timer.fn === undefined) continue;
      this.#moveTo(timer.atMs);
      if (++this.#eventsAtOnce > eventsAtOnceMax) throw new Error("time stands still");
      await timer.fn();
      await settle();
    }
    this.#moveTo(endMs);
  }

  #moveTo(ms: number): void {
    if (ms <= this.nowMs) return;
    this.nowMs = ms;
    this.#eventsAtOnce = 0;
    this.onMove();
  }

  #push(timer: Timer): void {
    const heap = this.#heap;
    let at = heap.push(timer) - 1;
    while (at > 0) {
      const above = (at - 1) >> 1;
      const parent = heap[above];
      if (parent === undefined || !isBefore(timer, parent)) break;
      heap[at] = parent;
      at = above;
    }
    heap[at] = timer;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let at = 0;
    for (;;) {
      let below = 2 * at + 1;
      const right = heap[below + 1];
      let child = heap[below];
      if (child === undefined) break;
      if (right !== undefined && isBefore(right, child)) {
        below += 1;
        child = right;
      }
      if (!isBefore(child, last)) break;
      heap[at] = child;
      at = below;
    }
    heap[at] = last;
  }
}

/** A peer's own idea of the time: ahead, behind, too fast, or stepped by hand. */
export class PeerClock implements Clock {
  readonly #time: Time;
  readonly #stepMs: number;
  readonly #timers = new Set<() => void>();
  #offsetMs = 0;
  #rate = 0;
  #sinceMs: number;
  /** The latest reading that anyone was given. */
  latestMs = 0;

  /** `stepMs`: how long a turn of this peer's event loop takes. */
  constructor(time: Time, stepMs: number) {
    this.#time = time;
    this.#stepMs = stepMs;
    this.#sinceMs = time.nowMs;
  }

  now(): number {
    const nowMs = Math.floor(this.#time.nowMs + this.offsetMs);
    this.latestMs = Math.max(this.latestMs, nowMs);
    return nowMs;
  }

  /** How far the clock is ahead of true time. */
  get offsetMs(): number {
    return this.#offsetMs + (this.#time.nowMs - this.#sinceMs) * this.#rate;
  }

  /** Steps the clock. `rate` is what it gains from here on, for each millisecond. */
  set({ offsetMs, rate }: { offsetMs: number; rate: number }): void {
    this.#offsetMs = offsetMs;
    this.#rate = rate;
    this.#sinceMs = this.#time.nowMs;
  }

  setTimer(ms: number, fn: () => void): () => void {
    const cancel = this.#time.after(ms, () => {
      this.#timers.delete(stop);
      fn();
    });
    const stop = () => {
      this.#timers.delete(stop);
      cancel();
    };
    this.#timers.add(stop);
    return stop;
  }

  nextTurn(fn: () => void): void {
    this.setTimer(this.#stepMs, fn);
  }

  sleep(ms: number, { signal }: { signal?: AbortSignal | undefined } = {}): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(signal.reason);
        return;
      }
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

  /** The process is gone, and its timers with it. */
  cancelAll(): void {
    for (const cancel of [...this.#timers]) cancel();
  }
}

/** Lets everything that is ready to run do so; the bells of commits are heard here too. */
export function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function isBefore(a: Timer, b: Timer): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}
