/** `mergelite demo`: the whole of it, with real processes and sockets. */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test, vi } from "vitest";
import { execute, patienceMs, Running } from "../support/cli.ts";
import { temporaryFolder } from "../support/folder.ts";

vi.setConfig({ testTimeout: 2 * patienceMs });

const folder = temporaryFolder();
const chinook = fileURLToPath(new URL("../../../shared/data/chinook.db", import.meta.url));
let count = 0;

/** Runs the demo with a folder for temporary files of its own. */
function demo(...args: string[]): { running: Running; temporary: string } {
  const temporary = join(folder.path, `temporary-${count++}`);
  mkdirSync(temporary);
  return { running: new Running(["demo", ...args], { TMPDIR: temporary }), temporary };
}

const lastLine = /^converged: (\d+) peers, (\d+) changes, (\d+) rows, 0 differences$/m;

test("tells how three peers write, are cut off, and converge", async () => {
  const { running, temporary } = demo("--seconds", "2");
  const { code, stdout, stderr } = await running.finished;
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  const [, peers, changes, rows] = lastLine.exec(stdout) ?? [];
  expect(stdout.trimEnd().split("\n").at(-1)).toMatch(lastLine);
  expect(Number(peers)).toBe(3);
  expect(Number(changes)).toBeGreaterThan(50);
  expect(Number(rows)).toBeGreaterThan(100);
  const story = [
    /a small shop: 5 tables, 525 rows/,
    /all write at once/,
    / A-B-C /,
    /the network is cut: A and B on one side, C on the other/,
    / A-B \| C /,
    /cut again: every peer is alone/,
    / A \| B \| C /,
    /apart, each of them sets name of customer/,
    /the network heals/,
    /writing stops after [\d,]+ changes/,
    /A wrote '.*~A', B wrote '.*~B', C wrote '.*~C'; all have '.*~[ABC]'/,
    /comparing every row of all copies/,
  ];
  let rest = stdout;
  for (const part of story) {
    expect(rest).toMatch(part);
    rest = rest.slice(rest.search(part));
  }
  // No colours and no progress without a terminal.
  expect(stdout).not.toContain("\u001b");
  expect(readdirSync(temporary)).toEqual([]);
});

test("--json prints the summary alone", async () => {
  const { running } = demo("--seconds", "2", "--peers", "2", "--seed", "3", "--json");
  const { code, stdout, stderr } = await running.finished;
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  const summary = JSON.parse(stdout) as { byPeer: { changes: number }[]; changes: number };
  expect(summary).toMatchObject({
    converged: true,
    peers: 2,
    differences: 0,
    listed: [],
    seed: 3,
    tables: ["customer", "order", "order_line", "product", "product_tag"],
  });
  expect(summary.byPeer.reduce((sum, peer) => sum + peer.changes, 0)).toBe(summary.changes);
});

/** Keys, types and rules of every kind. */
const intricate = `
  CREATE TABLE counter (id INTEGER PRIMARY KEY AUTOINCREMENT, n INT UNIQUE, label TEXT COLLATE NOCASE
    UNIQUE, mixed, ratio REAL, price NUMERIC(10, 2), bytes BLOB, at TEXT DEFAULT CURRENT_TIMESTAMP,
    twice INT GENERATED ALWAYS AS (n * 2) STORED);
  CREATE TABLE "odd ""name" ("k 1" TEXT, "k""2" BLOB, v ANY, PRIMARY KEY ("k 1", "k""2"))
    STRICT, WITHOUT ROWID;
  CREATE TABLE tree (id TEXT PRIMARY KEY NOT NULL, parent TEXT REFERENCES tree ON DELETE SET NULL,
    name TEXT NOT NULL CHECK (length(name) < 9));
  CREATE TABLE part (counter_id INT NOT NULL REFERENCES counter ON DELETE CASCADE ON UPDATE CASCADE,
    number INT NOT NULL, kind TEXT CHECK (kind IN ('x', 'y')), PRIMARY KEY (counter_id, number DESC));
  CREATE TABLE screw (id INT PRIMARY KEY, counter_id INT, number INT,
    FOREIGN KEY (counter_id, number) REFERENCES part (counter_id, number) ON DELETE CASCADE);
  CREATE TABLE pair (x INT, y INT, PRIMARY KEY (x, y));
  CREATE TABLE weight (k REAL PRIMARY KEY, v TEXT);
  CREATE TABLE word (k TEXT COLLATE NOCASE PRIMARY KEY, v TEXT);
  CREATE TABLE void (id BLOB PRIMARY KEY, v TEXT NOT NULL);
  CREATE TABLE journal (line TEXT);
  CREATE VIEW labels AS SELECT label FROM counter;
  CREATE TRIGGER touch AFTER UPDATE ON counter BEGIN
    UPDATE counter SET at = CURRENT_TIMESTAMP WHERE id = new.id; END;
  WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
    INSERT INTO counter (n, label, mixed, ratio, price, bytes)
    SELECT i, 'L' || i, CASE i % 3 WHEN 0 THEN i WHEN 1 THEN 's' || i ELSE x'aa' END, i * 1.5, i / 100.0,
      zeroblob(i % 7) FROM n;
  INSERT INTO "odd ""name" SELECT 'k' || id, CAST(id AS BLOB), id FROM counter WHERE id < 50;
  INSERT INTO tree SELECT 't' || id, iif(id > 1, 't' || (id / 2), NULL), 'n' || id FROM counter
    WHERE id < 60;
  INSERT INTO part SELECT id, s, iif(s = 1, 'x', 'y') FROM counter, (SELECT 1 AS s UNION SELECT 2)
    WHERE id < 90;
  INSERT INTO screw SELECT counter_id * 10 + number, counter_id, number FROM part;
  INSERT INTO pair SELECT id, id * 2 FROM counter WHERE id < 30;
  INSERT INTO weight SELECT id + 0.25, 'w' || id FROM counter WHERE id < 30;
  INSERT INTO word SELECT 'Word' || id, 'v' FROM counter WHERE id < 30;
`;

test("copes with a schema of all kinds, and does not write the file", async () => {
  const file = folder.file();
  execute(file, intricate);
  const before = hash(file);
  const { running, temporary } = demo("--seconds", "2", "--peers", "4", "--db", file);
  const { code, stdout, stderr } = await running.finished;
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  expect(stdout).toMatch(lastLine);
  expect(stdout).toContain("not replicated: journal, no declared primary key\n");
  expect(stdout).toContain("triggers left out of the copies: touch\n");
  expect(hash(file)).toBe(before);
  expect(readdirSync(temporary)).toEqual([]);
});

test.skipIf(!existsSync(chinook))("runs on a database from elsewhere", async () => {
  const before = hash(chinook);
  const { running } = demo("--seconds", "2", "--db", chinook);
  const { code, stdout, stderr } = await running.finished;
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  expect(stdout).toContain("chinook.db: 11 tables, 15,607 rows\n");
  expect(stdout).toMatch(lastLine);
  expect(hash(chinook)).toBe(before);
});

test.each(["SIGINT", "SIGTERM"] as const)(
  "%s ends it and leaves nothing behind",
  async (signal) => {
    const { running, temporary } = demo("--seconds", "60");
    await running.printed(/all write at once/);
    const peers = childrenOf(running);
    expect(peers).toHaveLength(3);
    running.kill(signal);
    const { code, stderr } = await running.finished;
    expect({ code, stderr }).toEqual({
      code: signal === "SIGINT" ? 130 : 143,
      stderr: "mergelite: interrupted\n",
    });
    expect(peers.filter(isAlive)).toEqual([]);
    expect(readdirSync(temporary)).toEqual([]);
  },
);

test("its processes do not outlive it", async () => {
  const { running, temporary } = demo("--seconds", "60");
  await running.printed(/all write at once/);
  const peers = childrenOf(running);
  expect(peers).toHaveLength(3);
  running.kill("SIGKILL");
  await running.finished;
  await vi.waitFor(
    () => {
      expect(peers.filter(isAlive)).toEqual([]);
      expect(readdirSync(temporary)).toEqual([]);
    },
    { timeout: patienceMs },
  );
});

test("a peer that dies is an error, not a hang", async () => {
  const { running, temporary } = demo("--seconds", "60");
  await running.printed(/all write at once/);
  const [peer = 0] = childrenOf(running);
  expect(peer).toBeGreaterThan(0);
  process.kill(peer, "SIGKILL");
  const { code, stderr } = await running.finished;
  expect({ code, stderr }).toEqual({
    code: 1,
    stderr: "mergelite: peer A ended early (SIGKILL)\n",
  });
  expect(readdirSync(temporary)).toEqual([]);
});

function hash(file: string): string {
  return createHash("sha256").update(readFileSync(file)).digest("hex");
}

/** Process ids in the order they were started; from /proc, so on Linux only. */
function childrenOf({ process: { pid = 0 } }: Running): number[] {
  const list = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8");
  return list.trim().split(" ").map(Number);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
