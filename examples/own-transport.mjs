/**
 * A transport of one's own: a replica in the main thread and one in a worker, over a MessagePort.
 *
 *   node examples/own-transport.mjs
 */
import { on } from "node:events";
import { isMainThread, MessageChannel, Worker, workerData } from "node:worker_threads";
import Database from "better-sqlite3";
import { attach } from "mergelite";

/** All that a transport needs: `send`, and `messages` for one reader; `close` is optional. */
const overPort = (port) => ({
  name: "message port",
  send: async (message) => port.postMessage(message),
  messages: (async function* () {
    for await (const [message] of on(port, "message", { close: ["close"] })) yield message;
  })(),
  close: () => port.close(),
});

function openReplica() {
  const db = new Database(":memory:");
  db.exec("CREATE TABLE reading (id TEXT PRIMARY KEY NOT NULL, celsius REAL)");
  return { db, replica: attach(db, { tables: ["reading"] }) };
}

async function mainThread() {
  const { port1, port2 } = new MessageChannel();
  const worker = new Worker(new URL(import.meta.url), { workerData: port2, transferList: [port2] });
  const ended = new Promise((resolve) => worker.once("exit", resolve));
  const { db, replica } = openReplica();
  replica.connect(overPort(port1));

  db.exec("INSERT INTO reading VALUES ('kitchen', 21.5)");
  await replica.drain({ signal: AbortSignal.timeout(10_000) });
  console.log("main: the worker has the kitchen on disk");

  // The worker answers with a row of its own.
  const hasCellar = "SELECT count(*) FROM reading WHERE id = 'cellar'";
  while (db.prepare(hasCellar).pluck().get() === 0) {
    await new Promise((resolve) => replica.once("merge", resolve));
  }
  console.log("main:", JSON.stringify(db.prepare("SELECT * FROM reading ORDER BY id").all()));
  await replica.close();
  db.close();
  await ended; // it may have been the first
}

async function workerThread() {
  const { db, replica } = openReplica();
  const ended = replica.connect(overPort(workerData)).closed;
  await new Promise((resolve) => replica.once("merge", resolve));
  db.exec("INSERT INTO reading SELECT 'cellar', celsius - 8 FROM reading WHERE id = 'kitchen'");
  await ended; // the main thread hangs up when it has seen the row
  await replica.close();
  db.close();
}

await (isMainThread ? mainThread() : workerThread());
