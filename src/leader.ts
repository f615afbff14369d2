/**
 * Who leads, for odd jobs that one peer should do: the smallest peer id among this replica and
 * those it is linked with, once that has been the same for a while. Peers that see different
 * neighbours, or see them at different moments, may disagree: it saves work and excludes nothing.
 */
import type { Clock } from "./clock.ts";
import type { LeaderEvent } from "./replica-events.ts";

export interface LeaderState {
  /** Peer id; 0 before there has been one. */
  readonly leader: number;
  /** Who leads when the grace is over and nothing has changed. */
  readonly candidate: number;
}

/** The peers linked have changed: the grace begins anew for a new candidate. */
export function onPeers(state: LeaderState, peerIds: readonly number[]): LeaderState {
  const candidate = Math.min(...peerIds);
  return candidate === state.candidate ? state : { leader: state.leader, candidate };
}

export function onGraceOver({ candidate }: LeaderState): LeaderState {
  return { leader: candidate, candidate };
}

export interface LeaderOptions {
  readonly clock: Clock;
  readonly graceMs: number;
  readonly onChange: (event: LeaderEvent) => void;
}

export class LeaderWatch {
  readonly #options: LeaderOptions;
  #state: LeaderState = { leader: 0, candidate: 0 };
  #self = 0;
  #cancel: (() => void) | undefined;

  constructor(options: LeaderOptions) {
    this.#options = options;
  }

  get leads(): boolean {
    return this.#self !== 0 && this.#state.leader === this.#self;
  }

  /** This replica's id, or the peers it is linked with, may have changed. */
  look(self: number, linked: readonly number[]): void {
    const ledBefore = this.leads;
    this.#self = self;
    // Under a new id this replica is another peer: it leads no more before its grace is over.
    if (ledBefore && !this.leads) this.#tell();
    const next = onPeers(this.#state, [self, ...linked]);
    if (next === this.#state) return;
    this.#state = next;
    this.#cancel?.();
    this.#cancel = undefined;
    if (next.candidate === next.leader) return;
    const { clock, graceMs } = this.#options;
    this.#cancel = clock.setTimer(graceMs, () => {
      this.#cancel = undefined;
      this.#state = onGraceOver(this.#state);
      this.#tell();
    });
  }

  /** It leads no more. */
  close(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    this.#self = 0;
  }

  #tell(): void {
    this.#options.onChange({ leader: this.leads, peerId: this.#state.leader });
  }
}
