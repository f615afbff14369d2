// What shipping costs who commits. A plain file, another plain one (what differs between these is
// noise), a file that is shipped into memory (the library alone) and one that is shipped to a
// folder on the same disk are written by one process, a commit to each in turn. Then each has the
// process for itself for a while: that gives the CPU of the thread that commits, and how late the
// event loop is. Last, the same for files that `mergelite ship` ships, a process beside this one.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { ship } from "../dist/ship/index.js";
import { fileStorage } from "../dist/storage/file.js";
import { inFolder, median, open, quantile, shapes, table } from "./lib.mjs";
import { memoryStorage } from "./memory-storage.mjs";

const workloads = [
  { title: "1 row, NORMAL", synchronous: "NORMAL", rows: 1, pauses: false },
  { title: "1 row, NORMAL, 1 ms apart", synchronous: "NORMAL", rows: 1, pauses: true },
  { title: "1 row, FULL", synchronous: "FULL", rows: 1, pauses: false },
  { title: "100 rows, NORMAL", synchronous: "NORMAL", rows: 100, pauses: false },
  { title: "100 rows, NORMAL, 1 ms apart", synchronous: "NORMAL", rows: 100, pauses: true },
];

const storages = {
  plain: () => undefined,
  again: () => undefined,
  memory: () => memoryStorage(),
  folder: (folder) => fileStorage(join(folder, "storage")),
};
const shipped = ["memory", "folder"];
/** Commits that make a WAL longer cost more than those that write over it; no WAL needs more. */
const warmBytes = 48 * 2 ** 20;
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

function contender(folder, name, { rows }) {
  const db = open(folder, `${name}.db`, shape);
  const insert = db.prepare("INSERT INTO t VALUES (?, ?, ?, ?, ?)");
  let next = 0;
  const writeRow = () => insert.run(...shape.row(next++));
  const writeRows = db.transaction(() => {
    for (let i = 0; i < rows; i++) writeRow();
  });
  return { name, db, commit: rows === 1 ? writeRow : writeRows };
}

/** A timer or the next turn of the event loop stands for the requests between two commits. */
const nextTurn = (pauses) =>
  new Promise((resolve) => (pauses ? setTimeout(resolve, 1) : setImmediate(resolve)));

async function warm(contenders, { rows }, bytes) {
  const commits = bytes / (rows === 1 ? 4_244 : 18_870);
  for (let i = 0; i < commits; i++) {
    for (const { commit } of contenders) commit();
    // Some 4 MB a second: shippers must keep pace, or their WALs become longer than they ever are.
    if (i % 100 === 0) await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

/** One commit to each, over and over, in an order by chance: who comes first meets cold caches. */
async function inTurn(contenders, { pauses }, ms) {
  const times = new Map(contenders.map(({ name }) => [name, []]));
  const endMs = performance.now() + ms;
  const order = [...contenders];
  while (performance.now() < endMs) {
    for (let i = order.length - 1; i > 0; i--) {
      const k = Math.floor(Math.random() * (i + 1));
      [order[i], order[k]] = [order[k], order[i]];
    }
    for (const { name, commit } of order) {
      const startMs = performance.now();
      commit();
      times.get(name).push((performance.now() - startMs) * 1000);
    }
    await nextTurn(pauses);
  }
  return new Map([...times].map(([name, own]) => [name, figuresOf(own)]));
}

const figuresOf = (times) => ({
  median: median(times),
  p99: quantile(times, 0.99),
  mean: times.reduce((sum, time) => sum + time, 0) / times.length,
});

async function alone({ commit }, { pauses }, ms) {
  let commits = 0;
  let lateMs = 0;
  let dueMs = performance.now() + 1;
  const watch = setInterval(() => {
    lateMs = Math.max(lateMs, performance.now() - dueMs);
    dueMs = performance.now() + 1;
  }, 1);
  const cpuMs = threadCpuMs();
  const endMs = performance.now() + ms;
  for (; performance.now() < endMs; commits++) {
    commit();
    await nextTurn(pauses);
  }
  clearInterval(watch);
  return { cpu: ((threadCpuMs() - cpuMs) / commits) * 1000, lateMs };
}

async function eachAlone(contenders, workload, { rounds, turnMs, settle }) {
  const turns = [];
  for (let round = 0; round < rounds; round++) {
    const turn = {};
    for (let i = 0; i < contenders.length; i++) {
      const each = contenders[(i + round) % contenders.length];
      turn[each.name] = await alone(each, workload, turnMs);
      // What is left of the turn is not the next one's.
      await settle();
    }
    turns.push(turn);
  }
  return {
    cpu: (name) => median(turns.map((turn) => turn[name].cpu / turn.plain.cpu)),
    lateMs: (name) => median(turns.map((turn) => turn[name].lateMs)),
  };
}

async function compareWith(folder, workload, { rounds, turnMs, pairMs, bytes, options }) {
  const contenders = Object.keys(storages).map((name) => contender(folder, name, workload));
  const shippers = new Map();
  for (const { name, db } of contenders) {
    const storage = storages[name](folder);
    if (storage !== undefined) shippers.set(name, ship(db, storage, options));
  }
  const settle = () => Promise.all([...shippers.values()].map((shipper) => shipper.flush()));
  await settle();
  await warm(contenders, workload, bytes);
  for (const { db } of contenders) db.pragma(`synchronous = ${workload.synchronous}`);
  await settle();
  const paired = await inTurn(contenders, workload, pairMs);
  await settle();
  const own = await eachAlone(contenders, workload, { rounds, turnMs, settle });
  const { walBytesPeak } = shippers.get("folder").metrics();
  for (const shipper of shippers.values()) await shipper.close();
  for (const { db } of contenders) db.close();
  const plain = paired.get("plain");
  const ratiosOf = (name) => {
    const { median, p99, mean } = paired.get(name);
    const ratios = { median: median / plain.median, p99: p99 / plain.p99, mean: mean / plain.mean };
    return { ...ratios, cpu: own.cpu(name), lateMs: own.lateMs(name) };
  };
  const names = Object.keys(storages);
  return {
    plain: plain.median,
    ratios: Object.fromEntries(names.map((name) => [name, ratiosOf(name)])),
    walBytesPeak,
  };
}

/** Another process that ships, from when everything is in the storage. */
async function shipBeside(folder, name) {
  const command = fileURLToPath(new URL("../dist/cli/main.js", import.meta.url));
  const place = pathToFileURL(join(folder, `${name}-storage`)).href;
  const args = [command, "ship", join(folder, `${name}.db`), place, "--no-keep"];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  await once(child.stdout, "data");
  child.stdout.resume();
  return child;
}

/**
 * A process that ships keeps the WAL from beginning anew, so SQLite's own checkpoint comes with
 * each commit behind the 1,000th page, unless it is told to wait.
 */
async function compareBeside(folder, workload, { pairMs, bytes }) {
  const names = ["plain", "again", "raised", "default"];
  const contenders = names.map((name) => contender(folder, `beside-${name}`, workload));
  const [, , raised, unaltered] = contenders;
  raised.db.pragma("wal_autocheckpoint = 16000");
  const children = [];
  for (const { name } of [raised, unaltered]) children.push(await shipBeside(folder, name));
  await warm(contenders, workload, bytes);
  for (const { db } of contenders) db.pragma(`synchronous = ${workload.synchronous}`);
  const paired = await inTurn(contenders, workload, pairMs);
  for (const child of children) {
    child.kill("SIGTERM");
    await once(child, "exit");
  }
  for (const { db } of contenders) db.close();
  const plain = paired.get("beside-plain");
  const ratios = names.slice(1).map((name) => {
    const own = paired.get(`beside-${name}`);
    const ratio = (figure) => own[figure] / plain[figure];
    return [name, { median: ratio("median"), p99: ratio("p99"), mean: ratio("mean") }];
  });
  return { plain: plain.median, ratios: Object.fromEntries(ratios) };
}

/** What a commit writes into the WAL, and its part of what 200 of them upload as one file. */
async function bytesOf(folder, workload) {
  const commits = 200;
  const { db, commit } = contender(folder, "bytes", workload);
  const options = { checkpointBytes: 2 ** 27, intervalMs: 3_600_000 };
  const shipper = ship(db, memoryStorage(), options);
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

export async function shipBench(settings = {}) {
  const defaults = { rounds: 5, turnMs: 1500, pairMs: 20_000, bytes: warmBytes };
  // Keeping the backup is work of its own: `options` may ask for it.
  const all = { ...defaults, ...settings, options: { keep: false, ...settings.options } };
  const results = {};
  for (const workload of workloads) {
    results[workload.title] = await inFolder(async (folder) => ({
      ...(await compareWith(folder, workload, all)),
      bytes: await bytesOf(folder, workload),
      beside: await compareBeside(folder, workload, all),
    }));
  }
  return results;
}

export function shipText(results) {
  const figures = ["median", "p99", "mean", "cpu"];
  const head = ["commits of", "plain µs", "plain again: median", "CPU"];
  for (const name of shipped) head.push(`${name}: median`, "p99", "mean", "CPU");
  const costs = Object.entries(results).map(([title, { plain, ratios }]) => [
    title,
    plain.toFixed(1),
    ...["median", "cpu"].map((figure) => ratios.again[figure].toFixed(2)),
    ...shipped.flatMap((name) => figures.map((figure) => ratios[name][figure].toFixed(2))),
  ]);
  const other = Object.entries(results).map(([title, { ratios, bytes, walBytesPeak }]) => [
    title,
    ...["plain", ...shipped].map((name) => ratios[name].lateMs.toFixed(1)),
    Math.round(bytes.wal),
    Math.round(bytes.uploaded),
    (walBytesPeak / 2 ** 20).toFixed(1),
  ]);
  const otherHead = ["commits of", "loop late ms: plain", "memory", "folder"];
  otherHead.push("WAL bytes", "uploaded", "longest WAL MiB");
  return [
    table("Commits while the file is shipped: ratios to a plain file", head, costs),
    table("The event loop, and what a commit writes and uploads", otherHead, other),
    besideText(results),
  ].join("");
}

function besideText(results) {
  const head = ["commits of", "plain µs", "plain again: median"];
  const names = { raised: "wal_autocheckpoint = 16000", default: "1000, as SQLite has it" };
  for (const title of Object.values(names)) head.push(`${title}: median`, "p99", "mean");
  const rows = Object.entries(results).map(([title, { beside }]) => [
    title,
    beside.plain.toFixed(1),
    beside.ratios.again.median.toFixed(2),
    ...Object.keys(names).flatMap((name) =>
      ["median", "p99", "mean"].map((figure) => beside.ratios[name][figure].toFixed(2)),
    ),
  ]);
  return table("Commits while another process ships the file", head, rows);
}

if (import.meta.filename === process.argv[1]) process.stdout.write(shipText(await shipBench()));
