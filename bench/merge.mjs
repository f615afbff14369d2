// What merging costs: remote changesets merged natively against the same rows written by prepared
// statements from JavaScript, both 1,000 rows a transaction.
import { inFolder, median, open, ratioTable, shapes, time } from "./lib.mjs";
import {
  baselineOf,
  contend,
  expectRows,
  foldRest,
  inTurn,
  mergeAll,
  openSource,
  rowsOf,
  withExtension,
} from "./source.mjs";

/** Ratios of inserts and of updates, on fresh files. */
function round(folder, shape, { turn, rows, inserts, updates }) {
  const plain = open(folder, `plain-${turn}.db`, shape);
  const own = open(folder, `own-${turn}.db`, shape);
  const handle = withExtension(own);
  const baseline = baselineOf(plain, shape);
  const run = (works) => {
    const [plainMs, ownMs] = inTurn(turn, works, time);
    return ownMs / plainMs;
  };
  const inserted = run([() => baseline.insert(rows), () => mergeAll(handle, inserts)]);
  expectRows(own, rows.length);
  contend(own, handle, shape);
  const updated = run([() => baseline.update(rows), () => mergeAll(handle, updates)]);
  plain.close();
  own.close();
  return [inserted, updated];
}

/** The same in one go over many rows, chunk by chunk, with folding: the ratio of the sums. */
function bulk(folder, shape, { count, chunk }) {
  const plain = open(folder, "plain.db", shape);
  const own = open(folder, "own.db", shape);
  const handle = withExtension(own);
  const baseline = baselineOf(plain, shape);
  const source = openSource(folder, shape);
  const run = (kind, sequence) => {
    const sums = [0, 0];
    for (let first = 0; first < count; first += chunk) {
      const rows = rowsOf(shape, first, chunk);
      const messages = source[kind](first, chunk);
      const works = [() => baseline[kind](rows), () => mergeAll(handle, messages, true)];
      inTurn(first / chunk, works, time).forEach((ms, i) => {
        sums[i] += ms;
      });
    }
    sums[1] += time(() => foldRest(handle, source.peer, sequence));
    return sums[1] / sums[0];
  };
  const inserted = run("insert", 1);
  expectRows(own, count);
  contend(own, handle, shape);
  const updated = run("update", 2);
  for (const db of [plain, own, source.db]) db.close();
  return [inserted, updated];
}

export function mergeBench({ quick = false, names = Object.keys(shapes) } = {}) {
  const [rounds, count] = quick ? [3, 20_000] : [7, 100_000];
  const [bulkCount, chunk] = quick ? [100_000, 20_000] : [1_000_000, 100_000];
  const results = {};
  const note = (workload, name, ratio) => {
    results[workload] ??= {};
    results[workload][name] = ratio;
  };
  for (const name of names) {
    const shape = shapes[name];
    inFolder((folder) => {
      const source = openSource(folder, shape);
      const prepared = {
        rows: rowsOf(shape, 0, count),
        inserts: source.insert(0, count),
        updates: source.update(0, count),
      };
      source.db.close();
      const ratios = Array.from({ length: rounds }, (_, turn) =>
        round(folder, shape, { turn, ...prepared }),
      );
      note("merge inserts", name, median(ratios.map(([inserted]) => inserted)));
      note("merge updates, half lose", name, median(ratios.map(([, updated]) => updated)));
    });
    inFolder((folder) => {
      const [inserted, updated] = bulk(folder, shape, { count: bulkCount, chunk });
      const size = quick ? "100,000" : "a million";
      note(`merge ${size} inserts, folding included`, name, inserted);
      note(`merge ${size} updates, folding included`, name, updated);
    });
  }
  return results;
}

export const mergeTitle =
  "Merge: time relative to prepared statements writing the same rows (median of ratios)";

if (import.meta.filename === process.argv[1]) {
  process.stdout.write(
    ratioTable(mergeTitle, mergeBench({ quick: process.argv[2] === "--quick" })),
  );
}
