/** When to look after row clocks of local changesets: when many wait, or after a while. */
import type { Clock } from "../clock.ts";

const commitsMax = 512;
const waitMs = 1000;

export class Maintenance {
  readonly #clock: Clock;
  readonly #run: () => void;
  #commits = 0;
  #cancel: (() => void) | undefined;

  constructor(clock: Clock, run: () => void) {
    this.#clock = clock;
    this.#run = run;
  }

  /** So many more local changesets are in the log. */
  noteCommits(count: number): void {
    this.#commits += count;
    if (this.#commits >= commitsMax) this.#start();
    else this.#cancel ??= this.#clock.setTimer(waitMs, () => this.#start());
  }

  close(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }

  #start(): void {
    this.close();
    this.#commits = 0;
    this.#run();
  }
}
