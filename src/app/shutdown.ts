/** An orderly end: no new links, what was written here is on peers, and then all is closed. */
import { checkDrainPeers, type DrainPeers, isDrained } from "../drain.ts";
import { ReplicaError } from "../errors.ts";
import type { ReplicaCore } from "../replica-core.ts";
import { parseToken } from "../token.ts";

export interface CloseOptions {
  /**
   * Waits first until as many peers as `drain()` has by default, or as many as are named, hold what
   * was written here. @default false
   */
  readonly drain?: boolean | DrainPeers;
  /** Waits no longer, and closes. */
  readonly signal?: AbortSignal;
}

export interface CloseResult {
  /** What was waited for has come true; without `drain` nothing was waited for. */
  readonly drained: boolean;
}

/** @throws INVALID_OPTION */
export function checkCloseOptions(options: CloseOptions): void {
  const unknown = Object.keys(options).find((name) => name !== "drain" && name !== "signal");
  if (unknown !== undefined) {
    throw new ReplicaError("INVALID_OPTION", `unknown option ${JSON.stringify(unknown)}`, {
      hint: "The options are drain and signal.",
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
  const { peerId, sequence } = parseToken(token);
  const { hub, waiters } = core;
  const isHeld = () => sequence === 0 || isDrained(hub, { peerId, sequence }, peers);
  try {
    await waiters.until(() => isHeld() || !hub.hasConnections, signal);
  } catch (error) {
    if (signal?.aborted !== true && !core.closing) throw error;
  }
  return isHeld();
}
