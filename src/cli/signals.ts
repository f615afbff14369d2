/** SIGINT and SIGTERM: the first asks for an orderly end, the second does not wait for it. */
import { constants } from "node:os";
import { Failure } from "./failure.ts";

/** Aborts with a `Failure` that has the customary exit code. Takes the signals over for good. */
export function interruptSignal(): AbortSignal {
  const controller = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) {
    const exitCode = 128 + constants.signals[name];
    process.on(name, () => {
      if (controller.signal.aborted) process.exit(exitCode);
      controller.abort(new Failure("interrupted", { exitCode }));
    });
  }
  return controller.signal;
}

/** Resolves when `signal` aborts. */
export function whenAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
