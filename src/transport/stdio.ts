/**
 * Pipes: two processes that talk over stdin and stdout, one of them started by the other, perhaps
 * on another machine, by `ssh`. Each message whole, once and in order. Who may start the program is
 * all there is of authentication. Nothing else may write to that stdout, nor read that stdin.
 */

import { ChildProcess, type SpawnOptions, spawn } from "node:child_process";
import type { Readable, Writable } from "node:stream";
import { checkNames } from "../arguments.ts";
import { type Clock, systemClock } from "../clock.ts";
import { ReplicaError } from "../errors.ts";
import { StreamTransport } from "./stream.ts";
import { type Dialer, failedError, type Transport } from "./transport.ts";

export type { Dialer, Transport } from "./transport.ts";

export interface StdioOptions {
  /** @default the system's clock */
  readonly clock?: Clock;
}

export interface CommandOptions extends StdioOptions {
  /** Let a shell read `command`, which is then a whole command line. @default false */
  readonly shell?: boolean;
  /** @default that of this process */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** @default that of this process */
  readonly cwd?: string;
}

/** How long a child may take to end when its pipes are closed, before it is killed. */
const exitMs = 2_000;

/**
 * In a program that was started: over its own stdin and stdout, `stdioTransport(process)`. In the
 * one that started it: over those of the child, which must be pipes.
 */
export function stdioTransport(
  source: ChildProcess | { readonly stdin: Readable; readonly stdout: Writable },
  { clock = systemClock }: StdioOptions = {},
): Transport {
  if (source instanceof ChildProcess) {
    const name = `stdio:${source.pid ?? 0}`;
    return overPipes(source, { name, clock });
  }
  const { stdin: input, stdout: output } = source;
  return new StreamTransport({ input, output }, { name: "stdio", clock });
}

/**
 * Dials by starting a program, which ends when its stdin does; what it writes to stderr goes to
 * this process's. One that fails is a transport that failed, and is started again by and by.
 */
export function commandTransport(
  command: string,
  args: readonly string[] = [],
  given: CommandOptions = {},
): Dialer {
  checkNames(given, ["clock", "shell", "env", "cwd"]);
  const { clock = systemClock, shell = false, env, cwd } = given;
  const name = `exec:${[command, ...args].join(" ")}`;
  const options: SpawnOptions = {
    stdio: ["pipe", "pipe", "inherit"],
    shell,
    ...(env === undefined ? {} : { env }),
    ...(cwd === undefined ? {} : { cwd }),
  };
  return {
    name,
    async dial(signal) {
      signal.throwIfAborted();
      const child = spawn(command, args, options);
      await new Promise<void>((resolve, reject) => {
        child.once("spawn", resolve);
        child.once("error", (cause) => reject(failedError(name, cause)));
      });
      const transport = overPipes(child, { name, clock });
      if (!signal.aborted) return transport;
      void transport.close();
      throw signal.reason;
    },
  };
}

function overPipes(
  child: ChildProcess,
  { name, clock }: { name: string; clock: Clock },
): StreamTransport {
  const { stdin: output, stdout: input } = child;
  if (output === null || input === null) throw new TypeError("stdin and stdout must be pipes");
  const exited = whenExited(child);
  input.once("close", () => {
    const cancel = clock.setTimer(exitMs, () => child.kill("SIGKILL"));
    void exited.then(cancel);
  });
  const whyEnded = async () => {
    const how = await exited;
    if (how === "code 0") return undefined;
    return new ReplicaError("TRANSPORT_FAILED", `${name} ended with ${how}`);
  };
  return new StreamTransport({ input, output }, { name, clock, whyEnded });
}

function whenExited(child: ChildProcess): Promise<string> {
  const describe = (code: number | null, signal: NodeJS.Signals | null) =>
    signal === null ? `code ${code}` : `signal ${signal}`;
  return new Promise((resolve) => {
    const { exitCode, signalCode } = child;
    if (exitCode !== null || signalCode !== null) resolve(describe(exitCode, signalCode));
    else child.once("exit", (code, signal) => resolve(describe(code, signal)));
  });
}
