/** What a replica tells its listeners. */

import type { Conflict } from "./conflict.ts";
import type { ReplicaError } from "./errors.ts";
import type { SqlValue } from "./native.ts";
import type { SnapshotEvent } from "./snapshot/snapshots.ts";

/** How far a transfer has come. */
export interface StateProgressEvent {
  readonly peerId: number;
  /** The table of the rows merged last; empty before the first. */
  readonly table: string;
  readonly rows: number;
  readonly bytes: number;
  /** An estimate from the size of the sender's file; 100 when done. */
  readonly percent: number;
  readonly done: boolean;
}

export interface ClockEvent {
  /** Median over the linked peers; above 0 when the clock here is ahead. */
  readonly skewMs: number;
  /** How many peers that is. */
  readonly peers: number;
  /** Whether it is near theirs again. */
  readonly ok: boolean;
}

export interface CollisionEvent {
  readonly table: string;
  /** By column; NOCASE keys are spelled in lower case. */
  readonly key: Readonly<Record<string, SqlValue>>;
  /** Who wrote the insert that was merged, and who the row that it met. */
  readonly origins: readonly [number, number];
}

export interface LeaderEvent {
  /** This replica leads. */
  readonly leader: boolean;
  /** Who leads. */
  readonly peerId: number;
}

export interface VerifyEvent {
  readonly peerId: number;
  readonly differences: number;
  /** With `repair`: what has been done about them, in rows. */
  readonly repair?: {
    readonly sent: number;
    readonly taken: number;
    readonly rewritten: number;
    readonly left: number;
  };
}

export interface MembershipEvent {
  /** A linked peer's id, or this peer's own. */
  readonly peerId: number;
  /** False: it stands outside the floor, and nothing is taken from it before it has joined. */
  readonly member: boolean;
  /** Of this peer: rows and columns that it has issued again, under a new id. */
  readonly reissued: number;
}

export interface ReplicaEvents {
  /** A local transaction, of this connection or another one on the same file, is in the log. */
  commit: { token: string };
  /** A slice of remote changesets shows in the tables. */
  merge: { changesets: number; patches: number; lost: number; parked: number };
  /**
   * A state transfer into this file has begun, come on or ended: rows, and bytes over this link.
   * While one is under way readers may see some of a transaction's rows before the others.
   */
  state: StateProgressEvent;
  /** Tables have been compared with a peer's. */
  verify: VerifyEvent;
  /** A link went live or ended. */
  link: { peerId: number; name: string; live: boolean; code?: string; text?: string };
  /** A dialler could not connect; it tries again. */
  dial: { name: string; error: unknown };
  /** A changeset that makes no sense was kept aside. */
  refused: { origin: number; sequence: number; reason: string };
  /**
   * Something could not be merged as it was written: `docs/conflicts.md`. Of one slice the first
   * 256 rows are told one by one.
   */
  conflict: Conflict;
  /** ... and is in order by now. `key` spells NOCASE keys in lower case. */
  resolved: Pick<Conflict, "table" | "key" | "reason">;
  /**
   * Of one slice of merging, how often more rows than 256 came to be in conflict or in order: look
   * at `Replica.conflicts` and `status().parked`.
   */
  conflicts: { changes: number };
  /**
   * Two peers have inserted a row under one key, and it is one row now: ids that each peer counts
   * for itself do that. The peer that wrote last is told, and others that merge the earlier insert
   * after the later one. Of one slice of merging the first 16 are told.
   */
  collision: CollisionEvent;
  /** Another peer leads, or this one does: see `Replica.leader`. */
  leader: LeaderEvent;
  /** This file turned out to be a copy or to have lost its last commits: it has a new peer id. */
  identity: { peerId: number };
  /** A peer that stands outside the floor has linked, or has been let in; or this one has. */
  membership: MembershipEvent;
  /** The clock here is more than 2 s from those of most linked peers, or near them again. */
  clock: ClockEvent;
  /** A snapshot has begun, come on, or ended. */
  snapshot: SnapshotEvent;
  /** Something the operator should know; the replica goes on. */
  error: { error: ReplicaError };
}

/** For listeners of other names to be refused. */
export const replicaEventNames: Readonly<Record<keyof ReplicaEvents, true>> = {
  commit: true,
  merge: true,
  state: true,
  verify: true,
  link: true,
  dial: true,
  refused: true,
  conflict: true,
  resolved: true,
  conflicts: true,
  collision: true,
  leader: true,
  identity: true,
  membership: true,
  clock: true,
  snapshot: true,
  error: true,
};
