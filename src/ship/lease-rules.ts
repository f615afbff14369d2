/**
 * What a lease is made of, and when it may be taken: no storage, no timers.
 *
 * A lease is a row of numbered objects, `lease/1`, `lease/2`, …, each put on the condition that it
 * is absent. Who puts the next number holds the lease from then on: to take it, to renew it and to
 * give it back are one operation, and the storage lets one of any number of callers do it.
 */
import type { Clock } from "../clock.ts";
import { ReplicaError } from "../errors.ts";

/** What an object of the row says. */
export interface LeaseRecord {
  /** Whose it is: the same over restarts, if the caller says so. */
  readonly holder: string;
  /** Which holding it is: no two have the same, so it tells whether an object is our own. */
  readonly holding: string;
  /** Another one in each object: a lost answer is found out by what was put. */
  readonly nonce: string;
  /** The number that the holding began with. */
  readonly fence: number;
  readonly ttlMs: number;
  /** Given back: whoever wants the lease may take it at once. */
  readonly released: boolean;
  /** For people: host and process. */
  readonly label: string;
}

/** The newest object of a row, as somebody else sees it. */
export interface SeenLease {
  readonly number: number;
  readonly record: LeaseRecord;
  /** When it was there first, by the own steady clock. */
  readonly sinceMs: number;
}

/** What became of the holding before: `expired` means that its holder may still be at work. */
export type LeaseBefore = "none" | "released" | "own" | "expired";

export type Standing =
  | { readonly type: "free"; readonly before: LeaseBefore }
  /** To be looked at again after `leftMs`, if nothing has changed by then. */
  | { readonly type: "held"; readonly leftMs: number };

/**
 * How much longer others wait than a holder counts on its lease: clocks need not agree, but their
 * seconds may differ by this part only.
 */
const rateSlack = 0.1;

/** Objects of a row that are kept behind the newest: a listing as old as that does no harm. */
export const numbersKept = 8;

/**
 * Whether the lease is to be had. Time is counted from when its newest object was seen first, which
 * is after it was put, so no clocks are compared.
 */
export function standingOf(
  seen: SeenLease | undefined,
  { holder, steadyMs }: { holder: string; steadyMs: number },
): Standing {
  if (seen === undefined) return { type: "free", before: "none" };
  const { record, sinceMs } = seen;
  if (record.released) return { type: "free", before: "released" };
  if (record.holder === holder) return { type: "free", before: "own" };
  const leftMs = sinceMs + record.ttlMs * (1 + rateSlack) - steadyMs;
  return leftMs <= 0 ? { type: "free", before: "expired" } : { type: "held", leftMs };
}

/** A moment by both clocks of a machine. */
export interface Moment {
  readonly wallMs: number;
  readonly steadyMs: number;
}

export function momentOf(clock: Clock): Moment {
  const wallMs = clock.now();
  return { wallMs, steadyMs: clock.steady?.() ?? wallMs };
}

/**
 * The larger of what the clocks say: a wall clock that was set back shows too little, and so does a
 * steady one that stood still while the machine slept.
 */
export function passedMs(from: Moment, to: Moment): number {
  return Math.max(to.wallMs - from.wallMs, to.steadyMs - from.steadyMs);
}

/** The folder of the row below a root: `""` or a path with a slash at its end. */
export function leasePrefix(root: string): string {
  return `${root}lease/`;
}

/** Hexadecimal of one length: keys sort as numbers do. */
export function leaseKey(root: string, number: number): string {
  return leasePrefix(root) + number.toString(16).padStart(16, "0");
}

/** `undefined` for what is no key of the row. */
export function leaseNumberOf(root: string, key: string): number | undefined {
  const name = key.startsWith(leasePrefix(root)) ? key.slice(leasePrefix(root).length) : "";
  if (!/^[0-9a-f]{16}$/.test(name)) return undefined;
  const number = Number.parseInt(name, 16);
  return Number.isSafeInteger(number) && number > 0 ? number : undefined;
}

const format = 1;
const textMax = 200;
export const leaseTtlMsMin = 1000;
export const leaseTtlMsMax: number = 24 * 3600 * 1000;

export function encodeLease(record: LeaseRecord): Uint8Array {
  return Buffer.from(`${JSON.stringify({ format, ...record })}\n`);
}

/**
 * What cannot be read is never taken for a lease that has run out.
 * @throws `STORAGE_FAILED`
 */
export function decodeLease(bytes: Uint8Array, key: string): LeaseRecord {
  let value: Partial<LeaseRecord> & { format?: unknown } = {};
  try {
    const parsed: unknown = JSON.parse(Buffer.from(bytes).toString("utf8"));
    if (typeof parsed === "object" && parsed !== null) value = parsed;
  } catch {
    // The checks below say so.
  }
  const { holder, holding, nonce, fence, ttlMs, released, label } = value;
  const isText = (text: unknown): text is string =>
    typeof text === "string" && text.length <= textMax;
  const isWhole = (number: unknown, max: number): number is number =>
    Number.isSafeInteger(number) && Number(number) > 0 && Number(number) <= max;
  if (
    value.format === format &&
    isText(holder) &&
    isText(holding) &&
    isText(nonce) &&
    isText(label) &&
    isWhole(fence, Number.MAX_SAFE_INTEGER) &&
    isWhole(ttlMs, leaseTtlMsMax) &&
    typeof released === "boolean"
  ) {
    return { holder, holding, nonce, fence, ttlMs, released, label };
  }
  throw new ReplicaError("STORAGE_FAILED", `${key} is not a lease, or one of a later version`, {
    hint: "Use the version that wrote it; or delete it, once nothing writes there any more.",
  });
}
