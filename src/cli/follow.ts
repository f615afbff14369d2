/** `mergelite follow`: a read-only copy of a database, kept up to date while others read it. */
import { dirname } from "node:path";
import {
  type Follower,
  type FollowOptions,
  type FollowPosition,
  follow as followSource,
  formatFollowerMetrics,
} from "../backup/index.ts";
import { ReplicaError } from "../errors.ts";
import { dialerFor, parseUrl } from "./addresses.ts";
import { pointOf, showProgress, withStorage } from "./backup-url.ts";
import { type Command, type CommandInput, jsonOption } from "./command.ts";
import { credentialOptions, readCredentials } from "./credentials.ts";
import { requireFolder } from "./database.ts";
import { execOption, parseCommand, runChild } from "./exec.ts";
import { exitCodes, Failure, usageFailure } from "./failure.ts";
import { reasonOf } from "./linked.ts";
import { metricsAddress, metricsOption, whileAnswering } from "./metrics-server.ts";
import type { Output } from "./output.ts";
import { interruptSignal, stopSignal, whenAborted } from "./signals.ts";

export const follow: Command = {
  name: "follow",
  usage: "URL FILE [--exec COMMAND] [--interval MS] [--metrics HOST:PORT]",
  summary: "keep a read-only copy of a database up to date",
  description: `Restores FILE from the backup at URL, or goes on with a copy that was followed before, and brings
it up to date until stopped. With a URL of ws:// or wss:// the copy comes from mergelite serve-wal,
and each commit as it is made. Any program may read FILE meanwhile, and none may write it.

With --exec COMMAND runs once FILE is good, gets the signals, and ends it all when it ends; its
output is all there is on stdout.`,
  options: {
    interval: { type: "string", value: "MS", help: "how often to look for news (default 1000)" },
    exec: execOption,
    metrics: metricsOption,
    ...credentialOptions,
    json: jsonOption,
  },
  positionals: [2, 2],
  run: runFollow,
};

async function runFollow(input: CommandInput): Promise<number> {
  const { arguments: args, values, output } = input;
  const [url = "", file = ""] = args;
  requireFolder(dirname(file));
  const intervalMs = values.number("interval", { min: 1, max: 3_600_000, fallback: 1000 });
  // With a command what is on stdout is not ours.
  const signal = values.text("exec") === undefined ? stopSignal() : interruptSignal();
  const options = { intervalMs, onProgress: showProgress(output), signal };
  if (!/^wss?:/i.test(url)) {
    return await withStorage(url, (storage) => followFrom(storage, input, options));
  }
  const credentials = readCredentials(values);
  const primary = await dialerFor(parseUrl(url, credentials), credentials);
  try {
    return await followFrom(primary, input, options);
  } catch (error) {
    const isUnreachable = error instanceof ReplicaError && error.code === "TRANSPORT_FAILED";
    throw isUnreachable ? new Failure(`${url}: ${reasonOf(error)}`, { cause: error }) : error;
  }
}

async function followFrom(
  source: Parameters<typeof followSource>[0],
  { arguments: [, file = ""], values, output }: CommandInput,
  options: FollowOptions & { signal: AbortSignal },
): Promise<number> {
  const isJson = values.flag("json");
  const text = values.text("exec");
  if (text !== undefined && isJson) throw usageFailure("--exec has no use for --json");
  const command = text === undefined ? undefined : parseCommand(text);
  const metrics = metricsAddress(values);
  const follower = await followSource(source, file, options);
  try {
    report(follower, { file, output });
    options.signal.throwIfAborted();
    const scrape = () => formatFollowerMetrics(follower.metrics(), { labels: { database: file } });
    // What is on stdout is a position a line, or the command's.
    const where = (url: string) => output.error(`metrics at ${url}`);
    return await whileAnswering(metrics, scrape, where, async () => {
      if (command !== undefined) return await runChild(command, { interrupted: options.signal });
      tell(output, file, follower.position, isJson);
      follower.on("applied", (position) => tell(output, file, position, isJson));
      await whenAborted(options.signal);
      return exitCodes.done;
    });
  } finally {
    await follower.close();
  }
}

function report(follower: Follower, { file, output }: { file: string; output: Output }): void {
  follower.on("failed", ({ error, retryMs }) => {
    output.error(`warning: ${reasonOf(error)}; trying again in ${Math.round(retryMs)} ms`);
  });
  follower.on("recovered", () => output.error("it goes on"));
  follower.on("altered", () => {
    output.error(`warning: something else has written ${file}: it gets all its pages anew`);
  });
  follower.on("renewed", () => {
    output.error(`what has changed since cannot be told: ${file} gets all its pages anew`);
  });
}

function tell(output: Output, file: string, point: FollowPosition, isJson: boolean): void {
  const { position, wallTime } = pointOf(point);
  if (isJson) output.json({ file, position, wallTime });
  else output.line(`${file}: position ${position} of ${wallTime}`);
}
