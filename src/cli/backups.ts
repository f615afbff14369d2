/** `mergelite backups`: what there is to restore from. */
import { type BackupList, type BackupPoint, backups as listBackups } from "../backup/index.ts";
import { formatTxid } from "../ltx/keys.ts";
import { formatBytes, pointOf, withStorage } from "./backup-url.ts";
import { type Command, type CommandInput, jsonOption } from "./command.ts";
import { exitCodes, Failure } from "./failure.ts";
import { alignRows, type Output } from "./output.ts";

export const backups: Command = {
  name: "backups",
  usage: "URL",
  summary: "list what a backup holds",
  description: `Shows how far back and how far on the backup at URL reaches, its snapshots, and how many
files each level has. Fails when there is nothing to restore from.`,
  options: { json: jsonOption },
  positionals: [1, 1],
  run: runBackups,
};

async function runBackups({
  arguments: [url = ""],
  values,
  output,
}: CommandInput): Promise<number> {
  const list = await withStorage(url, (storage) => listBackups(storage));
  if (values.flag("json")) output.document(toJson(list));
  else print(list, output);
  if (list.newest !== undefined) return exitCodes.done;
  throw new Failure("there is nothing to restore from", { hint: "Check the URL." });
}

const toPoint = (point: BackupPoint | undefined) => (point === undefined ? null : pointOf(point));

function toJson({ bytes, levels, snapshots, oldest, newest, maxTxid }: BackupList) {
  return {
    bytes,
    oldest: toPoint(oldest),
    newest: toPoint(newest),
    complete: newest?.txid === maxTxid,
    snapshots: snapshots.map((one) => ({ ...toPoint(one), bytes: one.bytes })),
    levels: levels.map(({ level, files, bytes: size, minTxid, maxTxid: last }) => ({
      level,
      files,
      bytes: size,
      first: formatTxid(minTxid),
      last: formatTxid(last),
    })),
  };
}

function print({ bytes, levels, snapshots, oldest, newest, maxTxid }: BackupList, output: Output) {
  const line = (name: string, point: BackupPoint, more = "") => {
    const { position, wallTime } = pointOf(point);
    return [name, position, wallTime, more] as const;
  };
  const rows = snapshots.map((one) => line("snapshot", one, formatBytes(one.bytes)));
  if (oldest !== undefined) rows.unshift(line("oldest", oldest));
  if (newest !== undefined) rows.push(line("newest", newest));
  for (const row of alignRows(rows)) output.line(row);
  const table = levels.map(({ level, files, bytes: size, minTxid, maxTxid: last }) => [
    `level ${level}`,
    `${formatTxid(minTxid)} to ${formatTxid(last)}`,
    files,
    `files, ${formatBytes(size)}`,
  ]);
  for (const row of alignRows(table)) output.line(row);
  output.line(`${formatBytes(bytes)} in all`);
  if (newest !== undefined && newest.txid < maxTxid) {
    output.error(
      `warning: files up to ${formatTxid(maxTxid)} are there, and some before them are missing`,
    );
  }
}
