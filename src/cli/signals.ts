/** SIGINT and SIGTERM: the first asks for an orderly end, the second does not wait for it. */
import { constants } from "node:os";
import { systemClock } from "../clock.ts";
import { Failure } from "./failure.ts";

type Receiver = (name: NodeJS.Signals) => void;

let receiver: Receiver | undefined;

/** Aborts with a `Failure` that has the customary exit code. Takes the signals over for good. */
export function interruptSignal(): AbortSignal {
  const controller = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) {
    const exitCode = 128 + constants.signals[name];
    process.on(name, () => {
      if (receiver !== undefined) receiver(name);
      else if (controller.signal.aborted) process.exit(exitCode);
      else controller.abort(new Failure("interrupted", { exitCode }));
    });
  }
  return controller.signal;
}

const unread = new AbortController();

/** Nobody reads what is printed any more. */
export function stopUnread(): void {
  unread.abort(new Failure("nobody reads what is printed"));
}

/** For commands that run until they are stopped: aborts when nobody reads them any more, too. */
export function stopSignal(): AbortSignal {
  return AbortSignal.any([interruptSignal(), unread.signal]);
}

/**
 * Gives signals, those of `interruptSignal` and others that would end this process, to somebody
 * else. Returns what takes them back.
 */
export function passSignals(to: Receiver): () => void {
  receiver = to;
  const names = ["SIGHUP", "SIGQUIT", "SIGUSR2"] as const;
  const pass = (name: NodeJS.Signals) => to(name);
  for (const name of names) process.on(name, pass);
  return () => {
    receiver = undefined;
    for (const name of names) process.off(name, pass);
  };
}

/** Resolves when `signal` aborts. */
export function whenAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

const dayMs = 24 * 3600 * 1000;

/** The same, and keeps the process alive until then. */
export async function stayAlive(signal: AbortSignal): Promise<void> {
  while (!signal.aborted) await systemClock.sleep(dayMs, { signal }).catch(() => {});
}
