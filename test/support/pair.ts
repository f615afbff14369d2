/** A replica that writes and one that only merges: proves that capture is exact. */
import { expect } from "vitest";
import { closedAfterEach } from "./databases.ts";
import { dump, heldOf, openRaw, pull, type RawReplica } from "./replica.ts";

const open = closedAfterEach();

export interface Pair {
  here: RawReplica;
  there: RawReplica;
  tables: readonly string[];
  /** Runs SQL here; a failing statement does not end the run. Returns the error's code, if any. */
  step(sql: string): string | undefined;
  same(): void;
}

/** A replica to write on and one that only merges. `prepare` runs on the first before replication. */
export function pair(schema: string, tables: readonly string[], prepare = ""): Pair {
  const here = openRaw(":memory:", `${schema};${prepare}`, tables);
  // What is proved here is the log; how UNIQUE is merged is another matter.
  const plain = schema
    .replace(/CREATE UNIQUE INDEX[^;]*/g, "")
    .replace(/,\s*UNIQUE\s*\([^)]*\)| UNIQUE\b/g, "");
  const there = openRaw(":memory:", plain, tables);
  open.push(here.db, there.db);
  const same = () => {
    if (here.db.inTransaction) return;
    pull(here, there);
    for (const table of tables) {
      expect([table, ...dump(there.db, table)]).toEqual([table, ...dump(here.db, table)]);
    }
    const parked = there.db.prepare("SELECT reason, detail FROM _mergelite_parked").all();
    expect(parked).toEqual([]);
  };
  const step = (sql: string): string | undefined => {
    let code: string | undefined;
    try {
      here.db.exec(sql);
    } catch (error) {
      code = String((error as { code?: unknown }).code);
      if (!code.startsWith("SQLITE_CONSTRAINT")) throw error;
    }
    same();
    return code;
  };
  same();
  return { here, there, tables, step, same };
}

/** All steps, each in autocommit, then all in one transaction, then each in a savepoint undone. */
export function everyWay(
  schema: string,
  tables: readonly string[],
  steps: readonly string[],
): void {
  const alone = pair(schema, tables);
  for (const sql of steps) alone.step(sql);
  const together = pair(schema, tables);
  together.step("BEGIN");
  for (const sql of steps) together.step(sql);
  together.step("COMMIT");
  for (const table of tables) {
    expect(dump(together.there.db, table)).toEqual(dump(alone.there.db, table));
  }
  const undone = pair(schema, tables);
  undone.step("BEGIN");
  for (const [index, sql] of steps.entries()) {
    undone.step("SAVEPOINT outer; SAVEPOINT inner");
    undone.step(sql);
    undone.step(
      index % 2 === 0 ? "ROLLBACK TO outer; RELEASE outer" : "RELEASE inner; RELEASE outer",
    );
  }
  undone.step("COMMIT");
  const never = pair(schema, tables);
  never.step("BEGIN");
  for (const sql of steps) never.step(sql);
  never.step("ROLLBACK");
  expect(heldOf(never.here, never.here.peerId)).toBe(0);
}
