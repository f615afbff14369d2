/**
 * Invariant I1, at random: statements of the capture matrix in any order, in transactions and
 * savepoints begun and ended in any order, on any kind of table, in one part or many, also after a
 * COMMIT that was refused. Where old values are kept, they and the rows of now give the rows of
 * before.
 * `npm run property -- 100000 7` runs 5,000 of these histories.
 */
import { rmSync } from "node:fs";
import fc from "fast-check";
import { expect, it } from "vitest";
import { temporaryFolder } from "../support/folder.ts";
import { kinds } from "../support/kinds.ts";
import { fillers, reset, statementsFor, Trio } from "../support/matrix.ts";
import { unlimited } from "../support/unlimited.ts";

const runs = Math.ceil(Number(process.env.PROPERTY_RUNS ?? 2000) / 20);
const seed = Number(process.env.PROPERTY_SEED ?? 1);

const savepoint = fc.constantFrom("a", "b", "c");
const step = fc.oneof(
  { weight: 8, arbitrary: fc.record({ statement: fc.nat(9999) }) },
  { weight: 1, arbitrary: fc.record({ sql: fc.constantFrom("BEGIN", "COMMIT", "ROLLBACK") }) },
  {
    weight: 2,
    arbitrary: fc.record({
      sql: fc
        .tuple(fc.constantFrom("SAVEPOINT", "ROLLBACK TO", "RELEASE"), savepoint)
        .map(([what, name]) => `${what} ${name}`),
    }),
  },
);
const history = fc.record({
  kind: fc.nat(kinds.length - 1),
  oldValues: fc.boolean(),
  steps: fc.array(step, { minLength: 3, maxLength: 40 }),
});
const largeHistory = fc.record({
  kind: fc.nat(kinds.length - 1),
  oldValues: fc.boolean(),
  onFile: fc.boolean(),
  steps: fc.array(
    fc.oneof(
      { weight: 14, arbitrary: step },
      { weight: 2, arbitrary: fc.record({ sql: fc.constantFrom(...fillers) }) },
      { weight: 1, arbitrary: fc.constant({ refused: true as const }) },
    ),
    { minLength: 3, maxLength: 40 },
  ),
});
const folder = temporaryFolder({ inMemory: true });

it(`captures exactly in ${runs} random histories`, { timeout: unlimited }, () => {
  const property = fc.property(fc.oneof(history, largeHistory), (one) => {
    const kind = kinds[one.kind];
    if (kind === undefined) return;
    const statements = statementsFor(kind);
    const file = "onFile" in one && one.onFile ? folder.file() : undefined;
    const trio = new Trio(kind, { oldValues: one.oldValues, large: "onFile" in one, file });
    const run = (sql: string) => expect(trio.step(sql) ?? trio.difference()).toBeUndefined();
    try {
      run(reset(kind));
      for (const step of one.steps) {
        if ("refused" in step) expect(trio.refuseCommit() ?? trio.difference()).toBeUndefined();
        else if ("sql" in step) run(step.sql);
        else run(statements[step.statement % statements.length] ?? "");
      }
      run("COMMIT");
    } finally {
      trio.close();
      if (file !== undefined) rmSync(file);
    }
  });
  fc.assert(property, { numRuns: runs, seed });
});
