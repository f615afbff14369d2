/** What ends a command early: a message for people, and the exit code that goes with it. */

export const exitCodes = { done: 0, failed: 1, usage: 2 } as const;

/** Stays inside the command line; errors of the library are `ReplicaError`s. */
export class Failure extends Error {
  override readonly name = "Failure";
  readonly exitCode: number;
  readonly hint?: string;

  constructor(
    message: string,
    options: { hint?: string; cause?: unknown; exitCode?: number } = {},
  ) {
    super(message, "cause" in options ? { cause: options.cause } : undefined);
    this.exitCode = options.exitCode ?? exitCodes.failed;
    if (options.hint !== undefined) this.hint = options.hint;
  }
}

export function usageFailure(message: string): Failure {
  return new Failure(message, { exitCode: exitCodes.usage });
}
