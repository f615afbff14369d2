/** An orderly end: no new links, what was written here is on peers, and then all is closed. */
import { checkNames } from "../arguments.ts";
import { checkDrainPeers, type DrainPeers, drainOf } from "../drain.ts";
import { ReplicaError } from "../errors.ts";
import type { Options } from "../options.ts";
import type { ReplicaCore } from "../replica-core.ts";
import type { SnapshotResult } from "../snapshot/snapshot.ts";
import { parseToken } from "../token.ts";

export interface CloseOptions {
  /**
   * Waits first until as many peers as `drain()` has by default, or as many as are named, hold what
   * was written here. @default false
   */
  readonly drain?: boolean | DrainPeers;
  /**
   * Makes the snapshot of the shutdown then, where the option `backup` says, if this replica is to
   * make it. One that fails is told of by its event, and does not keep the replica from closing.
   * @default false
   */
  readonly snapshot?: boolean;
  /** Waits no longer, and closes. */
  readonly signal?: AbortSignal | undefined;
}

export interface CloseResult {
  /** What was waited for has come true; without `drain` nothing was waited for. */
  readonly drained: boolean;
  /** The snapshot, if one was due and is made. */
  readonly snapshot: SnapshotResult | null;
}

/** @throws INVALID_OPTION */
export function checkCloseOptions(
  options: CloseOptions,
  { backup }: Pick<Options, "backup">,
): void {
  checkNames(options, ["drain", "snapshot", "signal"]);
  if (options.snapshot === true && backup === undefined) {
    throw new ReplicaError("INVALID_OPTION", "there is no path for the snapshot", {
      hint: "Attach with the option backup.",
    });
  }
  if (typeof options.drain !== "boolean") checkDrainPeers(options.drain);
}

/** Whether peers hold what was written here; `false` as well when nobody is left who could. */
export async function drainForClose(
  core: ReplicaCore,
  peers: DrainPeers | undefined,
  { token, signal }: { token: string; signal: AbortSignal | undefined },
): Promise<boolean> {
  const { hub, waiters } = core;
  const isHeld = drainOf(hub, parseToken(token), peers);
  try {
    await waiters.until(() => isHeld() || !hub.hasConnections, signal);
  } catch (error) {
    if (signal?.aborted !== true && !core.closing) throw error;
  }
  return isHeld();
}

/** Null when none is due, and when it fails: its event has told why. */
export async function snapshotForClose(
  core: ReplicaCore,
  signal: AbortSignal | undefined,
): Promise<SnapshotResult | null> {
  if (signal?.aborted === true) return null;
  const made = await core.snapshots.atShutdown(signal).catch(() => undefined);
  return made ?? null;
}
