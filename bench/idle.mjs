// What databases cost that are shipped and not written: many of them in one process, memory, file
// descriptors, CPU and requests, against the same ones that are only open. Needs eight descriptors
// a database, so `ulimit -n` may have to be raised. The storage is in memory, and keeps nothing but
// leases: what it would take is not the databases'.
import { fork } from "node:child_process";
import { copyFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { ReplicaError } from "../dist/errors.js";
import { ship } from "../dist/ship/index.js";
import { inFolder, open, shapes, table } from "./lib.mjs";

/** Counts what is asked of it. */
class FrugalStorage {
  static requests = 0;
  kind = "file";
  keepsMetadata = true;
  name = "memory:";
  #leases = new Map();

  async put(key, body) {
    FrugalStorage.requests++;
    const pieces = body instanceof Uint8Array ? [body] : [];
    if (typeof body === "function") for await (const piece of body()) pieces.push(piece);
    if (!key.startsWith("ltx/")) this.#leases.set(key, Buffer.concat(pieces));
  }

  async putIfAbsent(key, body) {
    FrugalStorage.requests++;
    if (this.#leases.has(key)) return false;
    this.#leases.set(key, body);
    return true;
  }

  async get(key) {
    FrugalStorage.requests++;
    const bytes = this.#leases.get(key);
    if (bytes === undefined) throw new ReplicaError("STORAGE_MISSING", key);
    return { bytes: bytes.length, metadata: {}, version: "", body: [bytes] };
  }

  async *list(prefix) {
    FrugalStorage.requests++;
    const keys = [...this.#leases.keys()].filter((key) => key.startsWith(prefix));
    keys.sort((a, b) => (a < b ? -1 : 1));
    for (const key of keys) yield { key, bytes: this.#leases.get(key).length, modifiedMs: 0 };
  }

  async delete(key) {
    FrugalStorage.requests++;
    this.#leases.delete(key);
  }

  async close() {}
}

const atOnce = 32;

/** `work` for every number below `count`, some at a time. */
async function forEach(count, work) {
  let next = 0;
  const lane = async () => {
    while (next < count) await work(next++);
  };
  await Promise.all(Array.from({ length: atOnce }, lane));
}

function descriptors() {
  try {
    return readdirSync("/proc/self/fd").length;
  } catch {
    return Number.NaN;
  }
}

/** What this process takes; the collector has run. */
async function measure(seconds) {
  globalThis.gc?.();
  await new Promise((resolve) => setTimeout(resolve, 2000));
  globalThis.gc?.();
  const { rss } = process.memoryUsage();
  const { requests } = FrugalStorage;
  const before = process.cpuUsage();
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  const { user, system } = process.cpuUsage(before);
  return {
    rss,
    descriptors: descriptors(),
    cpuMs: (user + system) / 1000 / seconds,
    requests: FrugalStorage.requests - requests,
  };
}

async function child(folder, count, seconds) {
  const fileOf = (i) => join(folder, `${i}.db`);
  const template = open(folder, "template", shapes.integer);
  template.prepare("INSERT INTO t VALUES (?, ?, ?, ?, ?)").run(...shapes.integer.row(1));
  template.close();
  for (let i = 0; i < count; i++) copyFileSync(join(folder, "template"), fileOf(i));
  const empty = await measure(1);
  const databases = Array.from({ length: count }, (_, i) => {
    const db = new Database(fileOf(i));
    db.prepare("SELECT count(*) FROM t").get();
    return db;
  });
  const opened = await measure(seconds);
  const startMs = performance.now();
  const shippers = [];
  await forEach(count, async (i) => {
    // Keeping a backup has work of its own, once a day for one that does not grow.
    shippers[i] = ship(databases[i], new FrugalStorage(), { keep: false });
    await shippers[i].flush();
  });
  const startSeconds = (performance.now() - startMs) / 1000;
  const startRequests = FrugalStorage.requests;
  const shipped = await measure(seconds);
  // Idle, but awake: a commit is noticed as ever.
  databases[0].prepare("UPDATE t SET c = c + 1").run();
  while (shippers[0].metrics().commits === 0) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  await forEach(count, (i) => shippers[i].close());
  for (const db of databases) db.close();
  process.send({ count, empty, opened, shipped, startSeconds, startRequests });
  process.disconnect();
}

export function idleBench({ count = 1000, seconds = 20 } = {}) {
  return inFolder(async (folder) => {
    const parameters = ["child", folder, String(count), String(seconds)];
    const worker = fork(import.meta.filename, parameters, { execArgv: ["--expose-gc"] });
    const result = await new Promise((resolve, reject) => {
      worker.once("message", resolve);
      worker.once("exit", (code) => reject(new Error(`the process ended with ${code}`)));
    });
    return result;
  });
}

export function idleText({ count, empty, opened, shipped, startSeconds, startRequests }) {
  const row = (title, now, before) => [
    title,
    ((now.rss - before.rss) / 1024 / count).toFixed(0),
    ((now.descriptors - before.descriptors) / count).toFixed(1),
    (now.cpuMs - empty.cpuMs).toFixed(1),
    now.requests,
  ];
  return [
    table(
      `${count.toLocaleString("en")} databases that nobody writes`,
      ["", "KiB each", "descriptors each", "ms of CPU a second, all", "requests"],
      [row("open", opened, empty), row("shipped, beyond that", shipped, opened)],
    ),
    `To begin with: ${startSeconds.toFixed(1)} s, ${(startRequests / count).toFixed(0)} requests each`,
    "",
  ].join("\n");
}

if (import.meta.filename === process.argv[1]) {
  const [role, folder, count, seconds] = process.argv.slice(2);
  if (role === "child") await child(folder, Number(count), Number(seconds));
  else process.stdout.write(idleText(await idleBench({ count: Number(role ?? 1000) })));
}
