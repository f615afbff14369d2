// `node scripts/large-transaction.mjs [rows]`: one transaction of a million rows, captured in parts
// and merged whole on a second file. Reports the peak memory of each side, and fails unless the
// rows are equal and a reader of the second file saw none or all of them.
import { fork } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { extensionPath, native } from "../dist/native.js";

const schema = "CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, a, b TEXT)";
const [role, folder, rowsText = "1000000"] = process.argv.slice(2);
const megabytes = (bytes) => `${(bytes / 2 ** 20).toFixed(0)} MiB`;

function open(name) {
  const db = new Database(join(folder, name));
  db.exec(`PRAGMA journal_mode = WAL; ${schema}`);
  db.loadExtension(extensionPath);
  const handle = Number(db.prepare("SELECT mergelite_handle()").pluck().get());
  const { peerId } = native.open(handle, "", "", () => {});
  native.replicate(handle, "t");
  return { db, handle, peerId };
}

function told(what, startedMs, rssBefore) {
  // In KiB, the highest of the process so far.
  const peak = process.resourceUsage().maxRSS * 1024;
  process.send({
    what,
    seconds: ((performance.now() - startedMs) / 1000).toFixed(1),
    before: megabytes(rssBefore),
    peak: megabytes(peak),
  });
}

function write() {
  const { db } = open("here.db");
  const insert = db.prepare("INSERT INTO t VALUES (?, ?, ?)");
  const rss = process.memoryUsage.rss();
  const startedMs = performance.now();
  db.exec("BEGIN");
  for (let id = 1; id <= Number(rowsText); id++) insert.run(id, id * 3, `row ${id}`);
  db.exec("COMMIT");
  told("written", startedMs, rss);
  db.close();
}

function merge() {
  const from = open("here.db");
  const to = open("there.db");
  const reader = new Database(join(folder, "there.db"), { readonly: true });
  const seen = reader.prepare("SELECT count(*) FROM t").pluck();
  const counts = new Set();
  native.learnShapes(to.handle, native.shapes(from.handle, 0).descriptors);
  const rss = process.memoryUsage.rss();
  const startedMs = performance.now();
  for (let sequence = 1; ; sequence++) {
    const records = native.readLog(from.handle, from.peerId, sequence, sequence, 0);
    if (records.byteLength === 0) break;
    for (let offset = 0, more = true; more; ) {
      const result = native.merge(to.handle, records, offset, 60_000);
      if (result.consumed === offset && result.more) native.maintain(to.handle, 60_000);
      ({ consumed: offset, more } = result);
    }
    counts.add(seen.get());
  }
  told("merged", startedMs, rss);
  const sums = "SELECT count(*), sum(a), sum(length(b)) FROM t";
  const [here, there] = [from, to].map(({ db }) => String(db.prepare(sums).raw().get()));
  const whole = [...counts].every((count) => count === 0 || count === Number(rowsText));
  if (here !== there || !whole)
    throw new Error(`${here} became ${there}; seen ${[...counts].join(", ")}`);
  for (const { db } of [from, to, { db: reader }]) db.close();
}

async function inProcess(what, path) {
  const child = fork(process.argv[1], [what, path, role ?? rowsText]);
  child.on("message", (message) => process.stdout.write(`${JSON.stringify(message)}\n`));
  const [status] = await once(child, "exit");
  if (status !== 0) throw new Error(`${what} ended with ${status}`);
}

if (role === "write") write();
else if (role === "merge") merge();
else {
  const path = mkdtempSync(join(tmpdir(), "mergelite-large-"));
  try {
    await inProcess("write", path);
    process.stdout.write(`file: ${megabytes(statSync(join(path, "here.db")).size)}\n`);
    await inProcess("merge", path);
  } finally {
    rmSync(path, { recursive: true, force: true });
  }
}
