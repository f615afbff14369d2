/** The plot: everyone writes, the network is cut in two steps, heals, and everyone must agree. */
import { type Clock, systemClock } from "../../clock.ts";
import { Failure } from "../failure.ts";
import { formatCount, plural } from "../output.ts";
import { behindOf, cutNetwork, type PeerProcess } from "./cluster.ts";
import type { Cell } from "./messages.ts";
import type { Prepared } from "./prepare.ts";
import type { Story } from "./story.ts";
import type { SqlValue } from "./values.ts";

export interface Stage {
  readonly peers: readonly PeerProcess[];
  readonly story: Story;
  readonly prepared: Prepared;
  readonly seconds: number;
  /** Aborts when the user stops the demo, or a peer fails. */
  readonly signal: AbortSignal;
}

/** What peers wrote into one cell while they could not see each other. */
export interface Edit {
  readonly cell: Cell;
  readonly written: readonly { name: string; value: SqlValue }[];
}

type Groups = readonly (readonly PeerProcess[])[];

const pollMs = 50;
/** Without any progress for so long, the peers will not converge. */
const stuckMs = 30_000;

export async function play(stage: Stage): Promise<Edit[]> {
  const { peers, story, seconds } = stage;
  const together: Groups = [peers];
  const alone: Groups = peers.map((peer) => [peer]);
  const half = Math.ceil(peers.length / 2);
  const halves: Groups = [peers.slice(0, half), peers.slice(half)];
  const share = (part: number) => part * seconds * 1000;

  story.say("all write at once: inserts, updates of the same rows, deletes");
  for (const peer of peers) peer.tell({ type: "write" });
  await watch(stage, together, share(0.2));

  cutNetwork(peers, halves);
  story.say(`the network is cut: ${describe(halves)}; writing goes on`, "bold");
  await watch(stage, halves, share(peers.length > 2 ? 0.25 : 0.4));

  if (peers.length > 2) {
    cutNetwork(peers, alone);
    story.say("cut again: every peer is alone", "bold");
    await watch(stage, alone, share(0.15));
  }
  const edits = await editApart(stage);
  await watch(stage, peers.length > 2 ? alone : halves, share(0.1));

  cutNetwork(peers, together);
  story.say("the network heals; writing goes on", "bold");
  await watch(stage, together, share(0.3));

  await Promise.all(peers.map((peer) => peer.pause()));
  await whenConverged(stage, together);
  return edits;
}

/** Resolves when all peers are linked with all others. */
export async function whenLinked({ peers, signal }: Stage): Promise<void> {
  while (peers.some((peer) => (peer.report?.links ?? 0) < peers.length - 1)) {
    await systemClock.sleep(pollMs, { signal });
  }
}

async function watch({ peers, story, seconds, signal }: Stage, groups: Groups, ms: number) {
  const tickMs = Math.max((seconds * 1000) / 12, 250);
  const ticks = Math.max(Math.round(ms / tickMs), 1);
  for (let i = 0; i < ticks; i++) {
    await systemClock.sleep(ms / ticks, { signal });
    story.row(peers, groups);
  }
}

/** The same value of one row, and different values of another, while nobody sees it. */
async function editApart({ peers, story, prepared, signal }: Stage): Promise<Edit[]> {
  signal.throwIfAborted();
  const edits: Edit[] = [];
  const write = async (cell: Cell, by: readonly PeerProcess[]) => {
    const written: Edit["written"][number][] = [];
    for (const peer of by) {
      const value = await peer.edit(cell);
      if (value !== null) written.push({ name: peer.name, value });
    }
    if (written.length > 0) edits.push({ cell, written });
  };
  const { shared, pair } = prepared;
  if (shared !== undefined) {
    await write(shared, peers);
    story.say(`apart, each of them sets ${describeCell(shared)}`);
  }
  const [first] = peers;
  const last = peers.at(-1);
  if (pair !== undefined && first !== undefined && last !== undefined) {
    await write(pair[0], [first]);
    await write(pair[1], [last]);
    const columns = `${first.name} sets ${pair[0].column}, ${last.name} sets ${pair[1].column}`;
    story.say(`of ${describeRow(pair[0])}, ${columns}`);
  }
  return edits;
}

async function whenConverged(stage: Stage, groups: Groups): Promise<void> {
  const { peers, story, signal } = stage;
  const clock: Clock = systemClock;
  const behind = () => peers.reduce((sum, peer) => sum + behindOf(peer, peers), 0);
  const changes = peers.reduce((sum, peer) => sum + (peer.report?.changes ?? 0), 0);
  const transactions = peers.reduce((sum, peer) => sum + (peer.report?.transactions ?? 0), 0);
  const summary = `${formatCount(changes)} changes in ${plural(transactions, "transaction")}`;
  story.say(`writing stops after ${summary}`, "bold");
  let least = Number.POSITIVE_INFINITY;
  let progressMs = clock.now();
  let toldMs = 0;
  for (let left = behind(); left > 0; left = behind()) {
    if (left < least) progressMs = clock.now();
    least = Math.min(least, left);
    if (clock.now() - progressMs > stuckMs) {
      throw new Failure(
        `no progress for ${stuckMs / 1000} s, ${plural(left, "changeset")} missing`,
      );
    }
    if (clock.now() - toldMs >= 1000) {
      story.row(peers, groups);
      toldMs = clock.now();
    }
    await clock.sleep(pollMs, { signal });
  }
  story.row(peers, groups);
}

function describe(groups: Groups): string {
  const names = groups.map((group) => group.map((peer) => peer.name).join(" and "));
  return `${names.join(" on one side, ")} on the other`;
}

export function describeCell(cell: Cell): string {
  return `${cell.column} of ${describeRow(cell)}`;
}

function describeRow({ table, key }: Cell): string {
  return `${table} ${Object.values(key).map(describeKey).join(", ")}`;
}

/** The beginning of a UUID tells it from the others. */
function describeKey(value: unknown): string {
  return typeof value === "string" && value.length > 20
    ? `'${value.slice(0, 8)}...'`
    : describeValue(value);
}

export function describeValue(value: unknown): string {
  if (value === undefined) return "no such row";
  if (value instanceof Uint8Array) return `x'${Buffer.from(value).toString("hex")}'`;
  if (typeof value === "string") return `'${value}'`;
  return typeof value === "number" || typeof value === "bigint" ? String(value) : "NULL";
}
