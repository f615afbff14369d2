// What capturing costs a local write: the same statements on a plain file and on a replicated one.
import { attach } from "../dist/index.js";
import { columnsOf, compare, inFolder, open, ratioTable, shapes, time } from "./lib.mjs";

const batch = 1000;

function workloads(db, shape) {
  const columns = columnsOf(shape);
  const insert = db.prepare(`INSERT INTO t VALUES (${columns.map(() => "?")})`);
  const update = db.prepare(`UPDATE t SET ${shape.updated} = ? WHERE id = ?`);
  const remove = db.prepare("DELETE FROM t WHERE id = ?");
  const read = db.prepare("SELECT * FROM t WHERE id = ?");
  const range = db.prepare("SELECT * FROM t WHERE id >= ? LIMIT 100");
  const begin = db.prepare("BEGIN");
  const commit = db.prepare("COMMIT");
  const inBatches = (transactions, work) => (first) => {
    for (let i = 0; i < transactions; i++) {
      begin.run();
      for (let j = 0; j < batch; j++) work(first + i * batch + j);
      commit.run();
    }
  };
  const oneByOne = (count, work) => (first) => {
    for (let i = 0; i < count; i++) work(first + i);
  };
  const addRow = (i) => insert.run(shape.row(i));
  // Each writes other values than the one before: SQLite leaves bytes alone that do not change.
  const changeRow = (i) => update.run(i + 5_000_000, shape.key(i));
  const changeAgain = (i) => update.run(i + 6_000_000, shape.key(i));
  return {
    "insert, 1,000 a transaction": inBatches(5, addRow),
    "update one column, 1,000 a transaction": inBatches(5, changeRow),
    "insert, autocommit": oneByOne(1000, addRow),
    "update one column, autocommit": oneByOne(1000, changeAgain),
    "point reads": oneByOne(5000, (i) => read.get(shape.key(i))),
    "range reads of 100": oneByOne(100, (i) => range.all(shape.key(i))),
    "delete, 1,000 a transaction": inBatches(5, (i) => remove.run(shape.key(i))),
  };
}

/** Where a round's rows begin, for each workload: inserts add rows, the others use them. */
function firstRow(name, round) {
  if (name === "insert, autocommit") return 2_000_000 + round * 1000;
  if (name === "update one column, autocommit") return round * 1000;
  return round * 5 * batch;
}

export function captureBench({ quick = false, names = Object.keys(shapes) } = {}) {
  const rounds = quick ? 7 : 31;
  const results = {};
  for (const name of names) {
    const shape = shapes[name];
    inFolder((folder) => {
      const plain = open(folder, "plain.db", shape);
      const own = open(folder, "own.db", shape);
      const replica = attach(own, { tables: ["t"], watchFile: false });
      const contenders = [workloads(plain, shape), workloads(own, shape)];
      for (const workload of Object.keys(contenders[0])) {
        const [, measured] = compare(
          contenders.map((side) => (round) => {
            const first = firstRow(workload, round);
            return time(() => side[workload](first));
          }),
          rounds,
        );
        results[workload] ??= {};
        results[workload][name] = measured.ratio;
      }
      void replica.close();
      plain.close();
      own.close();
    });
  }
  return results;
}

export const captureTitle = "Capture: time relative to plain better-sqlite3 (median of ratios)";

if (import.meta.filename === process.argv[1]) {
  process.stdout.write(
    ratioTable(captureTitle, captureBench({ quick: process.argv[2] === "--quick" })),
  );
}
