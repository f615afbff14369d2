// How long a restore takes against a copy of the file: from a folder with a snapshot and a minute
// of small files behind it. Both are on disk when they count as done. Of the restore, the part that
// reads, unpacks and checks without writing anything is measured on its own.
import { spawnSync } from "node:child_process";
import { rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { restore } from "../dist/backup/index.js";
import { LtxReader } from "../dist/ltx/index.js";
import { ship } from "../dist/ship/index.js";
import { fileStorage } from "../dist/storage/file.js";
import { inFolder, median, open, shapes, table } from "./lib.mjs";

const shape = shapes.integer;
const smallFiles = 60;
const updatesEach = 100;

/** A file of about `bytes`, and its backup. */
async function build(folder, storage, bytes) {
  const db = open(folder, "source.db", shape);
  const insert = db.prepare("INSERT INTO t VALUES (?, ?, ?, ?, ?)");
  let rows = 0;
  const batch = db.transaction(() => {
    for (let i = 0; i < 10_000; i++) insert.run(...shape.row(rows++));
  });
  while (db.pragma("page_count", { simple: true }) * 4096 < bytes) batch();
  const shipper = ship(db, storage);
  await shipper.flush();
  const update = db.prepare("UPDATE t SET c = c + 1 WHERE id = ?");
  for (let file = 0, step = 0; file < smallFiles; file++) {
    for (let i = 0; i < updatesEach; i++) update.run(((step++ * 7919) % rows) + 1);
    await shipper.flush();
  }
  await shipper.close();
  db.pragma("wal_checkpoint(TRUNCATE)");
  db.close();
  return join(folder, "source.db");
}

async function unpackAll(storage) {
  for await (const { key } of storage.list("ltx/")) {
    const { body } = await storage.get(key);
    const reader = await LtxReader.open(body, { name: key, batchBytes: 1024 * 1024 });
    for await (const batch of reader.batches()) reader.giveBack(batch);
  }
}

function run(command, ...parameters) {
  const { status, stderr } = spawnSync(command, parameters, { encoding: "utf8" });
  if (status !== 0) throw new Error(`${command}: ${stderr}`);
}

async function timed(work) {
  const before = process.cpuUsage();
  const startMs = performance.now();
  await work();
  const { user, system } = process.cpuUsage(before);
  return { ms: performance.now() - startMs, cpuMs: (user + system) / 1000 };
}

export function restoreBench({ bytes = 2 ** 30, rounds = 5 } = {}) {
  return inFolder(async (folder) => {
    const storage = fileStorage(join(folder, "storage"));
    const file = await build(folder, storage, bytes);
    const [copy, restored] = [join(folder, "copy.db"), join(folder, "restored.db")];
    const works = {
      copy: async () => {
        run("cp", file, copy);
        run("sync", copy);
      },
      restore: () => restore(storage, restored),
      unpack: () => unpackAll(storage),
    };
    const times = { copy: [], restore: [], unpack: [] };
    const names = Object.keys(works);
    for (let round = 0; round < rounds; round++) {
      for (let turn = 0; turn < names.length; turn++) {
        const name = names[(turn + round) % names.length];
        times[name].push(await timed(works[name]));
        if (round === 0 && name === "restore") run("cmp", file, restored);
        for (const made of [copy, restored]) rmSync(made, { force: true });
      }
    }
    let packed = 0;
    for await (const object of storage.list("ltx/")) packed += object.bytes;
    return { bytes: statSync(file).size, packed, times };
  });
}

export function restoreText({ bytes, packed, times }) {
  const line = (title, name) => {
    const ratio = median(times[name].map(({ ms }, round) => ms / times.copy[round].ms));
    const cpuMs = median(times[name].map((time) => time.cpuMs));
    return [
      title,
      (median(times[name].map(({ ms }) => ms)) / 1000).toFixed(2),
      ratio.toFixed(2),
      name === "copy" ? "" : (cpuMs / 1000).toFixed(2),
    ];
  };
  const megabytes = (size) => (size / 2 ** 20).toFixed(0);
  return table(
    `Restoring ${megabytes(bytes)} MiB from ${megabytes(packed)} MiB in a folder`,
    ["", "seconds", "to a copy", "seconds of CPU"],
    [
      line("copy (cp, sync)", "copy"),
      line("restore", "restore"),
      line("read, unpack and check only", "unpack"),
    ],
  );
}

if (import.meta.filename === process.argv[1]) {
  process.stdout.write(restoreText(await restoreBench()));
}
