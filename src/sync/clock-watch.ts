/** Tells when this replica's clock goes away from most peers' clocks, and when it is back. */
import type { ClockEvent } from "../replica-events.ts";
import { medianSkew, type Skew } from "./skew.ts";

/** Far more than clocks that are kept by NTP are apart, and far less than `driftMaxMs`. */
const skewMsMax = 2_000;

export class ClockWatch {
  readonly #onChange: (event: ClockEvent) => void;
  #ok = true;

  constructor(onChange: (event: ClockEvent) => void) {
    this.#onChange = onChange;
  }

  /** `skews`: of all linked peers with a measurement. */
  look(skews: readonly Skew[]): void {
    const skewMs = medianSkew(skews);
    if (skewMs === undefined) return;
    // Back means half as far, so that a clock at the limit does not report at every heartbeat.
    const ok = Math.abs(skewMs) <= (this.#ok ? skewMsMax : skewMsMax / 2);
    if (ok === this.#ok) return;
    this.#ok = ok;
    this.#onChange({ skewMs: Math.round(skewMs), peers: skews.length, ok });
  }
}
