/** What an operator asks of a replica first. */
import { lagChangesets } from "./lag.ts";
import { readRecords } from "./log/records.ts";
import type { OriginMarks, Store } from "./log/store.ts";
import { wallMsOf } from "./log/timestamp.ts";
import type { OrphanCounts } from "./orphans.ts";
import { type FloorState, horizonOf, membersOf, waitsFor } from "./sync/floor.ts";
import type { LinkHost } from "./sync/link-host.ts";

/** Of a payload, by docs/format.md: another part of the transaction follows. */
const continuesFlag = 1;

export interface Status {
  readonly peerId: number;
  readonly cluster: string;
  readonly tables: string[];
  /** This peer first. */
  readonly origins: OriginMarks[];
  /** `behind`: changesets held here that the peer has not acknowledged. */
  readonly links: {
    peerId: number;
    name: string;
    behind: number;
    /** How far the clock here is ahead of the peer's, in ms, once measured. */
    skewMs: number | null;
  }[];
  readonly log: { rows: number; bytes: number };
  readonly clockCache: { entries: number; bytes: number };
  /** Patches that wait, those of withheld rows included. */
  readonly parked: { table: string; reason: string; count: number }[];
  /** Rows that are shown although a CHECK says no, or their foreign keys point nowhere. */
  readonly violations: { table: string; reason: "check" | "foreign-key"; count: number }[];
  /** When foreign keys were looked at last, wall time in ms; 0 if not yet. */
  readonly orphansCheckedAtMs: number;
  readonly refused: number;
  /** Origins of whose newest transaction only the first parts are here; none of it is shown. */
  readonly unfinished: OriginMarks[];
  readonly floor: FloorStatus;
  /** Peers that this file has linked with. `behind`: as of when it was heard last. */
  readonly peers: { peerId: number; behind: number; heardMs: number; forgotten: boolean }[];
}

/** See `docs/operations.md`. Times are wall time in ms; null when there is none yet. */
export interface FloorStatus {
  readonly members: number;
  readonly forgotten: number;
  /** Every member holds everything below it. */
  readonly floorMs: number | null;
  /** Tombstones below it are dropped here. */
  readonly horizonMs: number | null;
  /** Members that the next floor waits for. */
  readonly waitsFor: number[];
  /** This file waits to be let in by a linked peer. */
  readonly outside: boolean;
}

export function statusOf(
  store: Store,
  links: readonly LinkHost[],
  parts: {
    marks: readonly OriginMarks[];
    cluster: string;
    orphans: OrphanCounts;
    floor: FloorStatus;
  },
): Status {
  const { marks, cluster, orphans, floor } = parts;
  const { peerId, logRows, logBytes, parked, refused } = store.status();
  const { clockCacheEntries, clockCacheBytes } = store.counters();
  return {
    peerId,
    cluster,
    tables: store.tables(),
    origins: [...marks],
    links: links.map((link) => ({
      peerId: link.peerId,
      name: link.name,
      behind: lagChangesets(link, marks),
      skewMs: link.skew === undefined ? null : Math.round(link.skew.aheadMs),
    })),
    log: { rows: logRows, bytes: logBytes },
    clockCache: { entries: clockCacheEntries, bytes: clockCacheBytes },
    parked: parked.filter(({ reason }) => reason !== "check"),
    violations: violationsOf(parked, orphans.counts),
    orphansCheckedAtMs: orphans.checkedAtMs,
    refused,
    unfinished: marks.filter((mark) => isUnfinished(store, mark)),
    floor,
    peers: store.peers().map(({ peerId: peer, vector, heardMs, forgotten }) => ({
      peerId: peer,
      behind: lagChangesets({ remoteHolds: (origin) => vector.get(origin) ?? 0 }, marks),
      heardMs,
      forgotten,
    })),
  };
}

export function floorStatusOf(state: FloorState, outside: boolean): FloorStatus {
  const { floor, round } = state;
  return {
    members: membersOf(state).length,
    forgotten: state.forgotten.size,
    floorMs: wallMsOf(floor) ?? null,
    horizonMs: wallMsOf(horizonOf(state)) ?? null,
    waitsFor: round === undefined ? [] : waitsFor(state, round),
    outside,
  };
}

function isUnfinished(store: Store, { peerId: origin, held, merged }: OriginMarks): boolean {
  if (merged === held) return false;
  const [newest] = readRecords(store.readLog({ origin, first: held, last: held, bytesMax: 1 }));
  return ((newest?.payload[1] ?? 0) & continuesFlag) !== 0;
}

/** Marks of CHECK are kept with what is parked; orphans are counted by looking for them. */
function violationsOf(
  parked: readonly { table: string; reason: string; count: number }[],
  orphans: readonly { table: string; count: number }[],
): Status["violations"] {
  const checks = parked.filter(({ reason }) => reason === "check");
  return [
    ...checks.map(({ table, count }) => ({ table, reason: "check" as const, count })),
    ...orphans.map(({ table, count }) => ({ table, reason: "foreign-key" as const, count })),
  ];
}
