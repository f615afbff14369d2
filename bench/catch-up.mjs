// A peer that was away: how long a million changes take to come, against a copy of the file and
// against plain inserts of the same rows; and what twenty idle links cost.
import { fork } from "node:child_process";
import { copyFileSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { attach } from "../dist/index.js";
import { listenWebSocket, webSocketTransport } from "../dist/transport/websocket.js";
import { inFolder, table } from "./lib.mjs";

const schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b TEXT, c INTEGER, d REAL)";

function openDatabase(file) {
  const db = new Database(file);
  db.pragma("journal_mode = WAL");
  db.pragma("synchronous = NORMAL");
  db.exec(schema);
  return db;
}

function openReplica(file) {
  const db = openDatabase(file);
  return { db, replica: attach(db, { tables: ["t"] }) };
}

/** Milliseconds to insert the rows. */
function fill(db, rows, rowsPerCommit) {
  const insert = db.prepare("INSERT INTO t VALUES (?, ?, ?, ?, ?)");
  const batch = db.transaction((first) => {
    for (let i = first; i < first + rowsPerCommit; i++) {
      insert.run(i, `text-value-${i}`, "another text value", i * 37, i * 0.5);
    }
  });
  const startMs = performance.now();
  for (let first = 1; first <= rows; first += rowsPerCommit) batch(first);
  return performance.now() - startMs;
}

/** The late peer: from connecting until the token's write shows. */
async function latePeer(file, port, token) {
  const { db, replica } = openReplica(file);
  const startMs = performance.now();
  replica.connect(webSocketTransport(`ws://127.0.0.1:${port}`));
  await replica.wait(token);
  const ms = performance.now() - startMs;
  const rows = db.prepare("SELECT count(*) FROM t").pluck().get();
  process.send({ ms, rows });
  await replica.close();
  db.close();
  process.disconnect();
}

async function catchUp(folder, rows, rowsPerCommit) {
  const file = join(folder, `writer-${rowsPerCommit}.db`);
  const plain = openDatabase(join(folder, `plain-${rowsPerCommit}.db`));
  const plainMs = fill(plain, rows, rowsPerCommit);
  plain.close();
  const { db, replica } = openReplica(file);
  fill(db, rows, rowsPerCommit);
  db.pragma("wal_checkpoint(TRUNCATE)");
  const copyMs = measureCopy(file);
  const server = await listenWebSocket({ host: "127.0.0.1", port: 0 }, (transport) =>
    replica.connect(transport),
  );
  const late = join(folder, `late-${rowsPerCommit}.db`);
  const arguments_ = ["late", late, String(server.port), replica.token()];
  const peer = fork(import.meta.filename, arguments_);
  const result = await new Promise((resolve) => peer.once("message", resolve));
  await new Promise((resolve) => peer.once("exit", resolve));
  await server.close();
  await replica.close();
  db.close();
  if (result.rows !== rows) throw new Error(`${result.rows} of ${rows} rows arrived`);
  return { rowsPerCommit, ms: result.ms, plainMs, copyMs };
}

function measureCopy(file) {
  const copy = `${file}.copy`;
  const startMs = performance.now();
  copyFileSync(file, copy);
  return performance.now() - startMs;
}

/** Twenty peers in another process that have nothing to say. */
async function quietPeers(folder, port, count) {
  const peers = Array.from({ length: count }, (_, i) => openReplica(join(folder, `quiet-${i}.db`)));
  const live = peers.map(
    ({ replica }) => new Promise((resolve) => replica.once("link", () => resolve())),
  );
  for (const { replica } of peers) replica.connect(webSocketTransport(`ws://127.0.0.1:${port}`));
  await Promise.all(live);
  process.send("ready");
  await new Promise((resolve) => process.once("disconnect", resolve));
  for (const { replica } of peers) await replica.close();
}

async function idle(folder, links, seconds) {
  const { db, replica } = openReplica(join(folder, "hub.db"));
  const server = await listenWebSocket({ host: "127.0.0.1", port: 0 }, (transport) =>
    replica.connect(transport),
  );
  fill(db, 100, 100);
  const peer = fork(import.meta.filename, ["quiet", folder, String(server.port), String(links)]);
  await new Promise((resolve) => peer.once("message", resolve));
  await replica.synced();
  await new Promise((resolve) => setTimeout(resolve, 2_000));
  const bytes = () => replica.metrics().sentBytes + replica.metrics().receivedBytes;
  const before = { cpu: process.cpuUsage(), bytes: bytes() };
  await new Promise((resolve) => setTimeout(resolve, seconds * 1_000));
  const { user, system } = process.cpuUsage(before.cpu);
  const result = { links, seconds, cpuMs: (user + system) / 1_000, bytes: bytes() - before.bytes };
  peer.disconnect();
  await new Promise((resolve) => peer.once("exit", resolve));
  await server.close();
  await replica.close();
  db.close();
  return result;
}

export function catchUpBench({ rows = 1_000_000, links = 20, seconds = 60 } = {}) {
  return inFolder(async (folder) => {
    const caughtUp = [];
    for (const size of [1_000, 10, 1]) caughtUp.push(await catchUp(folder, rows, size));
    return { rows, caughtUp, idle: await idle(folder, links, seconds) };
  });
}

export function catchUpText({ rows, caughtUp, idle: { links, seconds, cpuMs, bytes } }) {
  const title = `Catching up with ${rows.toLocaleString("en")} rows`;
  const head = ["rows a commit", "seconds", "rows a second", "to plain inserts", "to a file copy"];
  const lines = caughtUp.map(({ rowsPerCommit, ms, plainMs, copyMs }) => [
    rowsPerCommit.toLocaleString("en"),
    (ms / 1_000).toFixed(1),
    Math.round((rows / ms) * 1_000).toLocaleString("en"),
    (ms / plainMs).toFixed(2),
    (ms / copyMs).toFixed(1),
  ]);
  return [
    table(title, head, lines),
    `${links} idle links for ${seconds} s: ${Math.round(cpuMs)} ms of CPU, ${bytes} bytes`,
    "",
  ].join("\n");
}

if (import.meta.filename === process.argv[1]) {
  const [role, path, port, rest] = process.argv.slice(2);
  if (role === "late") await latePeer(path, Number(port), rest);
  else if (role === "quiet") await quietPeers(path, Number(port), Number(rest));
  else process.stdout.write(catchUpText(await catchUpBench()));
}
