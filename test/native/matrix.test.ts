/**
 * Invariant I1, generated: every kind of table × statement × conflict clause × state of the
 * transaction. What is captured, merged elsewhere, is what was written; and what was written is what
 * SQLite writes without capture, errors and `changes()` included.
 */
import { describe, expect, it } from "vitest";
import { type Kind, kinds } from "../support/kinds.ts";
import { reset, statementsFor, statesFor, Trio } from "../support/matrix.ts";

/** The first difference that a kind's part of the matrix shows; how many cells it has. */
function firstDifference(kind: Kind): { cells: number; difference: string | undefined } {
  const trio = new Trio(kind);
  let cells = 0;
  try {
    for (const sql of statementsFor(kind)) {
      for (const [state, steps] of statesFor(sql)) {
        cells++;
        const run = [reset(kind), ...steps];
        for (const [index, step] of run.entries()) {
          const last = index === run.length - 1;
          const difference = trio.step(step) ?? (last ? trio.difference() : undefined);
          if (difference === undefined) continue;
          const before = run.slice(0, index + 1).join(";\n  ");
          return { cells, difference: `${state}:\n  ${before}\n${difference}` };
        }
      }
    }
    return { cells, difference: undefined };
  } finally {
    trio.close();
  }
}

describe("captured exactly", () => {
  it.each(kinds.map((kind) => [kind.name, kind] as const))("%s", (_, kind) => {
    const { cells, difference } = firstDifference(kind);
    expect(difference).toBeUndefined();
    expect(cells).toBeGreaterThan(200);
  });
});
