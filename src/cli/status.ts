/** `mergelite status`: what a file holds, without opening it for writing. */
import type { Status } from "../status.ts";
import { type Command, type CommandInput, jsonOption } from "./command.ts";
import { findOrphans, type ListedConflict, listConflicts, printConflicts } from "./conflicts.ts";
import { withReplicatedFile } from "./database.ts";
import { exitCodes } from "./failure.ts";
import { alignRows, formatCount, type Output, plural } from "./output.ts";
import { countRows } from "./tables.ts";
import { formatTimestamp, wallMsOf } from "./timestamp.ts";

export const status: Command = {
  name: "status",
  usage: "FILE [--conflicts]",
  summary: "show what a file holds: peers, log, parked patches",
  description: `Shows the peer id of FILE, its replicated tables, its log, how far it holds and has merged
every origin, which patches are parked, and which rows violate a constraint. With --conflicts
these are listed, up to 1,000. Reads only: a running replica is not disturbed. Foreign keys are
looked at row by row.`,
  options: {
    json: jsonOption,
    conflicts: { type: "boolean", help: "list what is in conflict, one by one" },
  },
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
  readonly violations: Status["violations"];
  readonly refused: number;
  readonly conflicts?: ListedConflict[];
}

async function showStatus({ arguments: [file = ""], values, output }: CommandInput) {
  const found = await withReplicatedFile(file, (db, handle, native): FileStatus => {
    const { peerId, logRows, logBytes, timestamp, parked, refused } = native.status(handle);
    const newest = wallMsOf(timestamp);
    const tables = native.tables(handle);
    const orphans = findOrphans(native, handle, tables);
    return {
      file,
      peerId,
      tables: tables.map((table) => ({ table, rows: countRows(db, table) })),
      log: {
        changesets: logRows,
        bytes: logBytes,
        newest: newest === undefined ? null : new Date(newest).toISOString(),
      },
      origins: originsOf(native.vector(handle)),
      parked: parked.filter(({ reason }) => reason !== "check"),
      violations: [
        ...parked
          .filter(({ reason }) => reason === "check")
          .map(({ table, count }) => ({ table, reason: "check" as const, count })),
        ...orphans.counts.map((one) => ({ ...one, reason: "foreign-key" as const })),
      ],
      refused,
      ...(values.flag("conflicts") ? { conflicts: listConflicts(native, handle, orphans) } : {}),
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
  { peerId, tables, log, origins, parked, violations, refused, conflicts }: FileStatus,
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
  if (violations.length > 0) {
    block(
      "rows",
      violations.map(({ table, reason, count }) => [table, count, `in violation of: ${reason}`]),
    );
  }
  if (refused > 0) block("refused", [[formatCount(refused)]]);
  if (conflicts !== undefined) printConflicts(conflicts, output);
}
