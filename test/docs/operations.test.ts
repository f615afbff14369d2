/** What docs/operations.md promises of copies, and docs/schema.md of altered tables. */
import { mkdtempSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { afterEach, beforeEach, expect, test } from "vitest";
import { attach, extensionPath } from "../../src/index.ts";
import { memoryPair } from "../../src/transport/memory.ts";

let folder = "";
let file = "";

function open(path = file): Database.Database {
  const db = new Database(path);
  db.pragma("journal_mode = WAL");
  return db;
}

/** Opens the file, runs `use`, and closes everything again. */
async function attached(
  use: (db: Database.Database, peerId: number) => void,
  path = file,
): Promise<void> {
  const db = open(path);
  db.exec("CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, x)");
  const replica = attach(db, { tables: ["t"] });
  try {
    use(db, replica.peerId);
  } finally {
    await replica.close();
    db.close();
  }
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "mergelite-operations-"));
  file = join(folder, "app.db");
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test("a copy takes a peer id of its own and catches up; the original keeps its own", async () => {
  let original = 0;
  const copy = join(folder, "copy.db");
  const db = open();
  db.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, x)");
  const first = attach(db, { tables: ["t"] });
  original = first.peerId;
  db.exec("INSERT INTO t VALUES (1, 'in both')");
  await db.backup(copy);
  await first.close();
  db.close();

  const left = open();
  const right = open(copy);
  const a = attach(left);
  const b = attach(right);
  expect(a.peerId).toBe(original);
  expect(b.peerId).not.toBe(original);
  expect(b.vector()).toContainEqual({ peerId: original, held: 1, merged: 1 });
  left.exec("INSERT INTO t VALUES (2, 'left')");
  right.exec("INSERT INTO t VALUES (3, 'right')");
  const [one, other] = memoryPair();
  a.connect(one);
  b.connect(other);
  await a.wait(b.token());
  await b.wait(a.token());
  for (const side of [left, right]) {
    expect(side.prepare("SELECT group_concat(id) FROM t").pluck().get()).toBe("1,2,3");
  }
  await a.close();
  await b.close();
  left.close();
  right.close();
});

test("a backup renamed over the file takes a new peer id", async () => {
  let before = 0;
  let after = 0;
  const backup = join(folder, "backup.db");
  await attached((_, peerId) => {
    before = peerId;
  });
  const db = open();
  await db.backup(backup);
  db.close();
  for (const end of ["-wal", "-shm"]) rmSync(file + end, { force: true });
  renameSync(backup, file);
  await attached((_, peerId) => {
    after = peerId;
  });
  expect(after).not.toBe(before);
});

test("a column added before attach is captured from then on", async () => {
  await attached((db) => db.exec("INSERT INTO t VALUES (1, 1)"));
  const db = open();
  db.exec("ALTER TABLE t ADD COLUMN y DEFAULT 7");
  db.close();
  await attached((again) => {
    again.exec("UPDATE t SET y = 8");
    const last = "SELECT _columns FROM t_patches ORDER BY _sequenceId DESC LIMIT 1";
    expect(again.prepare(last).pluck().get()).toBe('["y"]');
  });
});

test("a table is rebuilt between dropping its companion and making it again", async () => {
  await attached((db) => db.exec("INSERT INTO t VALUES (1, 1)"));
  const db = open();
  db.loadExtension(extensionPath);
  db.exec(`
    DROP TABLE t_patches;
    BEGIN;
    CREATE TABLE t_new (id INTEGER PRIMARY KEY, x CHECK (x > 0));
    INSERT INTO t_new SELECT * FROM t;
    DROP TABLE t;
    ALTER TABLE t_new RENAME TO t;
    COMMIT;
    CREATE VIRTUAL TABLE t_patches USING mergelite(t);
  `);
  db.close();
  await attached((again) => {
    again.exec("UPDATE t SET x = 5");
    const last = "SELECT _op || x FROM t_patches ORDER BY _sequenceId DESC LIMIT 1";
    expect(again.prepare(last).pluck().get()).toBe("update5");
  });
});
