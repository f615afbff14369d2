/** Schema changes under attached replicas, and what had to wait for them. */
import Database from "better-sqlite3";
import { afterEach, expect, test } from "vitest";
import { attach } from "../../src/attach.ts";
import type { Replica } from "../../src/replica.ts";
import { memoryPair } from "../../src/transport/memory.ts";
import { temporaryFolder } from "../support/folder.ts";

const folder = temporaryFolder();
const open: { db: Database.Database; replica: Replica }[] = [];

afterEach(async () => {
  for (const { db, replica } of open.splice(0)) {
    await replica.close();
    db.close();
  }
});

function peer(schema: string): { db: Database.Database; replica: Replica } {
  const db = new Database(folder.file());
  db.pragma("journal_mode = WAL");
  db.exec(schema);
  const replica = attach(db, { tables: ["note"], watchFile: false, windowBytes: 16 * 1024 * 1024 });
  open.push({ db, replica });
  return { db, replica };
}

test("what waited for a column or a table is merged when it appears, without another write", async () => {
  const here = peer("CREATE TABLE note (id INTEGER PRIMARY KEY, a, extra)");
  here.db.exec("CREATE TABLE tag (id INTEGER PRIMARY KEY, a)");
  here.db.exec("CREATE VIRTUAL TABLE tag_patches USING mergelite(tag)");
  const there = peer("CREATE TABLE note (id INTEGER PRIMARY KEY, a)");
  const [left, right] = memoryPair();
  here.replica.connect(left);
  there.replica.connect(right);
  here.db.exec("INSERT INTO note VALUES (1, 'a', 'extra'); INSERT INTO tag VALUES (1, 'tag')");
  await there.replica.wait(here.replica.token());
  expect(there.replica.status().parked).toHaveLength(2);

  there.db.exec("ALTER TABLE note ADD COLUMN extra");
  const extra = there.db.prepare("SELECT extra FROM note").pluck();
  await expect.poll(() => extra.get(), { timeout: 20_000 }).toBe("extra");
  there.db.exec("CREATE TABLE tag (id INTEGER PRIMARY KEY, a)");
  there.db.exec("CREATE VIRTUAL TABLE tag_patches USING mergelite(tag)");
  const tag = there.db.prepare("SELECT a FROM tag").pluck();
  await expect.poll(() => tag.get(), { timeout: 20_000 }).toBe("tag");
  expect(there.replica.status().parked).toEqual([]);
});

test("a replica closes while more waits to be merged than it takes in", async () => {
  const here = peer("CREATE TABLE note (id INTEGER PRIMARY KEY, a)");
  const there = peer("CREATE TABLE note (id INTEGER PRIMARY KEY, a)");
  const [left, right] = memoryPair();
  here.replica.connect(left);
  there.replica.connect(right);
  await Promise.all([here, there].map(({ replica }) => replica.synced()));
  // Nothing is merged while the application is inside a transaction.
  there.db.exec("BEGIN");
  const insert = here.db.prepare("INSERT INTO note VALUES (?, ?)");
  for (let id = 0; id < 10; id++) insert.run(id, "x".repeat(900_000));
  await expect.poll(() => there.replica.metrics().mergeQueueBytes).toBeGreaterThan(4 * 1024 * 1024);
  await there.replica.close();
  there.db.exec("ROLLBACK");
});
