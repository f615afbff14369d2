/** Snapshots of a replica that goes on being written. */
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import Database from "better-sqlite3";
import { expect, it } from "vitest";
import { attach, type SnapshotEvent, type SnapshotProgress } from "../../src/index.ts";
import { memoryPair } from "../../src/transport/memory.ts";
import { temporaryFolder } from "../support/folder.ts";

const folder = temporaryFolder();

function open(file = folder.file(), mode = "WAL") {
  const db = new Database(file);
  db.pragma(`journal_mode = ${mode}`);
  db.exec("CREATE TABLE IF NOT EXISTS note (id INTEGER PRIMARY KEY, body TEXT)");
  return { db, file, replica: attach(db, { tables: ["note"] }) };
}

function rows(db: Database.Database): unknown {
  return db.prepare("SELECT count(*) FROM note").pluck().get();
}

it.each(["WAL", "DELETE"])("copies what was committed, in %s mode", async (mode) => {
  const { db, replica } = open(undefined, mode);
  db.exec("INSERT INTO note VALUES (1, 'one')");
  const path = folder.file();
  const events: SnapshotEvent[] = [];
  replica.on("snapshot", (event) => void events.push(event));
  const result = await replica.snapshot(path);
  expect(result).toMatchObject({ path, bytes: readFileSync(path).byteLength });
  expect(events[0]).toEqual({ kind: "demand", path, state: "started" });
  expect(events.at(-1)).toMatchObject({ state: "completed", bytes: result.bytes });
  expect(existsSync(`${path}-wal`)).toBe(false);

  const copy = new Database(path);
  expect(copy.pragma("integrity_check", { simple: true })).toBe("ok");
  expect(rows(copy)).toBe(1);
  const attached = attach(copy);
  expect(attached.peerId).not.toBe(replica.peerId);
  copy.exec("INSERT INTO note VALUES (2, 'two')");
  const [here, there] = memoryPair();
  replica.connect(here);
  attached.connect(there);
  await replica.wait(attached.token());
  expect(rows(db)).toBe(2);
  await attached.close();
  await replica.close();
  copy.close();
  db.close();
});

it("is one moment's state however much is written meanwhile", async () => {
  const { db, replica } = open();
  const insert = db.prepare("INSERT INTO note (body) VALUES (?)");
  const fill = db.transaction(() => {
    for (let i = 0; i < 20_000; i++) insert.run("x".repeat(500));
  });
  fill();
  const seen: SnapshotProgress[] = [];
  let isDone = false;
  const made = replica
    .snapshot(folder.file(), { onProgress: (progress) => void seen.push(progress) })
    .finally(() => {
      isDone = true;
    });
  let commits = 0;
  // Two rows a commit: half of one would be an odd number of rows.
  const pair = db.transaction(() => void [insert.run("a"), insert.run("b")]);
  while (!isDone) {
    pair();
    commits += 1;
    await new Promise((resolve) => setImmediate(resolve));
  }
  const { path } = await made;
  expect(commits).toBeGreaterThan(1);
  expect(seen.at(-1)).toMatchObject({ percent: 100 });
  const copy = new Database(path, { readonly: true });
  expect(Number(rows(copy)) % 2).toBe(0);
  expect(Number(rows(copy))).toBeLessThanOrEqual(Number(rows(db)));
  copy.close();
  await replica.close();
  db.close();
});

it("leaves nothing behind when it is stopped, and what was there as it was", async () => {
  const { db, replica } = open();
  const insert = db.prepare("INSERT INTO note (body) VALUES (?)");
  db.transaction(() => {
    for (let i = 0; i < 20_000; i++) insert.run("x".repeat(500));
  })();
  const path = join(folder.path, "kept.db");
  writeFileSync(path, "before");
  const abort = new AbortController();
  const made = replica.snapshot(path, { signal: abort.signal });
  abort.abort(new Error("no more"));
  await expect(made).rejects.toThrow("no more");
  const closing = replica.snapshot(path);
  const closed = replica.close();
  await expect(closing).rejects.toMatchObject({ code: "CLOSED" });
  await closed;
  expect(readFileSync(path, "utf8")).toBe("before");
  expect(readdirSync(dirname(path)).filter((name) => name.endsWith(".part"))).toEqual([]);
  db.close();
});

it("refuses to take the place of its own database", async () => {
  const { db, file, replica } = open();
  const hash = () => createHash("sha256").update(readFileSync(file)).digest("hex");
  const before = hash();
  const other = folder.file();
  symlinkSync(dirname(file), other);
  for (const path of [
    file,
    `${file}-wal`,
    `${dirname(file)}/../${folder.path.split("/").at(-1)}/${file.split("/").at(-1)}`,
    ...["", "-wal", "-shm", "-journal"].map((suffix) => join(other, `${basename(file)}${suffix}`)),
  ]) {
    await expect(replica.snapshot(path)).rejects.toMatchObject({ code: "INVALID_OPTION" });
  }
  await expect(replica.snapshot(join(folder.path, "no/such/folder.db"))).rejects.toThrow();
  expect(hash()).toBe(before);
  expect(replica.metrics()).toMatchObject({ snapshots: 0, snapshotFailures: 8 });
  await replica.close();
  db.close();
});

it("says that a database in memory has no file", async () => {
  const db = new Database(":memory:");
  db.exec("CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT)");
  const replica = attach(db, { tables: ["note"] });
  await expect(replica.snapshot(folder.file())).rejects.toMatchObject({ code: "SQLITE" });
  await expect(replica.measure()).rejects.toMatchObject({ code: "SQLITE" });
  await replica.close();
  db.close();
});

it("makes one at shutdown where it is due", async () => {
  const db = new Database(folder.file());
  db.pragma("journal_mode = WAL");
  db.exec("CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT)");
  const path = folder.file();
  const backup = {
    only: "every",
    path: (kind: string) => (kind === "shutdown" ? path : undefined),
  } as const;
  const replica = attach(db, { tables: ["note"], backup });
  replica.upsert("note", { id: 1, body: "one" });
  await expect(replica.snapshot()).rejects.toMatchObject({ code: "INVALID_OPTION" });
  const signal = AbortSignal.timeout(20_000);
  const { snapshot } = await replica.close({ snapshot: true, signal });
  expect(snapshot).toMatchObject({ path });
  const copy = new Database(path);
  expect(rows(copy)).toBe(1);
  copy.close();

  const without = attach(db);
  await expect(without.close({ snapshot: true })).rejects.toMatchObject({ code: "INVALID_OPTION" });
  await without.close();
  const failing = attach(db, { backup: { ...backup, path: () => "/no/such/folder/a.db" } });
  expect(await failing.close({ snapshot: true })).toEqual({ drained: false, snapshot: null });
  db.close();
});
