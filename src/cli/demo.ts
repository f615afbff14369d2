/**
 * `mergelite demo`: several processes write one database each, lose the network, and agree again.
 */
import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { systemClock } from "../clock.ts";
import type { Difference } from "../index.ts";
import { type Command, type CommandInput, jsonOption } from "./command.ts";
import { compareFiles } from "./compare.ts";
import { withDatabase } from "./database.ts";
import { namePeer, PeerProcess } from "./demo/cluster.ts";
import { describeCell, describeValue, type Edit, play, whenLinked } from "./demo/play.ts";
import { type Prepared, prepare, readCell } from "./demo/prepare.ts";
import { Story } from "./demo/story.ts";
import { exitCodes } from "./failure.ts";
import { formatCount, type Output, plural } from "./output.ts";
import { interruptSignal } from "./signals.ts";

export const demo: Command = {
  name: "demo",
  usage: "[--db FILE] [--peers N] [--seconds N] [--seed N]",
  summary: "watch several processes write at once, lose the network, and agree again",
  description: `Gives each of several processes its own copy of a database, lets all of them write at once,
cuts the network between them, heals it, and compares every row of all copies at the end.
Exits with 1 when they differ. FILE is only read; everything happens in a temporary folder.`,
  options: {
    db: {
      type: "string",
      value: "FILE",
      help: "the database to start from (default: a small shop)",
    },
    peers: { type: "string", value: "N", help: "how many processes, 2 to 8 (default 3)" },
    seconds: { type: "string", value: "N", help: "how long they write (default 10)" },
    seed: { type: "string", value: "N", help: "choose other random changes (default 1)" },
    json: { ...jsonOption, help: "print only a summary, as JSON" },
  },
  positionals: [0, 0],
  run: runDemo,
};

interface Run {
  readonly source: string | undefined;
  readonly peerCount: number;
  readonly seconds: number;
  readonly seed: number;
  readonly folder: string;
  readonly story: Story;
  readonly output: Output;
  readonly peers: PeerProcess[];
  readonly interrupted: AbortSignal;
}

interface Outcome {
  readonly prepared: Prepared;
  readonly rows: number;
  readonly differences: number;
  readonly listed: (Difference & { between: string })[];
}

async function runDemo({ values, output }: CommandInput): Promise<number> {
  const isSilent = values.flag("json");
  const settings = {
    source: values.text("db"),
    peerCount: values.number("peers", { min: 2, max: 8, fallback: 3 }),
    seconds: values.number("seconds", { min: 1, max: 3600, fallback: 10, fraction: true }),
    seed: values.number("seed", { min: 0, max: 2 ** 31, fallback: 1 }),
  };
  const folder = mkdtempSync(join(tmpdir(), "mergelite-demo-"));
  const story = new Story({ output, clock: systemClock, isSilent });
  const peers: PeerProcess[] = [];
  const interrupted = interruptSignal();
  const removeFolder = () => rmSync(folder, { recursive: true, force: true });
  // Some ends do not come back here: a second signal, a closed pipe.
  process.once("exit", removeFolder);
  try {
    const run: Run = { ...settings, folder, story, output, peers, interrupted };
    const outcome = await perform(run);
    const changes = peers.reduce((sum, peer) => sum + (peer.report?.changes ?? 0), 0);
    if (isSilent) output.document(summarize(run, outcome, changes));
    else conclude(run, outcome, changes);
    return outcome.differences === 0 ? exitCodes.done : exitCodes.failed;
  } finally {
    await Promise.all(peers.map((peer) => peer.kill()));
    removeFolder();
  }
}

async function perform(run: Run): Promise<Outcome> {
  const { source, peerCount, seconds, seed, folder, story, output, peers, interrupted } = run;
  const prepared = await prepare({ folder, source, seed, output });
  interrupted.throwIfAborted();
  introduce(story, prepared, source);
  const failed = new AbortController();
  const signal = AbortSignal.any([interrupted, failed.signal]);
  const aborted = new Promise<never>((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
  for (let index = 0; index < peerCount; index++) {
    const name = namePeer(index);
    const file = join(folder, `${name}.db`);
    copyFileSync(prepared.file, file);
    peers.push(new PeerProcess({ index, name, file }, (error) => failed.abort(error)));
  }
  const performance = async () => {
    const stage = { peers, story, prepared, seconds, signal };
    await link(run, prepared);
    await whenLinked(stage);
    story.say(
      `${peerCount} processes, each with its own copy, linked by WebSockets on this machine`,
    );
    const edits = await play(stage);
    for (const peer of peers) await peer.close();
    await tellConflicts(run, edits);
    return { prepared, ...(await compareAll(run, prepared)) };
  };
  return Promise.race([performance(), aborted]);
}

/** A mesh: each dials those before it. */
async function link({ peers, folder, seed }: Run, { shared, pair }: Prepared): Promise<void> {
  const reserved = [shared, pair?.[0]].filter((cell) => cell !== undefined);
  const urls = await Promise.all(peers.map((peer) => peer.start({ folder, seed, reserved })));
  for (const peer of peers) {
    const earlier = peers.slice(0, peer.index);
    const addresses = earlier.map(({ index }) => ({ index, url: urls[index] ?? "" }));
    peer.tell({ type: "dial", peers: addresses });
  }
}

function introduce(story: Story, prepared: Prepared, source: string | undefined): void {
  const { tables, rows, skipped, triggers } = prepared;
  const name = source === undefined ? "a small shop" : basename(source);
  story.say(`${name}: ${plural(tables.length, "table")}, ${plural(rows, "row")}`);
  for (const { table, reason } of skipped) story.say(`not replicated: ${table}, ${reason}`);
  if (triggers.length > 0) {
    story.say(`triggers left out of the copies: ${triggers.join(", ")}`);
  }
}

async function tellConflicts({ peers, story }: Run, edits: readonly Edit[]): Promise<void> {
  const sum = (name: "lost" | "refused" | "parked") =>
    peers.reduce((total, peer) => total + (peer.report?.[name] ?? 0), 0);
  story.say(
    `on the way, ${plural(sum("lost"), "patch", "patches")} met a newer one and lost, ` +
      `${formatCount(sum("parked"))} had to wait for their row`,
  );
  if (sum("refused") > 0) {
    story.say(
      `${plural(sum("refused"), "statement")} were refused by constraints, as they should be`,
    );
  }
  for (const { cell, written } of edits) {
    const found = new Set<string>();
    for (const peer of peers) found.add(describeValue(await readCell(peer.file, cell)));
    const wrote = written.map(({ name, value }) => `${name} wrote ${describeValue(value)}`);
    const all = found.size === 1 ? "all have" : "they have";
    story.say(`${describeCell(cell)}: ${wrote.join(", ")}; ${all} ${[...found].join(" and ")}`);
  }
  const [peer] = peers;
  const dangling = peer === undefined ? 0 : await countDangling(peer.file);
  if (dangling > 0) {
    story.say(
      `${plural(dangling, "row")} refer to a row that another peer deleted: kept, the same everywhere`,
    );
  }
}

function countDangling(file: string): Promise<number> {
  return withDatabase(file, { readonly: true }, (db) => {
    return (db.pragma("foreign_key_check") as unknown[]).length;
  });
}

async function compareAll({ peers, story }: Run, { tables }: Prepared) {
  const [first, ...others] = peers;
  const listed: Outcome["listed"] = [];
  let differences = 0;
  let rows = 0;
  story.say("comparing every row of all copies");
  for (const other of others) {
    if (first === undefined) continue;
    const compared = await compareFiles(first.file, other.file, { limit: 20, tables });
    differences += compared.differences;
    rows = compared.tables.reduce((sum, table) => sum + table.rows, 0);
    const between = `${first.name} and ${other.name}`;
    for (const table of compared.tables) {
      listed.push(...table.differences.map((difference) => ({ ...difference, between })));
    }
  }
  return { rows, differences, listed };
}

function conclude(run: Run, { rows, differences, listed }: Outcome, changes: number): void {
  const { output, peerCount } = run;
  const counts = `${peerCount} peers, ${changes} changes, ${rows} rows, ${differences} differences`;
  for (const { between, table, key, kind } of listed) {
    output.line(`  ${between}: ${table} ${key} ${kind.replace("here", "in the first")}`);
  }
  if (differences === 0) output.line(output.paint("green", `converged: ${counts}`));
  else output.line(output.paint("red", `not converged: ${counts}`));
}

function summarize(run: Run, { rows, differences, listed, prepared }: Outcome, changes: number) {
  const { peers, source, seconds, seed, story } = run;
  return {
    converged: differences === 0,
    peers: peers.length,
    changes,
    rows,
    differences,
    listed,
    database: source ?? null,
    tables: prepared.tables,
    seconds,
    seed,
    elapsedMs: story.elapsedMs,
    byPeer: peers.map(({ name, report }) => ({
      name,
      peerId: report?.peerId,
      transactions: report?.transactions,
      changes: report?.changes,
      refused: report?.refused,
      lost: report?.lost,
      parked: report?.parked,
    })),
  };
}
