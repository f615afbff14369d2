/**
 * Invariant I1, at random: statements of the capture matrix in any order, in transactions and
 * savepoints begun and ended in any order, on any kind of table, in one part or many. Where old
 * values are kept, they and the rows of now give the rows of before.
 * `npm run property -- 100000 7` runs 5,000 of these histories.
 */
import fc from "fast-check";
import { expect, it } from "vitest";
import { kinds } from "../support/kinds.ts";
import { reset, statementsFor, Trio } from "../support/matrix.ts";
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

it(`captures exactly in ${runs} random histories`, { timeout: unlimited }, () => {
  const property = fc.property(history, ({ kind: index, oldValues, steps }) => {
    const kind = kinds[index];
    if (kind === undefined) return;
    const statements = statementsFor(kind);
    const trio = new Trio(kind, { oldValues });
    const run = (sql: string) => expect(trio.step(sql) ?? trio.difference()).toBeUndefined();
    try {
      run(reset(kind));
      for (const one of steps) {
        run("sql" in one ? one.sql : (statements[one.statement % statements.length] ?? ""));
      }
      run("COMMIT");
    } finally {
      trio.close();
    }
  });
  fc.assert(property, { numRuns: runs, seed });
});
