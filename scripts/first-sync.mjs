// `npm run first-sync -- --bytes 1GB [--log] [--rewrites 3]`: builds a database of that size and
// serves it from one process; an empty peer in another gets it over TCP, while a writer and a
// reader go on in both. Reports the time against `cp` of the file and against plain inserts of
// the same rows, the CPU that each took, the longest pause of both event loops, how much of a
// pause was work (on a machine that has other things to do, the rest is waiting for it), and the
// peak memory of both. The log is trimmed first, so that the rows travel as state; with --log
// they are replayed from it. Before, each row is updated --rewrites times. Fails unless both hold
// the same rows.
import { fork, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import Database from "better-sqlite3";
import { attach } from "../dist/index.js";
import { native } from "../dist/native.js";
import { listenTcp, tcpTransport } from "../dist/transport/tcp.js";

const schema = `
  CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, body TEXT, n INTEGER, at INTEGER);
  CREATE TABLE beat (id TEXT PRIMARY KEY NOT NULL, n INTEGER)`;
const insertSql = "INSERT INTO item VALUES (?, ?, ?, ?, ?)";
const rowsAtOnce = 1000;
const unitBytes = { "": 1, KB: 2 ** 10, MB: 2 ** 20, GB: 2 ** 30 };
const megabytes = (bytes) => (bytes / 2 ** 20).toFixed(0);

function readBytes(text) {
  const [, number, unit] = /^(\d+)(KB|MB|GB)?$/i.exec(text) ?? [];
  if (number === undefined) throw new TypeError(`--bytes ${text}: give a number, KB, MB or GB`);
  return Number(number) * unitBytes[(unit ?? "").toUpperCase()];
}

function open(file) {
  const db = new Database(file);
  db.pragma("journal_mode = WAL");
  db.pragma("synchronous = NORMAL");
  return db;
}

function insertRows(db, first) {
  const insert = db.prepare(insertSql);
  db.transaction(() => {
    for (let id = first; id < first + rowsAtOnce; id++) {
      insert.run(id, `item ${id}`, `${id} `.repeat(12).slice(0, 80), id % 1000, 1_700_000_000 + id);
    }
  })();
}

/** Fills a file up to about `bytes`, rows, row clocks and what is kept of the log. */
async function build(file, { bytes, keepLog, rewrites }) {
  const db = open(file);
  db.exec(schema);
  const replica = attach(db, { tables: ["item", "beat"], trim: "never" });
  const handle = Number(db.prepare("SELECT mergelite_handle()").pluck().get());
  const none = new Float64Array(0);
  const used = () => native.stateBytes(handle);
  let rows = 0;
  while (used() < bytes) {
    for (let i = 0; i < 20; i++, rows += rowsAtOnce) insertRows(db, rows + 1);
    if (keepLog) continue;
    const { MAX_SAFE_INTEGER: all } = Number;
    while (native.trim(handle, all, none, none, 1, 1000).more);
  }
  const rewrite = db.prepare("UPDATE item SET n = n + 1 WHERE id BETWEEN ? AND ?");
  for (let i = 0; i < rewrites; i++) {
    for (let id = 1; id < rows; id += rowsAtOnce) rewrite.run(id, id + rowsAtOnce - 1);
  }
  while (!keepLog && native.trim(handle, Number.MAX_SAFE_INTEGER, none, none, 1, 1000).more);
  await replica.close();
  db.pragma("wal_checkpoint(TRUNCATE)");
  db.close();
  return rows;
}

const cpuSeconds = (since) => {
  const { user, system } = process.cpuUsage(since);
  return (user + system) / 1e6;
};

function timed(work) {
  const startedMs = performance.now();
  work();
  return (performance.now() - startedMs) / 1000;
}

function insertPlainly(file, rows) {
  const db = open(file);
  db.exec(schema);
  const before = process.cpuUsage();
  const seconds = timed(() => {
    for (let id = 1; id < rows; id += rowsAtOnce) insertRows(db, id);
    db.pragma("wal_checkpoint(TRUNCATE)");
  });
  db.close();
  return { seconds, cpu: cpuSeconds(before) };
}

/** Writes and reads every 10 ms, and measures by how much the event loop is late. */
function keepBusy(db, name) {
  const beat = db.prepare(
    "INSERT INTO beat VALUES (?, 1) ON CONFLICT (id) DO UPDATE SET n = n + 1",
  );
  const read = db.prepare("SELECT count(*) FROM (SELECT id FROM item ORDER BY id DESC LIMIT 100)");
  const seen = { pauseMs: 0, workMs: 0, writes: 0 };
  const before = process.cpuUsage();
  let lastMs = performance.now();
  let lastCpu = process.cpuUsage();
  const work = setInterval(() => {
    beat.run(name);
    read.get();
    seen.writes++;
  }, 10);
  const watch = setInterval(() => {
    const nowMs = performance.now();
    seen.pauseMs = Math.max(seen.pauseMs, nowMs - lastMs - 1);
    lastMs = nowMs;
    seen.workMs = Math.max(seen.workMs, cpuSeconds(lastCpu) * 1000);
    lastCpu = process.cpuUsage();
  }, 1);
  return () => {
    clearInterval(work);
    clearInterval(watch);
    return { ...seen, cpu: cpuSeconds(before), peakMB: process.resourceUsage().maxRSS / 1024 };
  };
}

async function serve(file) {
  const db = open(file);
  const replica = attach(db, { tables: ["item", "beat"], trim: "never" });
  const listener = await listenTcp({ host: "127.0.0.1", port: 0 }, (transport) =>
    replica.connect(transport),
  );
  const token = replica.token();
  const stop = keepBusy(db, "server");
  process.send({ url: `tcp://127.0.0.1:${listener.port}`, token });
  await once(process, "message");
  process.send(stop());
  await once(process, "message");
  await listener.close();
  await replica.close();
  db.close();
  process.disconnect();
}

async function receive(file, url, token) {
  const db = open(file);
  db.exec(schema);
  const replica = attach(db, { tables: ["item", "beat"], trim: "never" });
  const told = [];
  replica.on("state", ({ percent, rows, bytes, done }) =>
    told.push({ percent, rows, bytes, done }),
  );
  const stop = keepBusy(db, "receiver");
  const startedMs = performance.now();
  replica.connect(tcpTransport(url));
  await replica.wait(token);
  const seconds = (performance.now() - startedMs) / 1000;
  process.send({ seconds, ...stop(), events: told.length, last: told.at(-1) });
  await once(process, "message");
  await replica.close();
  db.close();
  process.disconnect();
}

function start(...args) {
  const child = fork(import.meta.filename, args);
  const next = async () => {
    const [message] = await Promise.race([
      once(child, "message"),
      once(child, "exit").then(() => {
        throw new Error("a process ended early");
      }),
    ]);
    return message;
  };
  return { child, next };
}

function fingerprint(file) {
  const db = new Database(file, { readonly: true });
  const sums = "count(*), sum(id), sum(n), sum(length(name) + length(body)), sum(at)";
  const found = db.prepare(`SELECT ${sums} FROM item`).raw().get();
  db.close();
  return found.join(" ");
}

function reportOf({ rows, fileBytes, keepLog, copySeconds, inserted, got, served }) {
  const { seconds } = got;
  const rate = `${(fileBytes / 2 ** 20 / seconds).toFixed(1)} MiB/s`;
  const rowRate = `${Math.round(rows / seconds).toLocaleString("en")} rows/s`;
  const against = (baseline) =>
    `${baseline.toFixed(1)} s (ratio ${(seconds / baseline).toFixed(2)})`;
  const both = (name, unit, digits = 0) =>
    `sender ${served[name].toFixed(digits)}${unit}, receiver ${got[name].toFixed(digits)}${unit}`;
  return [
    `${megabytes(fileBytes)} MiB, ${rows.toLocaleString("en")} rows, by ${keepLog ? "log" : "state"}`,
    `first sync        ${seconds.toFixed(1)} s, ${rate}, ${rowRate}`,
    `cp of the file    ${against(copySeconds)}`,
    `plain inserts     ${against(inserted.seconds)}`,
    `CPU               plain inserts ${inserted.cpu.toFixed(1)} s, ${both("cpu", " s", 1)}`,
    `longest pause     ${both("pauseMs", " ms")}`,
    `  of it CPU        ${both("workMs", " ms")}`,
    `peak memory       ${both("peakMB", " MiB")}`,
    `writes meanwhile  ${both("writes", "")}`,
    `progress events   ${got.events}`,
    "",
  ].join("\n");
}

async function main(folder, { bytes, keepLog, rewrites }) {
  const [from, to] = [join(folder, "from.db"), join(folder, "to.db")];
  const rows = await build(from, { bytes, keepLog, rewrites });
  const fileBytes = statSync(from).size;
  const copySeconds = timed(() => spawnSync("cp", [from, join(folder, "copy.db")]));
  const inserted = insertPlainly(join(folder, "plain.db"), rows);
  const server = start("serve", from);
  const { url, token } = await server.next();
  const receiver = start("receive", to, url, token);
  const got = await receiver.next();
  server.child.send("stop");
  const served = await server.next();
  for (const { child } of [server, receiver]) {
    child.send("end");
    await once(child, "exit");
  }
  if (fingerprint(from) !== fingerprint(to)) throw new Error("the rows differ");
  process.stdout.write(reportOf({ rows, fileBytes, keepLog, copySeconds, inserted, got, served }));
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    bytes: { type: "string", default: "1GB" },
    log: { type: "boolean", default: false },
    rewrites: { type: "string", default: "0" },
  },
});
const [role, file, url, token] = positionals;
if (role === "serve") await serve(file);
else if (role === "receive") await receive(file, url, token);
else {
  const folder = mkdtempSync(join(tmpdir(), "mergelite-first-sync-"));
  try {
    const rewrites = Number(values.rewrites);
    await main(folder, { bytes: readBytes(values.bytes), keepLog: values.log, rewrites });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
