/** `mergelite follow`: a read-only copy of a database, kept up to date from its backup. */
import { type Follower, type FollowPosition, follow as followBackup } from "../backup/index.ts";
import { formatTxid } from "../ltx/keys.ts";
import { showProgress, withStorage } from "./backup-url.ts";
import { type Command, type CommandInput, jsonOption } from "./command.ts";
import { exitCodes } from "./failure.ts";
import type { Output } from "./output.ts";
import { interruptSignal, whenAborted } from "./signals.ts";

export const follow: Command = {
  name: "follow",
  usage: "URL FILE [--interval MS]",
  summary: "keep a read-only copy of a database up to date from its backup",
  description: `Restores FILE from the backup at URL, or goes on with a copy that was followed before, and brings
it up to date until stopped. Any program may read FILE meanwhile, and none may write it.`,
  options: {
    interval: { type: "string", value: "MS", help: "how often to look for news (default 1000)" },
    json: jsonOption,
  },
  positionals: [2, 2],
  run: runFollow,
};

async function runFollow({
  arguments: [url = "", file = ""],
  values,
  output,
}: CommandInput): Promise<number> {
  const intervalMs = values.number("interval", { min: 1, max: 3_600_000, fallback: 1000 });
  const isJson = values.flag("json");
  const signal = interruptSignal();
  await withStorage(url, async (storage) => {
    const onProgress = showProgress(output);
    const follower = await followBackup(storage, file, { intervalMs, onProgress, signal });
    try {
      tell(output, file, follower.position, isJson);
      report(follower, { file, output, isJson });
      await whenAborted(signal);
    } finally {
      await follower.close();
    }
  });
  return exitCodes.done;
}

function report(
  follower: Follower,
  { file, output, isJson }: { file: string; output: Output; isJson: boolean },
): void {
  follower.on("applied", (position) => tell(output, file, position, isJson));
  follower.on("failed", ({ error, retryMs }) => {
    const message = error instanceof Error ? error.message : String(error);
    output.error(`warning: ${message}; trying again in ${retryMs} ms`);
  });
  follower.on("recovered", () => output.error("it goes on"));
  follower.on("altered", () => {
    output.error(`warning: something else has written ${file}: it gets all its pages anew`);
  });
}

function tell(
  output: Output,
  file: string,
  { txid, timestampMs }: FollowPosition,
  isJson: boolean,
): void {
  const position = formatTxid(txid);
  const wallTime = new Date(timestampMs).toISOString();
  if (isJson) output.json({ file, position, wallTime });
  else output.line(`${file}: position ${position} of ${wallTime}`);
}
