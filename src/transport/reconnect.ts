/** Dialling for as long as someone wants a connection, ever more patiently. */
import { type Clock, jitter, type Random } from "../clock.ts";
import type { Dialer, Transport } from "./transport.ts";

export interface KeepDialingOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** Ends it all. */
  readonly signal: AbortSignal;
  /** @default 100 */
  readonly backoffMinMs?: number;
  /** @default 30000 */
  readonly backoffMaxMs?: number;
  /** A connection that lived this long starts the back-off anew. @default 5000 */
  readonly livedMs?: number;
  readonly onEvent?: (event: DialEvent) => void;
}

export type DialEvent =
  | { type: "dialing"; attempt: number }
  | { type: "connected"; attempt: number }
  /** The attempt failed, or the connection ended, with an error or in good order. */
  | { type: "ended"; attempt: number; error?: unknown }
  | { type: "waiting"; attempt: number; delayMs: number };

/**
 * Dials, gives the transport to `onTransport`, and dials again when the promise it returned is
 * settled. Resolves after the abort, when the last transport is closed; never rejects.
 */
export async function keepDialing(
  dialer: Dialer,
  onTransport: (transport: Transport) => Promise<void>,
  options: KeepDialingOptions,
): Promise<void> {
  const { clock, random, signal, onEvent } = options;
  const { backoffMinMs = 100, backoffMaxMs = 30_000, livedMs = 5_000 } = options;
  let failures = 0;
  for (let attempt = 1; !signal.aborted; attempt++) {
    onEvent?.({ type: "dialing", attempt });
    const startedMs = clock.now();
    const outcome = await converse(dialer, onTransport, {
      signal,
      onConnected: () => onEvent?.({ type: "connected", attempt }),
    });
    onEvent?.({ type: "ended", attempt, ...outcome.error });
    if (signal.aborted) return;
    // One that is refused right after connecting must not be dialled in a tight loop.
    const lived = outcome.connected && clock.now() - startedMs >= livedMs;
    failures = lived ? 0 : failures + 1;
    const doublings = Math.min(Math.max(failures - 1, 0), 30);
    const ceilingMs = Math.min(backoffMinMs * 2 ** doublings, backoffMaxMs);
    const delayMs = jitter(ceilingMs, random);
    onEvent?.({ type: "waiting", attempt, delayMs });
    // An abort ends the wait, and then the loop.
    await clock.sleep(delayMs, { signal }).catch(() => undefined);
  }
}

interface Outcome {
  connected: boolean;
  error: { error?: unknown };
}

async function converse(
  dialer: Dialer,
  onTransport: (transport: Transport) => Promise<void>,
  { signal, onConnected }: { signal: AbortSignal; onConnected: () => void },
): Promise<Outcome> {
  let transport: Transport;
  try {
    transport = await dialer.dial(signal);
  } catch (error) {
    return { connected: false, error: { error } };
  }
  onConnected();
  const close = async () => {
    try {
      await transport.close?.();
    } catch {
      // Whoever had it closes it, too, and tells. It is over in any case.
    }
  };
  signal.addEventListener("abort", close, { once: true });
  if (signal.aborted) void close();
  try {
    await onTransport(transport);
    return { connected: true, error: {} };
  } catch (error) {
    return { connected: true, error: { error } };
  } finally {
    signal.removeEventListener("abort", close);
    await close();
  }
}
