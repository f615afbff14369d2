// What shipping costs who commits: one plain and one shipped file, written in turn by one process,
// while the shipper uploads to a folder. Reports the time of a commit, the CPU of the thread that
// commits, how late the event loop is, and the bytes that are uploaded for what changed.
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { ship } from "../dist/ship/index.js";
import { fileStorage } from "../dist/storage/file.js";
import { inFolder, median, open, quantile, shapes, table } from "./lib.mjs";

const workloads = [
  { title: "1 row, NORMAL", synchronous: "NORMAL", rows: 1, pauses: false },
  { title: "1 row, NORMAL, 1 ms apart", synchronous: "NORMAL", rows: 1, pauses: true },
  { title: "1 row, FULL", synchronous: "FULL", rows: 1, pauses: false },
  { title: "100 rows, NORMAL", synchronous: "NORMAL", rows: 100, pauses: false },
  { title: "100 rows, NORMAL, 1 ms apart", synchronous: "NORMAL", rows: 100, pauses: true },
];

const shape = shapes.integer;

/** Of the main thread, in ms; only Linux tells. */
function threadCpuMs() {
  try {
    const [ns] = readFileSync(`/proc/self/task/${process.pid}/schedstat`, "latin1").split(" ");
    return Number(ns) / 1e6;
  } catch {
    return Number.NaN;
  }
}

function contender(folder, name, { synchronous, rows }) {
  const db = open(folder, name, shape);
  db.pragma(`synchronous = ${synchronous}`);
  const insert = db.prepare("INSERT INTO t VALUES (?, ?, ?, ?, ?)");
  let next = 0;
  const writeRow = () => insert.run(...shape.row(next++));
  const writeRows = db.transaction(() => {
    for (let i = 0; i < rows; i++) writeRow();
  });
  return { db, commit: rows === 1 ? writeRow : writeRows };
}

/** A timer or the next turn of the event loop stands for the requests between two commits. */
const nextTurn = (pauses) =>
  new Promise((resolve) => (pauses ? setTimeout(resolve, 1) : setImmediate(resolve)));

async function oneTurn({ commit }, { pauses }, turnMs) {
  const times = [];
  let lateMs = 0;
  let dueMs = performance.now() + 1;
  const watch = setInterval(() => {
    lateMs = Math.max(lateMs, performance.now() - dueMs);
    dueMs = performance.now() + 1;
  }, 1);
  const cpuMs = threadCpuMs();
  const endMs = performance.now() + turnMs;
  while (performance.now() < endMs) {
    const startMs = performance.now();
    commit();
    times.push((performance.now() - startMs) * 1000);
    await nextTurn(pauses);
  }
  clearInterval(watch);
  return {
    median: median(times),
    p99: quantile(times, 0.99),
    mean: times.reduce((sum, time) => sum + time, 0) / times.length,
    cpu: ((threadCpuMs() - cpuMs) / times.length) * 1000,
    lateMs,
  };
}

/** What a commit writes into the WAL, and its part of what 200 of them upload as one file. */
async function bytesOf(folder, workload) {
  const commits = 200;
  const { db, commit } = contender(folder, "bytes.db", workload);
  const options = { checkpointBytes: 2 ** 27, intervalMs: 3_600_000 };
  const shipper = ship(db, fileStorage(join(folder, "bytes")), options);
  const size = () => statSync(join(folder, "bytes.db-wal")).size;
  for (let i = 0; i < commits; i++) commit();
  await shipper.flush();
  const before = { wal: size(), uploaded: shipper.metrics().uploadedBytes };
  for (let i = 0; i < commits; i++) commit();
  await shipper.flush();
  const wal = size() - before.wal;
  const uploaded = shipper.metrics().uploadedBytes - before.uploaded;
  await shipper.close();
  db.close();
  return { wal: wal / commits, uploaded: uploaded / commits };
}

async function compareWith(folder, workload, { rounds, turnMs, options }) {
  const plain = contender(folder, "plain.db", workload);
  const shipped = contender(folder, "shipped.db", workload);
  const shipper = ship(shipped.db, fileStorage(join(folder, "storage")), options);
  await shipper.flush();
  const turns = [];
  for (let round = 0; round < rounds; round++) {
    const turn = {};
    for (const name of round % 2 === 0 ? ["plain", "shipped"] : ["shipped", "plain"]) {
      turn[name] = await oneTurn(name === "plain" ? plain : shipped, workload, turnMs);
      // What is left of the turn is not the next one's.
      await shipper.flush();
    }
    turns.push(turn);
  }
  const { rebases, walBytesPeak } = shipper.metrics();
  await shipper.close();
  for (const { db } of [plain, shipped]) db.close();
  const of = (name, figure) => median(turns.map((turn) => turn[name][figure]));
  const ratio = (figure) => median(turns.map((turn) => turn.shipped[figure] / turn.plain[figure]));
  const figures = ["median", "p99", "mean", "cpu"];
  return {
    plain: of("plain", "median"),
    ratios: Object.fromEntries(figures.map((figure) => [figure, ratio(figure)])),
    lateMs: { plain: of("plain", "lateMs"), shipped: of("shipped", "lateMs") },
    walBytesPeak,
    // The first one is how shipping begins.
    rebases: rebases - 1,
  };
}

export async function shipBench({ rounds = 7, turnMs = 3000, options = {} } = {}) {
  const results = {};
  for (const workload of workloads) {
    results[workload.title] = await inFolder(async (folder) => ({
      ...(await compareWith(folder, workload, { rounds, turnMs, options })),
      bytes: await bytesOf(folder, workload),
    }));
  }
  return results;
}

export function shipText(results) {
  const head = [
    "commits of",
    "plain µs",
    "median",
    "p99",
    "mean",
    "thread's CPU",
    "loop late ms, plain",
    "shipped",
    "WAL bytes",
    "uploaded",
    "longest WAL MiB",
    "rebases",
  ];
  const lines = Object.entries(results).map(([title, result]) => {
    const { plain, ratios, lateMs, bytes, walBytesPeak, rebases } = result;
    const { median, p99, mean, cpu } = ratios;
    return [
      title,
      plain.toFixed(1),
      ...[median, p99, mean, cpu].map((ratio) => ratio.toFixed(2)),
      lateMs.plain.toFixed(1),
      lateMs.shipped.toFixed(1),
      Math.round(bytes.wal),
      Math.round(bytes.uploaded),
      (walBytesPeak / 2 ** 20).toFixed(1),
      rebases,
    ];
  });
  return table("Commits while the file is shipped: ratios to a plain file", head, lines);
}

if (import.meta.filename === process.argv[1]) process.stdout.write(shipText(await shipBench()));
