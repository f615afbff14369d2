// What replication adds to a file once its log is trimmed: row clocks. A copy is made dense by
// VACUUM, as the plain file is, for how full pages are depends on the order of writes.
import { statSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { native } from "../dist/native.js";
import { inFolder, open, shapes, table } from "./lib.mjs";
import { inBatches, withExtension } from "./source.mjs";

const clocks = "_mergelite_clock_t";
const log = "_mergelite_log";

const variants = {
  integer: shapes.integer,
  uuid: shapes.uuid,
  wide: shapes.wide,
  wideUuid: {
    ...shapes.wide,
    title: "20 columns, UUID text key",
    columns: [shapes.uuid.columns[0], ...shapes.wide.columns.slice(1)],
    key: shapes.uuid.key,
    row: (i) => [shapes.uuid.key(i), ...shapes.wide.row(i).slice(1)],
  },
};

/** Bytes of each table of the file after `work`, made dense; `file` is all of it. */
function bytesAfter(folder, name, shape, work) {
  const db = open(folder, name, shape);
  work(db);
  const dense = join(folder, `dense-${name}`);
  db.prepare("VACUUM INTO ?").run(dense);
  db.close();
  const copy = new Database(dense);
  const sizes = copy.prepare("SELECT name, sum(pgsize) FROM dbstat GROUP BY name").raw().all();
  copy.close();
  return { ...Object.fromEntries(sizes), file: statSync(dense).size };
}

/** Trims the log, which folds the row clocks first. */
function trimAll(handle) {
  const nobody = new Float64Array();
  while (true) {
    const { more, busy } = native.trim(handle, 2 ** 53 - 1, nobody, nobody, 1, 1000);
    if (!more && !busy) return;
  }
}

export function diskBench({ quick = false } = {}) {
  const count = quick ? 20_000 : 100_000;
  const results = {};
  for (const shape of Object.values(variants)) {
    inFolder((folder) => {
      const fill = (db) => {
        const insert = db.prepare(`INSERT INTO t VALUES (${shape.columns.map(() => "?").join()})`);
        inBatches(db, 0, count, (i) => insert.run(shape.row(i)));
      };
      const plain = bytesAfter(folder, "plain.db", shape, fill).file;
      const replicated = (name, more) =>
        bytesAfter(folder, name, shape, (db) => {
          const handle = withExtension(db);
          fill(db);
          trimAll(handle);
          more?.(db);
          trimAll(handle);
        });
      const inserted = replicated("inserted.db");
      const updated = replicated("updated.db", (db) => {
        const change = db.prepare(`UPDATE t SET ${shape.updated} = ? WHERE id = ?`);
        inBatches(db, 0, count, (i) => change.run(-1 - i, shape.key(i)));
      });
      results[shape.title] = {
        row: plain / count,
        inserted: inserted[clocks] / count,
        updated: updated[clocks] / count,
        // The newest changeset is never trimmed.
        ratio: (inserted.file - inserted[log]) / plain,
      };
    });
  }
  return results;
}

export function diskTable(results) {
  return table(
    "Disk: bytes a row, the log trimmed",
    ["table", "row", "row clock", "after an update", "file relative to plain"],
    Object.entries(results).map(([title, { row, inserted, updated, ratio }]) => [
      title,
      row.toFixed(0),
      inserted.toFixed(1),
      updated.toFixed(1),
      ratio.toFixed(2),
    ]),
  );
}

if (import.meta.filename === process.argv[1]) {
  process.stdout.write(diskTable(diskBench({ quick: process.argv[2] === "--quick" })));
}
