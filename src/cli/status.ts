/** `mergelite status`: what a file holds, without opening it for writing. */
import { type Command, type CommandInput, jsonOption } from "./command.ts";
import { withReplicatedFile } from "./database.ts";
import { exitCodes } from "./failure.ts";
import { alignRows, formatCount, type Output, plural } from "./output.ts";
import { countRows } from "./tables.ts";
import { formatTimestamp, wallMsOf } from "./timestamp.ts";

export const status: Command = {
  name: "status",
  usage: "FILE",
  summary: "show what a file holds: peers, log, parked patches",
  description: `Shows the peer id of FILE, its replicated tables, its log, how far it holds and has merged
every origin, and which patches are parked. Reads only: a running replica is not disturbed.`,
  options: { json: jsonOption },
  positionals: [1, 1],
  run: showStatus,
};

interface FileStatus {
  readonly file: string;
  readonly peerId: number;
  readonly tables: { table: string; rows: number }[];
  readonly log: { changesets: number; bytes: number; newest: string | null };
  /** This peer first. */
  readonly origins: { peerId: number; held: number; merged: number }[];
  readonly parked: { table: string; reason: string; count: number }[];
  readonly refused: number;
}

async function showStatus({ arguments: [file = ""], values, output }: CommandInput) {
  const found = await withReplicatedFile(file, (db, handle, native): FileStatus => {
    const { peerId, logRows, logBytes, timestamp, parked, refused } = native.status(handle);
    const newest = wallMsOf(timestamp);
    return {
      file,
      peerId,
      tables: native.tables(handle).map((table) => ({ table, rows: countRows(db, table) })),
      log: {
        changesets: logRows,
        bytes: logBytes,
        newest: newest === undefined ? null : new Date(newest).toISOString(),
      },
      origins: originsOf(native.vector(handle)),
      parked,
      refused,
    };
  });
  if (values.flag("json")) output.document(found);
  else print(found, output);
  return exitCodes.done;
}

function originsOf(triples: Float64Array): FileStatus["origins"] {
  const origins: FileStatus["origins"] = [];
  for (let i = 0; i + 2 < triples.length; i += 3) {
    const [peerId = 0, held = 0, merged = 0] = triples.subarray(i, i + 3);
    origins.push({ peerId, held, merged });
  }
  return origins;
}

function print(
  { peerId, tables, log, origins, parked, refused }: FileStatus,
  output: Output,
): void {
  const block = (title: string, rows: (string | number)[][]) => {
    alignRows(rows).forEach((line, i) => {
      output.line(`${(i === 0 ? title : "").padEnd(8)} ${line}`);
    });
  };
  block("peer", [[`${peerId}`]]);
  block(
    "tables",
    tables.length === 0
      ? [["none"]]
      : tables.map(({ table, rows }) => [table, rows, rows === 1 ? "row" : "rows"]),
  );
  const newest = log.newest === null ? "" : `, newest ${formatTimestamp(Date.parse(log.newest))}`;
  block("log", [[`${plural(log.changesets, "changeset")}, ${plural(log.bytes, "byte")}${newest}`]]);
  block(
    "origins",
    origins.map((origin) => [
      `${origin.peerId}`,
      "held",
      origin.held,
      "merged",
      origin.merged,
      origin.peerId === peerId ? "this peer" : "",
    ]),
  );
  block(
    "parked",
    parked.length === 0
      ? [["none"]]
      : parked.map(({ table, reason, count }) => [table, count, `waiting for: ${reason}`]),
  );
  if (refused > 0) block("refused", [[formatCount(refused)]]);
}
