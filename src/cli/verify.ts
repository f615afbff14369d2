/** `mergelite verify`: whether two peers hold the same rows. */
import type { Verification } from "../index.ts";
import type { Dialer } from "../transport/transport.ts";
import { dialerFor, isUrl, parseUrl } from "./addresses.ts";
import {
  type Command,
  type CommandInput,
  clusterOption,
  jsonOption,
  type Values,
} from "./command.ts";
import { compareFiles } from "./compare.ts";
import { credentialOptions, readCredentials } from "./credentials.ts";
import { requireReplicated, requireTwoFiles, withDatabase } from "./database.ts";
import { exitCodes, usageFailure } from "./failure.ts";
import { dialerTo, readTimeoutMs, timeoutOption, withLink, withReplica } from "./linked.ts";
import { alignRows, formatCount, type Output, plural } from "./output.ts";
import { interruptSignal } from "./signals.ts";

export const verify: Command = {
  name: "verify",
  usage: "FILE (FILE|URL)",
  summary: "compare the rows of two peers",
  description: `Compares the rows of every replicated table with another file, or with the peer at URL, and
lists the first differences. Exits with 1 when there are any. Two files are read as they
are and not written; with a running peer, changes are exchanged first, then digests of key
ranges, which both keep: only what was written since the last time is read again.

With --repair both sides take from each other what is newer, and values that no stamp tells
apart are written anew, for all peers. Exits with 0 when nothing is left.`,
  options: {
    limit: { type: "string", value: "N", help: "how many differences to list (default 20)" },
    deep: { type: "boolean", help: "with a URL: read every row again" },
    repair: { type: "boolean", help: "mend what differs, on both sides" },
    keep: {
      type: "string",
      value: "here|there",
      help: "whose values stay where no stamp tells them apart",
    },
    cluster: clusterOption,
    timeout: timeoutOption,
    ...credentialOptions,
    json: jsonOption,
  },
  positionals: [2, 2],
  run: verifyOnce,
};

async function verifyOnce(input: CommandInput): Promise<number> {
  const { values, output } = input;
  const [file = "", other = ""] = input.arguments;
  const limit = values.number("limit", { min: 1, max: 1_000_000, fallback: 20 });
  const repair = readRepair(values);
  const linked = isUrl(other) || repair !== false;
  const result = linked
    ? await verifyLinked({ file, other, limit, repair }, input)
    : await verifyFile(file, other, limit, output);
  if (values.flag("json")) output.document({ file, other, ...result });
  else print(result, output);
  const left = result.repair?.left ?? result.differences;
  return left === 0 ? exitCodes.done : exitCodes.failed;
}

function readRepair(values: Values): boolean | "here" | "there" {
  const keep = values.text("keep");
  if (!values.flag("repair")) {
    if (keep === undefined) return false;
    throw usageFailure("--keep says what --repair is to do: give both");
  }
  if (keep === undefined || keep === "here" || keep === "there") return keep ?? true;
  throw usageFailure(`--keep must be here or there, not "${keep}"`);
}

async function verifyFile(
  file: string,
  other: string,
  limit: number,
  output: Output,
): Promise<Verification> {
  requireTwoFiles(file, other);
  for (const one of [file, other]) {
    await withDatabase(one, { readonly: true }, (db) => requireReplicated(db, one));
  }
  return compareFiles(file, other, {
    limit,
    onTable: (table) => output.progress(`comparing ${table}`),
  });
}

interface Linked {
  readonly file: string;
  readonly other: string;
  readonly limit: number;
  readonly repair: boolean | "here" | "there";
}

async function verifyLinked(
  { file, other, limit, repair }: Linked,
  { values, output }: CommandInput,
): Promise<Verification> {
  const options = { name: other, timeoutMs: readTimeoutMs(values), signal: interruptSignal() };
  const cluster = values.text("cluster");
  const deep = repair !== false || values.flag("deep");
  const overLink = (dialer: Dialer) =>
    withReplica(file, cluster, (replica) =>
      withLink(replica, dialer, options, async (peerId, signal) => {
        output.progress("exchanging changes");
        await replica.synced({ signal });
        output.progress("comparing");
        const verification = await replica.verify(peerId, { signal, limit, deep, repair });
        // What was written anew is to be on the other side, too.
        if (repair !== false) await replica.synced({ signal });
        return verification;
      }),
    );
  if (isUrl(other)) {
    const credentials = readCredentials(values);
    return overLink(await dialerFor(parseUrl(other, credentials), credentials));
  }
  requireTwoFiles(file, other);
  return withReplica(other, cluster, (there) => overLink(dialerTo(there, other)));
}

function print({ tables, differences, repair }: Verification, output: Output): void {
  const rows = tables.map(({ table, rows, remoteRows }) => [
    table,
    rows,
    "here",
    remoteRows,
    "there",
  ]);
  for (const line of alignRows(rows)) output.line(line);
  const listed = tables.flatMap((table) => table.differences);
  for (const line of alignRows(listed.map(({ table, key, kind }) => [table, key, kind]))) {
    output.line(`  ${line}`);
  }
  if (differences === 0) {
    const count = tables.reduce((sum, table) => sum + table.rows, 0);
    output.line(`identical: ${plural(tables.length, "table")}, ${plural(count, "row")}`);
    return;
  }
  if (repair !== undefined) {
    const { sent, taken, rewritten, left } = repair;
    const counts = `${plural(sent, "row")} sent, ${plural(taken, "row")} taken`;
    output.line(`repaired: ${counts}, ${plural(rewritten, "row")} written anew`);
    if (left > 0) output.line(`left: ${plural(left, "difference")}`);
    return;
  }
  const more = differences > listed.length ? `, ${formatCount(listed.length)} of them listed` : "";
  output.line(`different: ${plural(differences, "difference")}${more}`);
}
