/** A replica for the time of a command, and a link that has to come up. */
import { systemClock } from "../clock.ts";
import { attach, type Replica, ReplicaError } from "../index.ts";
import { memoryPair } from "../transport/memory.ts";
import type { Dialer, Transport } from "../transport/transport.ts";
import type { OptionSpec, Values } from "./command.ts";
import { requireReplicated, withDatabase } from "./database.ts";
import { Failure } from "./failure.ts";

export const timeoutOption: OptionSpec = {
  type: "string",
  value: "SECONDS",
  help: "give up when the peer cannot be reached for so long (default 10)",
};

export function readTimeoutMs(values: Values): number {
  const range = { min: 0.1, max: 86_400, fraction: true };
  return 1000 * values.number("timeout", { ...range, fallback: 10 });
}

/** Attaches a file that is replicated already, and closes everything afterwards. */
export function withReplica<Result>(
  file: string,
  cluster: string | undefined,
  use: (replica: Replica) => Promise<Result>,
): Promise<Result> {
  return withDatabase(file, {}, async (db) => {
    requireReplicated(db, file);
    const replica = attach(db, cluster === undefined ? {} : { cluster });
    // Timers of a replica do not keep a process alive, and two files in one have no sockets.
    const alive = new AbortController();
    systemClock.sleep(Number.POSITIVE_INFINITY, alive).catch(() => undefined);
    try {
      if (replica.tables().length > 0) return await use(replica);
      throw new Failure(`${file} replicates no table`, { hint: `mergelite init ${file}` });
    } finally {
      await replica.close();
      alive.abort();
    }
  });
}

/** Dialled again when a file finds that it was restored, takes a new peer id, and ends the link. */
export function dialerTo(there: Replica, name: string): Dialer {
  return {
    name,
    dial: async () => {
      const [left, right] = memoryPair();
      there.connect(right);
      return left;
    },
  };
}

export interface LinkOptions {
  /** What errors call the other side. */
  readonly name: string;
  readonly timeoutMs: number;
  /** The user's wish to stop. */
  readonly signal: AbortSignal;
}

/** Dialling again would not help. */
const hopelessCodes: ReadonlySet<string> = new Set([
  "CLUSTER_MISMATCH",
  "MESSAGE_TOO_LARGE",
  "PEER_ID_IN_USE",
  "PROTOCOL_MALFORMED",
  "VERSION_MISMATCH",
]);

/**
 * Connects, waits for the link, and calls `use` with the peer's id. Fails when the peer cannot be
 * reached for `timeoutMs`, then or later, and at once when it refuses for good.
 */
export async function withLink<Result>(
  replica: Replica,
  to: Transport | Dialer,
  { name, timeoutMs, signal }: LinkOptions,
  use: (peerId: number, signal: AbortSignal) => Promise<Result>,
): Promise<Result> {
  const ended = new AbortController();
  const giveUp = AbortSignal.any([signal, ended.signal]);
  let reason = "it does not answer";
  let cancelTimer = () => {};
  const startTimer = () => {
    cancelTimer();
    cancelTimer = systemClock.setTimer(timeoutMs, () => {
      const seconds = timeoutMs / 1000;
      ended.abort(new Failure(`${name} could not be reached within ${seconds} s: ${reason}`));
    });
  };
  startTimer();
  const live = new Promise<number>((resolve) => {
    replica.on("dial", ({ error }) => {
      reason = reasonOf(error);
      if (error instanceof ReplicaError && error.code === "TRANSPORT_REFUSED") {
        ended.abort(
          new Failure(error.message, error.hint === undefined ? {} : { hint: error.hint }),
        );
      }
    });
    replica.on("link", (link) => {
      if (link.live) {
        cancelTimer();
        resolve(link.peerId);
        return;
      }
      reason = link.text ?? reason;
      const hint = `Error code ${link.code}, see docs/errors.md.`;
      if (!hopelessCodes.has(link.code ?? "")) startTimer();
      else ended.abort(new Failure(`${name} refused the link: ${reason}`, { hint }));
    });
  });
  const connection = replica.connect(to);
  try {
    const peerId = await Promise.race([live, rejectOnAbort(giveUp)]);
    return await Promise.race([use(peerId, giveUp), rejectOnAbort(giveUp)]);
  } finally {
    cancelTimer();
    await connection.close();
  }
}

function rejectOnAbort(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    else signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}

/** The system's own words, where there are any: ours name the address once more. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  // Several addresses were tried, and the error has no message of its own.
  if (error instanceof AggregateError) return reasonOf(error.errors[0]);
  if (error.cause instanceof Error) return reasonOf(error.cause);
  return error.message;
}
