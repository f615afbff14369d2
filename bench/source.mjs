// A peer that writes, as the benchmarks of merging need one: its rows, and what it would send.
import { extensionPath, native } from "../dist/native.js";
import { columnsOf, open } from "./lib.mjs";

export const batch = 1000;
const sliceMs = 4;
const changesetsPerMessage = 10;

export function withExtension(db) {
  db.loadExtension(extensionPath);
  const handle = db.prepare("SELECT mergelite_handle()").pluck().get();
  native.open(handle, "", "", () => {});
  native.replicate(handle, "t");
  return handle;
}

export function inBatches(db, first, count, work) {
  for (let i = first; i < first + count; i += batch) {
    db.transaction(() => {
      for (let j = i; j < i + batch; j++) work(j);
    })();
  }
}

/** A peer a minute behind, so that the receiving peer's own writes are newer. */
export function openSource(folder, shape) {
  const db = open(folder, "source.db", shape);
  const handle = withExtension(db);
  native.setClock(handle, Date.now() - 60_000);
  const insert = db.prepare(`INSERT INTO t VALUES (${shape.columns.map(() => "?")})`);
  const update = db.prepare(`UPDATE t SET ${shape.updated} = ? WHERE id = ?`);
  const messages = (work) => {
    const [peer, before] = native.vector(handle);
    work();
    const last = native.vector(handle)[1];
    const list = [];
    for (let at = before + 1; at <= last; at += changesetsPerMessage) {
      const end = Math.min(at + changesetsPerMessage - 1, last);
      list.push(native.readLog(handle, peer, at, end, 1 << 30));
    }
    return { descriptors: native.shapes(handle, 0).descriptors, list };
  };
  return {
    db,
    peer: native.vector(handle)[0],
    insert: (first, count) =>
      messages(() => inBatches(db, first, count, (i) => insert.run(shape.row(i)))),
    update: (first, count) =>
      messages(() => inBatches(db, first, count, (i) => update.run(7e6 + i, shape.key(i)))),
  };
}

export function maintainAll(handle) {
  while (native.maintain(handle, sliceMs).more) {}
}

/** Folds what waits for a generation to be full, as before trimming, and trims next to nothing. */
export function foldRest(handle, peer, sequence) {
  const none = new Float64Array();
  const heldByAll = Float64Array.of(peer, sequence);
  while (native.trim(handle, 0, none, heldByAll, 1, sliceMs).more) {}
}

export function mergeAll(handle, { list, descriptors }, fold = false) {
  native.learnShapes(handle, descriptors);
  for (const message of list) {
    let offset = 0;
    while (offset < message.byteLength) {
      offset = native.merge(handle, message, offset, sliceMs).consumed;
      if (fold) maintainAll(handle);
    }
  }
}

/** What an application would do instead: the rows of `first` and after, by prepared statements. */
export function baselineOf(db, shape) {
  const columns = columnsOf(shape);
  const set = columns.slice(1).map((column) => `${column} = excluded.${column}`);
  const upsert = db.prepare(
    `INSERT INTO t VALUES (${columns.map(() => "?")}) ON CONFLICT (id) DO UPDATE SET ${set}`,
  );
  const update = db.prepare(`UPDATE t SET ${shape.updated} = ? WHERE id = ?`);
  return {
    insert: (rows) => inBatches(db, 0, rows.length, (i) => upsert.run(rows[i])),
    update: (rows) => inBatches(db, 0, rows.length, (i) => update.run(8e6 + i, rows[i][0])),
  };
}

/** Every second row has a newer local value for what the source is going to update. */
export function contend(db, handle, shape) {
  db.exec(`UPDATE t SET ${shape.updated} = -1 WHERE rowid % 2 = 0`);
  // What the local update costs is told by another benchmark.
  maintainAll(handle);
}

export function rowsOf(shape, first, count) {
  return Array.from({ length: count }, (_, i) => shape.row(first + i));
}

/** Runs two contenders, the first one first in every second turn; milliseconds of both. */
export function inTurn(turn, works, time) {
  const ms = [];
  for (const index of turn % 2 === 0 ? [0, 1] : [1, 0]) ms[index] = time(works[index]);
  return ms;
}

export function expectRows(db, count) {
  const merged = db.prepare("SELECT count(*) FROM t").pluck().get();
  if (merged !== count) throw new Error(`merged ${String(merged)} rows of ${count}`);
}
