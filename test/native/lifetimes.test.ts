/**
 * However a connection ends: no crash, no acknowledged commit lost, no `-wal` file left behind by a
 * statement that nobody finalized.
 */
import { spawnSync } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";
import Database from "better-sqlite3";
import { expect, it } from "vitest";
import { temporaryFolder } from "../support/folder.ts";
import { attachRaw, dump, openRaw, pull } from "../support/replica.ts";

const folder = temporaryFolder();
const schema = "CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, v)";
const packageFile = join(process.cwd(), "package.json");
const library = pathToFileURL(join(process.cwd(), "dist/index.js")).href;
const prelude = `import { createRequire } from "node:module";
import { attach } from ${JSON.stringify(library)};
const Database = createRequire(${JSON.stringify(packageFile)})("better-sqlite3");
const open = (file, tables = ["t"]) => {
  const db = new Database(file);
  db.exec("PRAGMA journal_mode = WAL; ${schema}");
  return { db, replica: attach(db, { tables }) };
};
const turn = () => new Promise((resolve) => setImmediate(resolve));`;

/** Runs a module in a process of its own; returns what it wrote, and how it ended. */
function run(code: string, file: string, flags: readonly string[] = []): void {
  const module = `${file}.mjs`;
  writeFileSync(module, `${prelude}\nconst file = ${JSON.stringify(file)};\n${code}`);
  const { status, signal, stderr } = spawnSync(process.execPath, [...flags, module], {
    encoding: "utf8",
    timeout: 25_000,
  });
  expect({ status, signal, stderr }).toEqual({ status: 0, signal: null, stderr: "" });
}

/** What the log says is what the table has: nothing was committed without its changeset. */
function expectComplete(file: string, rows: number): void {
  const here = attachRaw(new Database(file));
  const there = openRaw(":memory:", schema, ["t"]);
  try {
    pull(here, there);
    expect(dump(there.db, "t")).toEqual(dump(here.db, "t"));
    expect(here.db.prepare("SELECT count(*) FROM t").pluck().get()).toBeGreaterThanOrEqual(rows);
    expect(here.db.pragma("integrity_check", { simple: true })).toBe("ok");
  } finally {
    for (const { db } of [here, there]) db.close();
  }
  expect(existsSync(`${file}-wal`)).toBe(false);
}

const write = "db.exec(\"INSERT INTO t (v) VALUES (1), (2); UPDATE t SET v = 'x' WHERE id = 1\");";

it.each([
  ["the database closed before the replica", "db.close(); await replica.close();"],
  ["the replica closed before the database", "await replica.close(); db.close();"],
  ["the database closed, the replica left", "db.close(); await turn();"],
  [
    "the replica closed in the middle of a transaction",
    "db.exec('BEGIN; DELETE FROM t'); await replica.close(); db.exec('ROLLBACK'); db.close();",
  ],
  [
    "the database closed in the middle of a transaction",
    "db.exec('BEGIN; DELETE FROM t'); db.close(); await turn();",
  ],
  [
    "a statement that is still being iterated",
    "const rows = db.prepare('SELECT * FROM t').iterate(); rows.next(); await replica.close(); rows.return(); db.close();",
  ],
])("leaves no -wal file with %s", (_, end) => {
  const file = folder.file();
  const check = `if (fs.existsSync(file + "-wal")) throw new Error("there is a -wal file");`;
  run(
    `import fs from "node:fs"; const { db, replica } = open(file); ${write} ${end} ${check}`,
    file,
  );
  expectComplete(file, 2);
});

it.each([
  ["an end of the process with everything open", ""],
  ["process.exit()", "process.exit(0);"],
  ["process.exit() within a transaction", "db.exec('BEGIN; DELETE FROM t'); process.exit(0);"],
])("survives %s", (_, end) => {
  const file = folder.file();
  run(`const { db } = open(file); ${write} await turn(); ${end}`, file);
  expectComplete(file, 2);
});

it("survives the collection of connections and replicas, closed and not", () => {
  const file = folder.file();
  const code = `for (let i = 0; i < 20; i++) {
      (() => {
        const { db, replica } = open(i === 0 ? file : file + i % 5);
        ${write}
        if (i % 3 === 1) db.close();
        if (i % 3 === 2) void replica.close();
      })();
      await turn();
      gc();
    }`;
  run(code, file, ["--expose-gc"]);
  expectComplete(file, 2);
});

it("loses no acknowledged commit of a worker that is terminated in the middle", async () => {
  const file = folder.file();
  const main = openRaw(file, schema, ["t"]);
  const code = `const { parentPort, workerData } = require("node:worker_threads");
    import(workerData.library).then(({ attach }) => {
      const db = new (require("better-sqlite3"))(workerData.file);
      attach(db, { tables: ["t"] });
      const insert = db.prepare("INSERT INTO t (v) VALUES (?)");
      (function go(i) {
        parentPort.postMessage(Number(insert.run("worker " + i).lastInsertRowid));
        setImmediate(go, i + 1);
      })(0);
    });`;
  for (let round = 0; round < 5; round++) {
    const worker = new Worker(code, { eval: true, workerData: { file, library } });
    const acknowledged: number[] = [];
    await new Promise<void>((resolve, reject) => {
      worker.on("error", reject);
      worker.on("message", (id: number) => {
        acknowledged.push(id);
        if (acknowledged.length === 10 + round * 7) resolve();
      });
    });
    main.db.exec(`INSERT INTO t (v) VALUES ('main ${round}')`);
    await worker.terminate();
    const there = main.db.prepare("SELECT count(*) FROM t WHERE id = ?").pluck();
    for (const id of acknowledged) expect(there.get(id)).toBe(1);
  }
  main.db.close();
  expectComplete(file, 5 * 10);
});
