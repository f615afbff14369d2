/** `mergelite restore`: a database file from a backup. */
import { dirname } from "node:path";
import { restore as restoreBackup } from "../backup/index.ts";
import { formatTxid } from "../ltx/keys.ts";
import { atOption, formatBytes, readAt, showProgress, warnOf, withStorage } from "./backup-url.ts";
import { type Command, type CommandInput, jsonOption } from "./command.ts";
import { requireFolder } from "./database.ts";
import { exitCodes } from "./failure.ts";
import { interruptSignal } from "./signals.ts";

export const restore: Command = {
  name: "restore",
  usage: "URL FILE [--at TIME|POSITION] [--if-missing] [--force]",
  summary: "restore a database file from a backup",
  description: `Makes FILE from the backup at URL: whole, or not at all. Backups of Litestream 0.5 are restored
just as well. Stop what uses FILE before you replace it with --force.`,
  options: {
    at: atOption,
    "if-missing": { type: "boolean", help: "do nothing when FILE exists" },
    force: { type: "boolean", help: "replace FILE" },
    json: jsonOption,
  },
  positionals: [2, 2],
  run: runRestore,
};

async function runRestore({
  arguments: [url = "", file = ""],
  values,
  output,
}: CommandInput): Promise<number> {
  requireFolder(dirname(file));
  const restored = await withStorage(url, (storage) =>
    restoreBackup(storage, file, {
      ...readAt(values),
      ifMissing: values.flag("if-missing"),
      force: values.flag("force"),
      onProgress: showProgress(output),
      signal: interruptSignal(),
    }),
  );
  if (restored === undefined) {
    output.error(`${file} exists: nothing was done`);
    return exitCodes.done;
  }
  warnOf(output, restored.avoided);
  const { txid, timestampMs, bytes } = restored;
  const position = formatTxid(txid);
  const wallTime = new Date(timestampMs).toISOString();
  if (values.flag("json")) output.document({ file, position, wallTime, bytes });
  else output.line(`${file}: position ${position} of ${wallTime}, ${formatBytes(bytes)}`);
  return exitCodes.done;
}
