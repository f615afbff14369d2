/** When a linked peer is told what this one knows of floors. Pure: the keeper sends. */
import { type FloorState, isSameFloor } from "./floor.ts";

/** What a linked peer has told, and was told. */
export interface Talk {
  state: FloorState | undefined;
  sent: FloorState | undefined;
  sentMs: number;
  /** How often the same has been sent again: it gets lost, or the other side has to stay apart. */
  repeats: number;
}

/** The least between two messages over a link that say something new. */
const gapMsMax = 1_000;
/** The same is said again after one period, then after twice as long, up to 16 periods. */
const doublingsMax = 4;

export function newTalk(): Talk {
  return { state: undefined, sent: undefined, sentMs: Number.NEGATIVE_INFINITY, repeats: 0 };
}

/** In how many ms `state` is to be told; undefined when there is nothing to say. */
export function tellIn(
  talk: Talk,
  state: FloorState,
  { nowMs, periodMs }: { nowMs: number; periodMs: number },
): number | undefined {
  const isNews = talk.sent !== state;
  // What this peer has passed is news that nobody else repeats.
  const isKnown = state.gate === 0 || talk.repeats > 0;
  const isSettled = talk.state !== undefined && isSameFloor(talk.state, state);
  if (!isNews && isSettled && isKnown) return undefined;
  if (talk.sent === undefined) return 0;
  const repeatMs = periodMs * 2 ** Math.min(talk.repeats, doublingsMax);
  const gapMs = isNews ? Math.min(gapMsMax, periodMs) : repeatMs;
  const waitMs = talk.sentMs + gapMs - nowMs;
  // A clock that has been set back keeps nobody waiting.
  return waitMs > 0 && waitMs <= gapMs ? waitMs : 0;
}

export function told(talk: Talk, state: FloorState, nowMs: number): void {
  talk.repeats = talk.sent === state ? talk.repeats + 1 : 0;
  talk.sent = state;
  talk.sentMs = nowMs;
}
