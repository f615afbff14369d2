/** How many requests shipping makes in a day, by the very settings it has. Pure. */
import { filesJoinedMax } from "../backup/levels.ts";
import type { KeepSettings } from "./keep-options.ts";
import type { ShipSettings } from "./options.ts";

export interface DayOfRequests {
  readonly puts: number;
  readonly gets: number;
  readonly lists: number;
  readonly deletes: number;
}

export type RequestPurpose =
  | "shipping"
  | "manifest"
  | "lease"
  | "joining"
  | "snapshots"
  | "proofs"
  | "start";

/** In the order of `RequestPurpose`. Those without any are left out. */
export type RequestsByPurpose = ReadonlyMap<RequestPurpose, DayOfRequests>;

const dayMs = 86_400_000;
/** Of one start: with a lease, and a look whether conditions are kept, or without. */
const guarded: DayOfRequests = { puts: 3, gets: 1, lists: 3, deletes: 1 };
const unguarded: DayOfRequests = { puts: 0, gets: 1, lists: 1, deletes: 0 };
const none: DayOfRequests = { puts: 0, gets: 0, lists: 0, deletes: 0 };

/**
 * Of one database in one storage, on a day in which it is written all the time, long after shipping
 * began: as many as there can be. Nobody writes: none. `start`: those of one start, besides.
 */
export function requestsPerDay(
  settings: ShipSettings,
  { keepsMetadata }: { readonly keepsMetadata: boolean },
): RequestsByPurpose {
  const { intervalMs, leaseTtlMs, unsafeNoLease, holdLease, keep } = settings;
  const uploads = Math.ceil(dayMs / Math.max(1, intervalMs));
  // Renewed when half of its time is over, or held all the time.
  const renewals = unsafeNoLease ? 0 : Math.ceil(dayMs / (leaseTtlMs / (holdLease ? 3 : 2)));
  const all = new Map<RequestPurpose, DayOfRequests>([
    ["shipping", { ...none, puts: uploads, deletes: keep === false ? 0 : uploads }],
    ["manifest", { ...none, puts: keepsMetadata ? 0 : uploads }],
    ["lease", { ...none, puts: renewals, deletes: renewals }],
    ...(keep === false ? [] : keeping(keep, Math.max(1, intervalMs))),
    ["start", unsafeNoLease ? unguarded : guarded],
  ]);
  return new Map([...all].filter(([, each]) => Object.values(each).some((count) => count > 0)));
}

export function sumOf(requests: Iterable<DayOfRequests>): DayOfRequests {
  let sum = none;
  for (const { puts, gets, lists, deletes } of requests) {
    sum = {
      puts: sum.puts + puts,
      gets: sum.gets + gets,
      lists: sum.lists + lists,
      deletes: sum.deletes + deletes,
    };
  }
  return sum;
}

/** What is made is read back once; what it is made of is read once. */
function keeping(
  { intervalsMs, snapshotMs, verifyMs }: KeepSettings,
  intervalMs: number,
): [RequestPurpose, DayOfRequests][] {
  let below = dayMs / intervalMs;
  let joined = 0;
  let read = 0;
  let tail = 0;
  let belowMs = intervalMs;
  for (const levelMs of intervalsMs) {
    const inputs = Math.max(1, levelMs / belowMs);
    // Of an interval that is not over, as many as there may be of the level below.
    tail += Math.min(inputs, filesJoinedMax);
    const files = Math.min(below, (dayMs / levelMs) * Math.ceil(inputs / filesJoinedMax));
    joined += files;
    read += below + files;
    below = files;
    belowMs = levelMs;
  }
  const snapshots = dayMs / snapshotMs;
  // The newest snapshot, and what has come since.
  const chain = 1 + Math.min(filesJoinedMax, Math.max(1, snapshotMs / belowMs) + tail);
  const proofs = dayMs / Math.min(verifyMs, snapshotMs);
  return [
    ["joining", rounded({ ...none, puts: joined, gets: read, deletes: joined })],
    [
      "snapshots",
      rounded({ ...none, puts: snapshots, gets: snapshots * (chain + 1), deletes: snapshots }),
    ],
    ["proofs", rounded({ ...none, gets: proofs * chain })],
  ];
}

function rounded({ puts, gets, lists, deletes }: DayOfRequests): DayOfRequests {
  const up = (count: number) => Math.ceil(count);
  return { puts: up(puts), gets: up(gets), lists: up(lists), deletes: up(deletes) };
}
