/**
 * Repair: two peers exchange what they have of the rows in which they differ, so that each takes
 * what the other knows better. Values that no stamp tells apart are taken from one side and written
 * anew, for every other peer. See `docs/decisions/0018-repair.md`.
 */
import { ReplicaError } from "../errors.ts";
import type { RepairResult } from "../native.ts";
import type { OwnTable } from "./own-table.ts";
import { type Repair, verifyLimits } from "./protocol-verify.ts";
import type { Ask } from "./verify.ts";

/** What repairing has done. Counts of rows. */
export interface RepairCounts {
  /** Rows of the peer that are other than before. */
  sent: number;
  /** Rows here that are other than before. */
  taken: number;
  /** Rows that became a new write, of this peer or the other: every peer gets them. */
  rewritten: number;
  /** Rows that differ still: the peer's clock, its schema or a trigger stands against it. */
  left: number;
}

export interface RepairOptions {
  readonly ask: Ask;
  /** Whose values stay where nothing else tells them apart. */
  readonly winner: "here" | "there";
  readonly counts: RepairCounts;
  onRepaired(result: RepairResult): void;
}

const keysMax = verifyLimits.repairKeys;
const keyBytesMax = 65_536;

/** What both sides take stays taken, wherever the exchange ends. */
export async function repairRows(
  own: OwnTable,
  keys: readonly Uint8Array[],
  options: RepairOptions,
): Promise<void> {
  for (const batch of batches(keys)) {
    // Who takes last takes the other's value where stamps are equal, and then they are equal.
    if (options.winner === "there") {
      await pull(own, batch, options);
      await push(own, batch, options);
    } else {
      await push(own, batch, options);
      await pull(own, batch, options);
    }
  }
}

async function pull(
  own: OwnTable,
  keys: readonly Uint8Array[],
  options: RepairOptions,
): Promise<void> {
  const { ask, counts } = options;
  const { table } = own;
  for (let rest = keys; rest.length > 0; ) {
    const chunk = new Uint8Array(0);
    const answer = await ask({ kind: "repairRequest", requestId: 0, table, keys: rest, chunk });
    if (answer.kind !== "repair") throw unexpected();
    if (answer.outcome !== "done") return;
    const covered = step(answer, rest.length);
    const result = await own.repair(rest.slice(0, covered), answer.chunk);
    if (result.behind || result.resumeAtMs > 0) return;
    counts.taken += result.taken;
    counts.rewritten += result.rewritten;
    options.onRepaired(result);
    rest = rest.slice(covered);
  }
}

async function push(
  own: OwnTable,
  keys: readonly Uint8Array[],
  { ask, counts }: RepairOptions,
): Promise<void> {
  const { table } = own;
  for (let rest = keys; rest.length > 0; ) {
    const read = await own.read(rest);
    const some = rest.slice(0, read.keys);
    const { chunk } = read;
    const answer = await ask({ kind: "repairRequest", requestId: 0, table, keys: some, chunk });
    if (answer.kind !== "repair") throw unexpected();
    if (answer.outcome !== "done") return;
    counts.sent += answer.taken;
    counts.rewritten += answer.rewritten;
    rest = rest.slice(read.keys);
  }
}

/** An answer that covers nothing would be asked for for ever. */
function step({ keys }: Repair, asked: number): number {
  if (keys === 0 || keys > asked) throw unexpected();
  return keys;
}

function* batches(keys: readonly Uint8Array[]): Generator<readonly Uint8Array[]> {
  let batch: Uint8Array[] = [];
  let bytes = 0;
  for (const key of keys) {
    if (batch.length === keysMax || (batch.length > 0 && bytes + key.byteLength > keyBytesMax)) {
      yield batch;
      batch = [];
      bytes = 0;
    }
    batch.push(key);
    bytes += key.byteLength;
  }
  if (batch.length > 0) yield batch;
}

function unexpected(): ReplicaError {
  return new ReplicaError("PROTOCOL_MALFORMED", "an answer does not fit what was asked", {
    hint: "The peer is damaged, or speaks another protocol.",
  });
}
