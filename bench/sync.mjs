// From a commit on one peer to its rows on another, over a WebSocket on loopback: two processes, as
// two servers would be. Reports the latency idle and under load, the rate, and bytes on the wire.
import { fork } from "node:child_process";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import Database from "better-sqlite3";
import { attach } from "../dist/index.js";
import { listenWebSocket, webSocketTransport } from "../dist/transport/websocket.js";
import { inFolder, quantile } from "./lib.mjs";

const schema =
  "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b TEXT, c INTEGER, d REAL);" +
  "CREATE TABLE echo (id INTEGER PRIMARY KEY, at REAL)";

function openReplica(file) {
  const db = new Database(file);
  db.pragma("journal_mode = WAL");
  db.pragma("synchronous = NORMAL");
  db.exec(schema);
  return { db, replica: attach(db, { tables: ["t", "echo"] }) };
}

/** The other peer: reports when rows became visible, on the clock both processes share. */
async function child(file, port) {
  const { db, replica } = openReplica(file);
  replica.connect(webSocketTransport(`ws://127.0.0.1:${port}`));
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  process.on("message", async ({ token, resetDelay }) => {
    if (resetDelay) delay.reset();
    await replica.wait(token);
    process.send({ atNs: String(process.hrtime.bigint()), pauseMs: delay.max / 1e6 });
  });
  process.on("disconnect", async () => {
    await replica.close();
    db.close();
    process.exit(0);
  });
  replica.once("link", () => process.send({ ready: true }));
}

async function parent(folder, { latencies, changes }) {
  const { db, replica } = openReplica(join(folder, "writer.db"));
  const server = await listenWebSocket({ host: "127.0.0.1", port: 0 }, (transport) =>
    replica.connect(transport),
  );
  const peer = fork(import.meta.filename, [join(folder, "reader.db"), String(server.port)]);
  await new Promise((resolve) => peer.once("message", resolve));
  const visible = async (token, resetDelay = false) => {
    const answer = new Promise((resolve) => peer.once("message", resolve));
    peer.send({ token, resetDelay });
    return answer;
  };
  const insert = db.prepare("INSERT INTO t VALUES (?, ?, ?, ?, ?)");
  const write = (i) => insert.run(i, `text-value-${i}`, "another text value", i * 37, i * 0.5);
  const result = {};

  result.idle = await measure(latencies, async (i) => {
    await new Promise((resolve) => setTimeout(resolve, 1));
    return timeToVisible(() => write(i), replica, visible);
  });
  let stop = false;
  let row = 1_000_000;
  const load = (async () => {
    while (!stop) {
      for (let i = 0; i < 20; i++) write(row++);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  })();
  result.loaded = await measure(latencies, (i) =>
    timeToVisible(() => write(500_000 + i), replica, visible),
  );
  stop = true;
  await load;

  await visible(replica.token(), true);
  const before = replica.metrics().sentBytes;
  const batch = db.transaction((first) => {
    for (let i = first; i < first + 1000; i++) write(i);
  });
  const startNs = process.hrtime.bigint();
  for (let i = 0; i < changes; i += 1000) {
    batch(10_000_000 + i);
    await new Promise((resolve) => setImmediate(resolve));
  }
  const { atNs, pauseMs } = await visible(replica.token());
  result.pauseMs = pauseMs;
  result.changesPerSecond = Math.round((changes / Number(BigInt(atNs) - startNs)) * 1e9);
  result.bytesPerRow = (replica.metrics().sentBytes - before) / changes;

  peer.disconnect();
  await new Promise((resolve) => peer.once("exit", resolve));
  await server.close();
  await replica.close();
  db.close();
  return result;
}

async function timeToVisible(work, replica, visible) {
  work();
  const committedNs = process.hrtime.bigint();
  const { atNs } = await visible(replica.token());
  return Number(BigInt(atNs) - committedNs) / 1e6;
}

async function measure(count, once) {
  const ms = [];
  for (let i = 0; i < count; i++) ms.push(await once(i + 1));
  return { median: quantile(ms, 0.5), p99: quantile(ms, 0.99) };
}

export function syncBench({ latencies = 1000, changes = 200_000 } = {}) {
  return inFolder((folder) => parent(folder, { latencies, changes }));
}

export function syncText({ idle, loaded, changesPerSecond, bytesPerRow, pauseMs }) {
  const latency = ({ median, p99 }) => `median ${median.toFixed(2)} ms, p99 ${p99.toFixed(2)} ms`;
  return [
    "\nSync: two processes, WebSocket on loopback\n",
    `commit to visible, idle:        ${latency(idle)}`,
    `commit to visible, under load:  ${latency(loaded)}`,
    `rows per second, 1,000 a transaction: ${changesPerSecond.toLocaleString("en")}`,
    `longest pause of the receiver's event loop meanwhile: ${pauseMs.toFixed(1)} ms`,
    `bytes on the wire a row (5 columns):  ${bytesPerRow.toFixed(1)}`,
    "",
  ].join("\n");
}

if (import.meta.filename === process.argv[1]) {
  if (process.send === undefined) process.stdout.write(syncText(await syncBench()));
  else await child(process.argv[2], Number(process.argv[3]));
}
