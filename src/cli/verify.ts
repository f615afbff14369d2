/** `mergelite verify`: whether two peers hold the same rows. */
import type { Verification } from "../index.ts";
import { dialerFor, isUrl, parseUrl } from "./addresses.ts";
import { type Command, type CommandInput, clusterOption, jsonOption } from "./command.ts";
import { compareFiles } from "./compare.ts";
import { credentialOptions, readCredentials } from "./credentials.ts";
import { requireReplicated, requireTwoFiles, withDatabase } from "./database.ts";
import { exitCodes } from "./failure.ts";
import { readTimeoutMs, timeoutOption, withLink, withReplica } from "./linked.ts";
import { alignRows, formatCount, type Output, plural } from "./output.ts";
import { interruptSignal } from "./signals.ts";

export const verify: Command = {
  name: "verify",
  usage: "FILE (FILE|URL)",
  summary: "compare the rows of two peers",
  description: `Compares the rows of every replicated table with another file, or with the peer at URL, and
lists the first differences. Exits with 1 when there are any. Two files are read as they
are and not written; with a running peer, changes are exchanged first, then digests of key
ranges, which both keep: only what was written since the last time is read again.`,
  options: {
    limit: { type: "string", value: "N", help: "how many differences to list (default 20)" },
    deep: { type: "boolean", help: "with a URL: read every row again" },
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
  const result = isUrl(other)
    ? await verifyUrl(file, other, limit, input)
    : await verifyFile(file, other, limit, output);
  if (values.flag("json")) output.document({ file, other, ...result });
  else print(result, output);
  return result.differences === 0 ? exitCodes.done : exitCodes.failed;
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

async function verifyUrl(
  file: string,
  url: string,
  limit: number,
  { values, output }: CommandInput,
): Promise<Verification> {
  const credentials = readCredentials(values);
  const dialer = await dialerFor(parseUrl(url, credentials), credentials);
  const options = { name: url, timeoutMs: readTimeoutMs(values), signal: interruptSignal() };
  return withReplica(file, values.text("cluster"), (replica) =>
    withLink(replica, dialer, options, async (peerId, signal) => {
      output.progress("exchanging changes");
      await replica.synced({ signal });
      output.progress("comparing");
      return replica.verify(peerId, { signal, limit, deep: values.flag("deep") });
    }),
  );
}

function print({ tables, differences }: Verification, output: Output): void {
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
  const more = differences > listed.length ? `, ${formatCount(listed.length)} of them listed` : "";
  output.line(`different: ${plural(differences, "difference")}${more}`);
}
