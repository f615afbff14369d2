/** `mergelite check`: proves a backup by restoring it. */
import { verifyBackup } from "../backup/index.ts";
import { formatTxid } from "../ltx/keys.ts";
import { atOption, formatBytes, readAt, showProgress, warnOf, withStorage } from "./backup-url.ts";
import { type Command, type CommandInput, jsonOption } from "./command.ts";
import { requireFolder } from "./database.ts";
import { exitCodes } from "./failure.ts";
import { interruptSignal } from "./signals.ts";

export const check: Command = {
  name: "check",
  usage: "URL [--at TIME|POSITION] [--folder FOLDER]",
  summary: "restore a backup into a temporary file and check it",
  description: `Restores the backup at URL into a temporary file, compares the checksum of all pages with the
shipper's, has SQLite look through it (PRAGMA integrity_check), and deletes it.`,
  options: {
    at: atOption,
    folder: { type: "string", value: "FOLDER", help: "where the temporary file goes" },
    json: jsonOption,
  },
  positionals: [1, 1],
  run: runCheck,
};

async function runCheck({ arguments: [url = ""], values, output }: CommandInput): Promise<number> {
  const folder = values.text("folder");
  if (folder !== undefined) requireFolder(folder);
  const verified = await withStorage(url, (storage) =>
    verifyBackup(storage, {
      ...readAt(values),
      ...(folder === undefined ? {} : { folder }),
      onProgress: showProgress(output),
      signal: interruptSignal(),
    }),
  );
  warnOf(output, verified.avoided);
  const { txid, timestampMs, bytes, checksum } = verified;
  const position = formatTxid(txid);
  const wallTime = new Date(timestampMs).toISOString();
  if (values.flag("json")) {
    output.document({ position, wallTime, bytes, checksum });
  } else {
    const compared = checksum === "right" ? "checksum right" : "no checksum to compare with";
    const size = formatBytes(bytes);
    output.line(`sound at position ${position} of ${wallTime}: ${size}, ${compared}`);
  }
  return exitCodes.done;
}
