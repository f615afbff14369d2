/** Invariant I10: a reader on another connection never sees half a changeset. */
import { once } from "node:events";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { expect, test } from "vitest";
import { native } from "../../src/native.ts";
import { temporaryFolder } from "../support/folder.ts";
import { heldOf, mergeAll, openRaw, recordsOf, teachShapes } from "../support/replica.ts";

const folder = temporaryFolder();
const accounts = 8;
const schema = `CREATE TABLE account (id INTEGER PRIMARY KEY, n INTEGER);
  CREATE TABLE transfer (id INTEGER PRIMARY KEY, n INTEGER)`;

/** Reads the balance until told to stop; every changeset leaves it as it was. */
const reader = `
const { workerData, parentPort } = require("node:worker_threads");
const db = new (require(workerData.sqlite))(workerData.file, { readonly: true });
const balance = db.prepare("SELECT (SELECT sum(n) FROM account) - (SELECT coalesce(sum(n), 0) FROM transfer)").pluck();
const seen = new Set();
let reads = 0;
let stop = false;
parentPort.on("message", () => { stop = true; });
parentPort.postMessage("ready");
(function read() {
  for (let i = 0; i < 200; i++, reads++) seen.add(balance.get());
  if (!stop) return setImmediate(read);
  db.close();
  parentPort.postMessage({ seen: [...seen], reads });
})();
`;

test("a reader sees whole changesets only", async () => {
  const tables = ["account", "transfer"];
  const here = openRaw(folder.file(), schema, tables);
  const there = openRaw(folder.file(), schema, tables);
  try {
    const insert = here.db.prepare("INSERT INTO account VALUES (?, 100)");
    here.db.transaction(() => {
      for (let id = 0; id < accounts; id++) insert.run(id);
    })();
    teachShapes(here, there);
    mergeAll(there, recordsOf(here, here.peerId));
    const start = heldOf(here, here.peerId);
    const add = here.db.prepare("UPDATE account SET n = n + ? WHERE id = ?");
    const note = here.db.prepare("INSERT INTO transfer VALUES (?, ?)");
    for (let i = 0; i < 1500; i++) {
      here.db.transaction(() => {
        add.run(i % 7, i % accounts);
        note.run(i, i % 7);
      })();
    }
    const worker = new Worker(reader, {
      eval: true,
      workerData: {
        file: there.db.name,
        sqlite: join(process.cwd(), "node_modules/better-sqlite3"),
      },
    });
    await once(worker, "message");
    // One changeset a merge: many commits for the reader to come between.
    for (let sequence = start + 1; sequence <= heldOf(here, here.peerId); sequence++) {
      mergeAll(there, native.readLog(here.handle, here.peerId, sequence, sequence, 0));
    }
    worker.postMessage("stop");
    const [result] = (await once(worker, "message")) as [{ seen: number[]; reads: number }];
    await worker.terminate();
    expect(result.reads).toBeGreaterThan(0);
    expect(result.seen).toEqual([accounts * 100]);
  } finally {
    here.db.close();
    there.db.close();
  }
}, 60_000);
