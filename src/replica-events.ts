/** What a replica tells its listeners. */
import type { ReplicaError } from "./errors.ts";

export interface ReplicaEvents {
  /** A local transaction, of this connection or another one on the same file, is in the log. */
  commit: { token: string };
  /** A slice of remote changesets shows in the tables. */
  merge: { changesets: number; patches: number; lost: number; parked: number };
  /** A link went live or ended. */
  link: { peerId: number; name: string; live: boolean; code?: string; text?: string };
  /** A dialler could not connect; it tries again. */
  dial: { name: string; error: unknown };
  /** A changeset that makes no sense was kept aside. */
  refused: { origin: number; sequence: number; reason: string };
  /** This file turned out to be a copy or to have lost its last commits: it has a new peer id. */
  identity: { peerId: number };
  /** Something the operator should know; the replica goes on. */
  error: { error: ReplicaError };
}
