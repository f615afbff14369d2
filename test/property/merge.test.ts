/**
 * Any order, any repetition, any split of deliveries gives one state, and it is the model's.
 * `npm run property -- 100000 7` runs 100,000 histories from seed 7.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { expect, it } from "vitest";
import { dump, progressOf, type RawReplica } from "../support/replica.ts";
import { unlimited } from "../support/unlimited.ts";
import { type History, history, run } from "./history.ts";
import { modelRows, tableRows } from "./model.ts";
import { tables } from "./schema.ts";

const runs = Number(process.env.PROPERTY_RUNS ?? 2000);
const seed = Number(process.env.PROPERTY_SEED ?? 1);

function check(
  replicas: readonly RawReplica[],
  archive: RawReplica,
  written: readonly number[],
): void {
  for (const replica of replicas) {
    for (const { held, merged } of progressOf(replica)) expect(merged).toBe(held);
    const parked = replica.db
      .prepare("SELECT DISTINCT reason FROM _mergelite_parked WHERE reason <> 'row'")
      .pluck()
      .all();
    expect(parked).toEqual([]);
  }
  for (const table of tables.filter((_, i) => written.includes(i))) {
    const { name } = table;
    const logs = replicas.map(({ peerId }) => ({ ...archive, peerId }));
    const model = modelRows(logs, table);
    for (const { db } of replicas) expect([name, tableRows(db, name)]).toEqual([name, model]);
    const [first, ...others] = replicas.map(({ db }) => dump(db, name));
    for (const other of others) expect(other).toEqual(first);
  }
}

function prove(count: number, folder?: string): void {
  const property = fc.property(history, (one: History) => {
    run(one, folder, (replicas, archive) => check(replicas, archive, one.tables));
  });
  fc.assert(property, { numRuns: count, seed });
}

it(`converges to the model in ${runs} random histories`, { timeout: unlimited }, () => {
  prove(runs);
});

// Files cost more than memory does.
const fileRuns = Math.ceil(runs / 10);
it(`converges with two connections a file, ${fileRuns} times`, { timeout: unlimited }, () => {
  const folder = mkdtempSync(join(tmpdir(), "mergelite-"));
  try {
    prove(fileRuns, folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
