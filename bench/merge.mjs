// What merging costs: remote changesets merged natively against the same rows written by prepared
// upserts from JavaScript, both 1,000 rows a transaction.
import { extensionPath, native } from "../dist/native.js";
import { columnsOf, inFolder, median, open, shapes, table, time } from "./lib.mjs";

const batch = 1000;
const sliceMs = 4;
const changesetsPerMessage = 10;

function withExtension(db) {
  db.loadExtension(extensionPath);
  const handle = db.prepare("SELECT mergelite_handle()").pluck().get();
  native.open(handle, "", "", () => {});
  native.replicate(handle, "t");
  return handle;
}

/** The messages a peer would send for its changesets `first` to `last`. */
function messagesOf(handle, first, last) {
  const [peer] = native.vector(handle);
  const messages = [];
  for (let at = first; at <= last; at += changesetsPerMessage) {
    const end = Math.min(at + changesetsPerMessage - 1, last);
    messages.push(native.readLog(handle, peer, at, end, 1 << 30));
  }
  return messages;
}

/** What a peer sends that inserts all rows, and later updates one column of each. */
function record(folder, shape, count) {
  const db = open(folder, "writer.db", shape);
  const handle = withExtension(db);
  // A second behind, so that writes of the receiving peer are newer.
  native.setClock(handle, Date.now() - 1000);
  insertRows(db, shape, 0, count);
  const inserted = native.vector(handle)[1];
  updateRows(db, shape, count, 7_000_000);
  const held = native.vector(handle)[1];
  const { descriptors } = native.shapes(handle, 0);
  const inserts = { descriptors, messages: messagesOf(handle, 1, inserted) };
  const updates = { descriptors, messages: messagesOf(handle, inserted + 1, held) };
  db.close();
  return { inserts, updates };
}

function insertRows(db, shape, from, count) {
  const insert = db.prepare(`INSERT INTO t VALUES (${shape.columns.map(() => "?")})`);
  for (let i = from; i < from + count; i += batch) {
    db.transaction(() => {
      for (let j = i; j < i + batch; j++) insert.run(shape.row(j));
    })();
  }
}

function updateRows(db, shape, count, value) {
  const update = db.prepare(`UPDATE t SET ${shape.updated} = ? WHERE id = ?`);
  for (let i = 0; i < count; i += batch) {
    db.transaction(() => {
      for (let j = i; j < i + batch; j++) update.run(value + j, shape.key(j));
    })();
  }
}

function mergeAll(handle, { messages, descriptors }, fold) {
  native.learnShapes(handle, descriptors);
  for (const message of messages) {
    let offset = 0;
    while (offset < message.byteLength) {
      offset = native.merge(handle, message, offset, sliceMs).consumed;
      while (fold && native.maintain(handle, sliceMs).more) {}
    }
  }
}

function upsertAll(db, shape, rows) {
  const columns = columnsOf(shape);
  const upsert = db.prepare(
    `INSERT INTO t VALUES (${columns.map(() => "?")}) ON CONFLICT (id) DO UPDATE SET ${columns
      .slice(1)
      .map((column) => `${column} = excluded.${column}`)}`,
  );
  for (let i = 0; i < rows.length; i += batch) {
    db.transaction(() => {
      for (const row of rows.slice(i, i + batch)) upsert.run(row);
    })();
  }
}

/** Milliseconds of the merge and of the baseline, on fresh files. */
function insertRound(folder, shape, { round, count, fold, recorded, rows }) {
  const plain = open(folder, `plain-${round}.db`, shape);
  const own = open(folder, `own-${round}.db`, shape);
  const handle = withExtension(own);
  const work = [() => upsertAll(plain, shape, rows), () => mergeAll(handle, recorded, fold)];
  const ms = [];
  for (const index of round % 2 === 0 ? [0, 1] : [1, 0]) ms[index] = time(work[index]);
  const merged = own.prepare("SELECT count(*) FROM t").pluck().get();
  if (merged !== count) throw new Error(`merged ${String(merged)} rows of ${count}`);
  plain.close();
  own.close();
  return ms[1] / ms[0];
}

/** Every row has a newer local value for every second remote update. */
function updateRound(folder, shape, { round, count, recorded, rows }) {
  const plain = open(folder, `plain-${round}.db`, shape);
  const own = open(folder, `own-${round}.db`, shape);
  insertRows(plain, shape, 0, count);
  const handle = withExtension(own);
  mergeAll(handle, recorded.inserts, false);
  own.exec(`UPDATE t SET ${shape.updated} = -1 WHERE rowid % 2 = 0`);
  // What the local update costs is told by the other benchmark.
  while (native.maintain(handle, sliceMs).more) {}
  const update = plain.prepare(`UPDATE t SET ${shape.updated} = ? WHERE id = ?`);
  const column = columnsOf(shape).indexOf(shape.updated);
  const baseline = () => {
    for (let i = 0; i < rows.length; i += batch) {
      plain.transaction(() => {
        for (const row of rows.slice(i, i + batch)) update.run(row[column], row[0]);
      })();
    }
  };
  const work = [baseline, () => mergeAll(handle, recorded.updates, false)];
  const ms = [];
  for (const index of round % 2 === 0 ? [0, 1] : [1, 0]) ms[index] = time(work[index]);
  plain.close();
  own.close();
  return ms[1] / ms[0];
}

export function mergeBench({ rounds = 5, count = 100_000, names = Object.keys(shapes) } = {}) {
  const results = {};
  const note = (workload, name, ratios) => {
    results[workload] ??= {};
    results[workload][name] = median(ratios);
  };
  for (const name of names) {
    const shape = shapes[name];
    inFolder((folder) => {
      const rows = Array.from({ length: count }, (_, i) => shape.row(i));
      const { inserts, updates } = record(folder, shape, count);
      const everyRound = (run) => Array.from({ length: rounds }, (_, round) => run(round));
      for (const fold of [false, true]) {
        note(
          fold ? "merge inserts, folding included" : "merge inserts",
          name,
          everyRound((round) =>
            insertRound(folder, shape, {
              round: `${round}${fold}`.length * 10 + round,
              count,
              fold,
              recorded: inserts,
              rows,
            }),
          ),
        );
      }
      note(
        "merge one-column updates, half lose",
        name,
        everyRound((round) =>
          updateRound(folder, shape, {
            round: 1000 + round,
            count,
            recorded: { inserts, updates },
            rows,
          }),
        ),
      );
    });
  }
  return results;
}

export function mergeTable(results, names = Object.keys(shapes)) {
  return table(
    "Merge: time relative to prepared statements writing the same rows (median of ratios)",
    ["workload", ...names.map((name) => shapes[name].title)],
    Object.entries(results).map(([workload, row]) => [
      workload,
      ...names.map((name) => row[name].toFixed(2)),
    ]),
  );
}

if (import.meta.filename === process.argv[1]) {
  process.stdout.write(mergeTable(mergeBench({ rounds: Number(process.argv[2] ?? 5) })));
}
