/** A program that runs as long as a command keeps a file good for it. */
import { type ChildProcess, spawn } from "node:child_process";
import { constants } from "node:os";
import { messageOf } from "../errors.ts";
import type { OptionSpec } from "./command.ts";
import { Failure, usageFailure } from "./failure.ts";
import { passSignals } from "./signals.ts";

export const execOption: OptionSpec = {
  type: "string",
  value: "COMMAND",
  help: "run this beside it, and end when it ends, with its exit code",
};

export interface ChildCommand {
  readonly program: string;
  readonly args: readonly string[];
}

/**
 * The words of a command line, which quotes may hold together. There is no shell that reads it: it
 * would get the signals, and not all pass them on.
 */
export function parseCommand(text: string): ChildCommand {
  const isWhole = /^(?:[^'"]|'[^']*'|"[^"]*")*$/.test(text);
  const words = text.match(/(?:[^\s'"]|'[^']*'|"[^"]*")+/g) ?? [];
  const [program, ...args] = words.map((word) => word.replace(/'([^']*)'|"([^"]*)"/g, "$1$2"));
  if (isWhole && program !== undefined && program !== "") return { program, args };
  throw usageFailure(`--exec ${isWhole ? "names no program" : "has a quote that is not closed"}`);
}

export interface ChildSignals {
  /** Of `interruptSignal`: who was interrupted by now begins nothing. */
  readonly interrupted: AbortSignal;
  /** Asks it to end (SIGTERM). */
  readonly stop?: AbortSignal;
}

/**
 * Runs a program with our terminal and environment, and passes on signals: when it ends is its own
 * decision. Resolves to its exit code, 128 and the signal's number for one that was killed.
 */
export async function runChild(
  { program, args }: ChildCommand,
  { interrupted, stop }: ChildSignals,
): Promise<number> {
  interrupted.throwIfAborted();
  const child = spawn(program, args, { stdio: "inherit" });
  const takeBack = passSignals((name) => {
    // A terminal has sent it to both of us.
    if (name === "SIGTERM" || process.stdin.isTTY !== true) child.kill(name);
  });
  const end = () => child.kill("SIGTERM");
  stop?.addEventListener("abort", end);
  try {
    const [code, signal] = await exitOf(child);
    return code ?? 128 + (signal === null ? 0 : constants.signals[signal]);
  } catch (cause) {
    const why = messageOf(cause);
    throw new Failure(`cannot run ${program}: ${why}`, { cause });
  } finally {
    stop?.removeEventListener("abort", end);
    takeBack();
  }
}

function exitOf(child: ChildProcess): Promise<[number | null, NodeJS.Signals | null]> {
  return new Promise((resolve, reject) => {
    child.once("exit", (code, signal) => resolve([code, signal]));
    // One that runs as another user may not be sent signals: it is waited for all the same.
    child.on("error", (error) => {
      if (child.pid === undefined) reject(error);
    });
  });
}
