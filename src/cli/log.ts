/** `mergelite log`: the changesets a file holds, or the patches of one table. */

import { wallMsOf } from "../log/timestamp.ts";
import { type Changeset, rangesOf, selectChangesets, type Token } from "./changesets.ts";
import { type Command, type CommandInput, jsonOption, type Values } from "./command.ts";
import { type Database, quoteName, withReplicatedFile } from "./database.ts";
import { exitCodes, Failure, usageFailure } from "./failure.ts";
import { alignRows, type Output } from "./output.ts";
import { patchesOf } from "./patches.ts";
import { formatTimestamp } from "./timestamp.ts";

export const log: Command = {
  name: "log",
  usage: "FILE [--table TABLE] [--since PEER.SEQUENCE] [--limit N]",
  summary: "list the changesets a file holds",
  description: `Lists the newest changesets in the log of FILE, oldest first: wall time, origin and
sequence, and for each table how many rows were inserted (+), updated (~) and deleted (-).
With --table, one line for each patch of that table.`,
  options: {
    table: { type: "string", value: "TABLE", help: "one line for each patch of this table" },
    since: {
      type: "string",
      value: "PEER.SEQUENCE",
      help: "only what this origin wrote after this sequence, from there on",
    },
    limit: { type: "string", value: "N", help: "how many changesets at most (default 50)" },
    json: jsonOption,
  },
  positionals: [1, 1],
  run: showLog,
};

interface TableCounts {
  table: string;
  insert: number;
  update: number;
  delete: number;
}

async function showLog({ arguments: [file = ""], values, output }: CommandInput): Promise<number> {
  const limit = values.number("limit", { min: 1, max: 1_000_000, fallback: 50 });
  const since = readToken(values);
  const table = values.text("table");
  await withReplicatedFile(file, (db, handle, native) => {
    const tables = native.tables(handle);
    const changesets = selectChangesets(db, since, limit);
    if (table === undefined) {
      const counts = countPatches(db, tables, changesets);
      if (values.flag("json")) output.document(changesets.map((one) => toJson(one, counts)));
      else print(changesets, counts, output);
      return;
    }
    const name = tables.find((known) => known.toLowerCase() === table.toLowerCase());
    if (name === undefined) throw new Failure(`${file} does not replicate a table "${table}"`);
    const patches = patchesOf(db, name, changesets);
    if (values.flag("json")) output.document(patches.map((patch) => patch.json));
    else for (const line of alignRows(patches.map((patch) => patch.cells))) output.line(line);
  });
  return exitCodes.done;
}

function readToken(values: Values): Token | undefined {
  const text = values.text("since");
  if (text === undefined) return undefined;
  const [, peerId, sequence] = /^(\d+)\.(\d+)$/.exec(text) ?? [];
  const token = { peerId: Number(peerId), sequence: Number(sequence) };
  if (Number.isSafeInteger(token.peerId) && Number.isSafeInteger(token.sequence)) return token;
  throw usageFailure(`--since must be PEER.SEQUENCE, not "${text}"`);
}

/** By token. Companions are ordered by sequence, so each origin is read from its first on. */
function countPatches(
  db: Database.Database,
  tables: readonly string[],
  changesets: readonly Changeset[],
): Map<string, TableCounts[]> {
  const countsByToken = new Map<string, TableCounts[]>();
  for (const { peerId, sequence } of changesets) countsByToken.set(`${peerId}.${sequence}`, []);
  for (const table of tables) {
    for (const { peerId, first, last } of rangesOf(changesets)) {
      const patches = db
        .prepare(
          `SELECT _sequenceId AS sequence, _op AS op FROM ${quoteName(`${table}_patches`)}
           WHERE _peerId = ? AND _sequenceId >= ?`,
        )
        .iterate(peerId, first) as IterableIterator<{ sequence: number; op: keyof TableCounts }>;
      for (const { sequence, op } of patches) {
        if (sequence > last) break;
        const counts = countsByToken.get(`${peerId}.${sequence}`);
        if (counts === undefined || op === "table") continue;
        let count = counts.at(-1);
        if (count?.table !== table) {
          count = { table, insert: 0, update: 0, delete: 0 };
          counts.push(count);
        }
        count[op]++;
      }
    }
  }
  return countsByToken;
}

function toJson(changeset: Changeset, countsByToken: Map<string, TableCounts[]>) {
  const { peerId, sequence, timestamp, bytes, patches } = changeset;
  const wallMs = wallMsOf(timestamp);
  return {
    peerId,
    sequence,
    timestamp,
    wallTime: wallMs === undefined ? null : new Date(wallMs).toISOString(),
    bytes,
    patches,
    tables: countsByToken.get(`${peerId}.${sequence}`) ?? [],
  };
}

function print(
  changesets: readonly Changeset[],
  countsByToken: Map<string, TableCounts[]>,
  output: Output,
): void {
  const rows = changesets.map(({ peerId, sequence, timestamp, patches }) => {
    const token = `${peerId}.${sequence}`;
    const counts = countsByToken.get(token) ?? [];
    const told = counts.reduce((sum, one) => sum + one.insert + one.update + one.delete, 0);
    const parts = counts.map(formatCounts);
    // Of tables that this file does not have (any more).
    if (patches > told) parts.push(`${patches - told} of other tables`);
    return [formatTimestamp(wallMsOf(timestamp)), token, parts.join(", ")];
  });
  for (const line of alignRows(rows)) output.line(line);
}

function formatCounts({ table, ...counts }: TableCounts): string {
  const parts = [
    counts.insert > 0 ? `+${counts.insert}` : "",
    counts.update > 0 ? `~${counts.update}` : "",
    counts.delete > 0 ? `-${counts.delete}` : "",
  ];
  return [table, ...parts.filter((part) => part !== "")].join(" ");
}
