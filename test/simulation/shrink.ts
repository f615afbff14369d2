/**
 * Makes a failing plan small: as long as the same thing goes wrong, events, peers and bad weather
 * are left out. A plan is data, so whatever is left of it runs as it did.
 */
import { fairWeather } from "./network.ts";
import type { Event, Plan } from "./plan.ts";
import { simulate } from "./world.ts";

export interface Shrunk {
  readonly plan: Plan;
  readonly violation: string;
  readonly runs: number;
}

export interface ShrinkOptions {
  /** How many runs it may take. */
  readonly runsMax: number;
  readonly onProgress?: (plan: Plan, runs: number) => void;
}

export async function shrink(
  failing: Plan,
  violation: string,
  { runsMax, onProgress }: ShrinkOptions,
): Promise<Shrunk> {
  let best = failing;
  let told = violation;
  let runs = 0;
  const attempt = async (plan: Plan): Promise<boolean> => {
    if (runs >= runsMax) return false;
    runs += 1;
    const outcome = await simulate(plan);
    if (outcome.violation === undefined) return false;
    if (kindOf(outcome.violation) !== kindOf(violation)) return false;
    best = plan;
    told = outcome.violation;
    onProgress?.(plan, runs);
    return true;
  };
  for (let size = -1; size !== sizeOf(best) && runs < runsMax; ) {
    size = sizeOf(best);
    for (const simpler of simplerWorlds(best)) await attempt({ ...best, ...simpler });
    for (const simpler of fewerPeers(best)) await attempt(simpler);
    await dropEvents(() => best, attempt);
    await dropSteps(() => best, attempt);
    await attempt(endEarly(best));
  }
  return { plan: best, violation: told, runs };
}

/** What is wrong, without who and how much. */
function kindOf(violation: string): string {
  return violation.replace(/[\d.]+/g, "#").slice(0, 24);
}

function sizeOf(plan: Plan): number {
  return JSON.stringify(plan).length;
}

function simplerWorlds(plan: Plan): Partial<Plan>[] {
  const peers = plan.peers.map((peer) => ({ ...peer, offsetMs: 0, rate: 0 }));
  return [
    { weather: fairWeather },
    { kind: "stream" },
    { topology: "chain" },
    { tickMs: 1_000 },
    { peers },
    { peers: peers.map((peer) => ({ ...peer, stepMs: 1 })) },
    { peers: peers.map((peer) => ({ ...peer, mergeSliceMs: 100 })) },
    { peers: peers.map((peer) => ({ ...peer, lacks: { table: false, column: false } })) },
  ];
}

function fewerPeers(plan: Plan): Plan[] {
  if (plan.peers.length <= 2) return [];
  return plan.peers.map((_, gone) => ({ ...plan, peers: plan.peers.toSpliced(gone, 1) }));
}

/** Delta debugging: ever smaller pieces are left out. */
async function dropEvents(
  current: () => Plan,
  attempt: (plan: Plan) => Promise<boolean>,
): Promise<void> {
  for (let piece = Math.ceil(current().events.length / 2); piece >= 1; piece = piece >> 1) {
    for (let end = current().events.length; end > 0; end -= piece) {
      const events = current().events.toSpliced(Math.max(end - piece, 0), Math.min(piece, end));
      await attempt({ ...current(), events });
    }
  }
}

async function dropSteps(
  current: () => Plan,
  attempt: (plan: Plan) => Promise<boolean>,
): Promise<void> {
  for (let at = 0; at < current().events.length; at++) {
    const event = current().events[at];
    if (event === undefined) continue;
    for (const simpler of simplerEvents(event)) {
      await attempt({ ...current(), events: current().events.with(at, simpler) });
    }
  }
}

function simplerEvents(event: Event): Event[] {
  const { tick, action } = event;
  if (action.do === "burst" && action.count > 1) {
    return [{ tick, action: { ...action, count: action.count >> 1 } }];
  }
  if (action.do !== "write" || action.steps.length < 2) return [];
  return action.steps.map((_, gone) => ({
    tick,
    action: { ...action, steps: action.steps.toSpliced(gone, 1) },
  }));
}

function endEarly(plan: Plan): Plan {
  const last = plan.events.at(-1)?.tick ?? 0;
  return { ...plan, ticks: last + 2 };
}
