// What it costs to read changes for a peer: records from the log, as messages carry them, against
// what a program without a log would do, a scan of the table whose rows are packed in JavaScript.
import { native } from "../dist/native.js";
import { inFolder, median, open, shapes, table, time } from "./lib.mjs";
import { inBatches, inTurn, withExtension } from "./source.mjs";

const readBytes = 64 << 10;

/** Reads everything of this peer, a message at a time; returns the bytes. */
function readLog(handle) {
  const [peer, held] = native.vector(handle);
  let bytes = 0;
  for (let next = 1; next <= held; ) {
    const records = native.readLog(handle, peer, next, held, readBytes);
    bytes += records.byteLength;
    next += countRecords(records);
  }
  return bytes;
}

/** Records are origin, sequence, timestamp and size as varints, then the payload. */
function countRecords(records) {
  let count = 0;
  for (let at = 0; at < records.byteLength; count++) {
    let number = 0;
    for (let field = 0; field < 4; field++) {
      number = 0;
      for (let scale = 1; ; scale *= 128) {
        const byte = records[at++];
        number += (byte & 127) * scale;
        if (byte < 128) break;
      }
    }
    at += number;
  }
  return count;
}

function packTable(db) {
  let bytes = 0;
  let rows = [];
  const pack = () => {
    bytes += Buffer.from(JSON.stringify(rows)).byteLength;
    rows = [];
  };
  for (const row of db.prepare("SELECT * FROM t").raw().iterate()) {
    if (rows.push(row) === 1000) pack();
  }
  pack();
  return bytes;
}

export function logBench({ quick = false, names = Object.keys(shapes) } = {}) {
  const count = quick ? 20_000 : 100_000;
  const ratios = {};
  for (const name of names) {
    const shape = shapes[name];
    inFolder((folder) => {
      const db = open(folder, "own.db", shape);
      const handle = withExtension(db);
      const insert = db.prepare(`INSERT INTO t VALUES (${shape.columns.map(() => "?")})`);
      inBatches(db, 0, count, (i) => insert.run(shape.row(i)));
      const rounds = Array.from({ length: quick ? 5 : 15 }, (_, turn) => {
        const [scanMs, logMs] = inTurn(turn, [() => packTable(db), () => readLog(handle)], time);
        return logMs / scanMs;
      });
      ratios[name] = median(rounds);
      db.close();
    });
  }
  return ratios;
}

export function logTable(ratios) {
  return table(
    "Reading the log: time relative to a table scan packed in JavaScript (median of ratios)",
    ["workload", ...Object.keys(ratios).map((name) => shapes[name].title)],
    [["100,000 changes, ready to send", ...Object.values(ratios).map((one) => one.toFixed(2))]],
  );
}

if (import.meta.filename === process.argv[1]) process.stdout.write(logTable(logBench()));
