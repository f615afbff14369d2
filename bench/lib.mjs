// Shared by the benchmarks: databases side by side, rounds that take turns, medians of ratios.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { Bench } from "tinybench";

export const shapes = {
  integer: {
    title: "INTEGER key",
    columns: ["id INTEGER PRIMARY KEY", "a TEXT", "b TEXT", "c INTEGER", "d REAL"],
    key: (i) => i + 1,
    row: (i) => [i + 1, text(i), text(i + 7), i * 37, i * 0.5 + 0.25],
    updated: "c",
  },
  uuid: {
    title: "UUID text key",
    columns: ["id TEXT PRIMARY KEY NOT NULL", "a TEXT", "b TEXT", "c INTEGER", "d REAL"],
    key: uuid,
    row: (i) => [uuid(i), text(i), text(i + 7), i * 37, i * 0.5 + 0.25],
    updated: "c",
  },
  wide: {
    title: "20 columns",
    columns: [
      "id INTEGER PRIMARY KEY",
      ...Array.from({ length: 19 }, (_, k) => `c${k} ${["TEXT", "INTEGER", "REAL"][k % 3]}`),
    ],
    key: (i) => i + 1,
    row: (i) => [
      i + 1,
      ...Array.from({ length: 19 }, (_, k) =>
        k % 3 === 0 ? text(i + k) : k % 3 === 1 ? i * 37 + k : i * 0.5 + k + 0.25,
      ),
    ],
    updated: "c4",
  },
};

function text(i) {
  return `text-value-${String((i * 2654435761) % 4294967296).padStart(9, "0")}`;
}

/** Well spread, and the same in every run. */
function uuid(i) {
  let h = (i + 1) * 0x9e3779b1;
  const next = () => {
    h = Math.imul(h ^ (h >>> 15), 0x85ebca6b);
    h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35) + i;
    h ^= h >>> 16;
    return (h >>> 0).toString(16).padStart(8, "0");
  };
  const s = next() + next() + next() + next();
  return `${s.slice(0, 8)}-${s.slice(8, 12)}-4${s.slice(13, 16)}-a${s.slice(17, 20)}-${s.slice(20)}`;
}

export function open(folder, name, shape) {
  const db = new Database(join(folder, name));
  db.pragma("journal_mode = WAL");
  db.pragma("synchronous = NORMAL");
  db.exec(`CREATE TABLE t (${shape.columns.join(", ")})`);
  return db;
}

export function columnsOf(shape) {
  return shape.columns.map((column) => column.split(" ")[0]);
}

/** Runs `work` with a folder that is removed after it; the work may be asynchronous. */
export function inFolder(work) {
  const folder = mkdtempSync(join(process.env.BENCH_DIR ?? tmpdir(), "mergelite-bench-"));
  const remove = () => rmSync(folder, { recursive: true, force: true });
  let result;
  try {
    result = work(folder);
  } catch (error) {
    remove();
    throw error;
  }
  if (result instanceof Promise) return result.finally(remove);
  remove();
  return result;
}

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

export function quantile(values, q) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(Math.floor(q * sorted.length), sorted.length - 1)];
}

/** Milliseconds that one run of `work` takes: it uses up its rows, so it cannot be repeated. */
export function time(work) {
  const bench = new Bench({ iterations: 1, time: 0, warmup: false, throws: true });
  // Said, not found out: finding out would run it.
  bench.add("work", work, { async: false });
  const [task] = bench.runSync();
  return task.result.latency.mean;
}

/**
 * Runs the contenders in turn, round by round and in rotated order, so that a slow moment of the
 * machine hits all of them; gives the median of the per-round ratios to the first contender.
 */
export function compare(contenders, rounds) {
  const times = contenders.map(() => []);
  for (let round = 0; round < rounds; round++) {
    for (let turn = 0; turn < contenders.length; turn++) {
      const index = (turn + round) % contenders.length;
      times[index].push(contenders[index](round));
    }
  }
  return times.map((own) => ({
    ms: median(own),
    ratio: median(own.map((ms, round) => ms / times[0][round])),
  }));
}

export function table(title, head, rows) {
  const cells = [head, ...rows].map((row) => row.map(String));
  const widths = head.map((_, i) => Math.max(...cells.map((row) => row[i].length)));
  const line = (row) => `| ${row.map((cell, i) => cell.padEnd(widths[i])).join(" | ")} |`;
  const rule = `|${widths.map((width) => "-".repeat(width + 2)).join("|")}|`;
  return `\n${title}\n\n${line(cells[0])}\n${rule}\n${cells.slice(1).map(line).join("\n")}\n`;
}

/** A table of ratios: `results[workload][shape]`. */
export function ratioTable(title, results) {
  const names = Object.keys(Object.values(results)[0]);
  return table(
    title,
    ["workload", ...names.map((name) => shapes[name].title)],
    Object.entries(results).map(([workload, row]) => [
      workload,
      ...names.map((name) => row[name].toFixed(2)),
    ]),
  );
}
