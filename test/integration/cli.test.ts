/** The commands of `mergelite` that work on files alone. */
import { spawnSync } from "node:child_process";
import {
  closeSync,
  copyFileSync,
  cpSync,
  existsSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { describe, expect, test, vi } from "vitest";
import { commandNames } from "../../src/cli/commands.ts";
import { extensionPath } from "../../src/native.ts";
import {
  execute,
  fail,
  main,
  patienceMs,
  query,
  Running,
  run,
  start,
  succeed,
} from "../support/cli.ts";
import { untracked } from "../support/damage.ts";
import { temporaryFolder } from "../support/folder.ts";

// Every test starts processes, and the machine may be busy.
vi.setConfig({ testTimeout: patienceMs });

const folder = temporaryFolder();
const names = ["init", "serve", "sync", "status", "log", "verify", "forget", "detach", "demo"];

const schema = `
  CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT, size REAL);
  CREATE TABLE tag (note_id INTEGER NOT NULL, name TEXT NOT NULL, PRIMARY KEY (note_id, name))
    WITHOUT ROWID;
  CREATE TABLE journal (line TEXT);
  INSERT INTO note VALUES (1, 'one', 1.5), (2, 'two', NULL);
  INSERT INTO tag VALUES (1, 'red');
`;

function database(sql = schema): string {
  const file = folder.file();
  execute(file, sql);
  return file;
}

async function replicated(): Promise<string> {
  const file = database();
  await succeed("init", file);
  return file;
}

function parse<Shape>(json: string): Shape {
  return JSON.parse(json) as Shape;
}

describe("help and usage", () => {
  test("--help names every command, --version the package's version", async () => {
    const help = await succeed("--help");
    for (const name of names) expect(help).toMatch(new RegExp(`^ {2}${name} +\\w`, "m"));
    expect(await succeed("help")).toBe(help);
    const manifest = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
    expect(await succeed("--version")).toBe(`${parse<{ version: string }>(manifest).version}\n`);
  });

  test.each(names)("%s --help shows usage and options", async (name) => {
    const help = await succeed(name, "--help");
    expect(help).toMatch(new RegExp(`^usage: mergelite ${name}`));
    expect(help).toMatch(/^options:\n/m);
    expect(await succeed("help", name)).toBe(help);
  });

  test.each(commandNames)("%s is in the list of docs/cli.md and has a section there", (name) => {
    const page = readFileSync(new URL("../../docs/cli.md", import.meta.url), "utf8");
    expect(page).toMatch(new RegExp(`^\\| \\[?\`${name}\\b.*\\(#${name}\\)`, "m"));
    expect(page).toMatch(new RegExp(`^## ${name}$`, "m"));
  });

  test("-h is --help, before and after the command", async () => {
    expect(await succeed("-h")).toBe(await succeed("--help"));
    expect(await succeed("status", "-h")).toBe(await succeed("status", "--help"));
  });

  test("no command at all is wrong usage", async () => {
    const { code, stdout, stderr } = await run();
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain("usage: mergelite COMMAND");
  });

  test.each([
    [["frobnicate"], 'unknown command "frobnicate"', "mergelite --help"],
    [["--frobnicate"], 'unknown option "--frobnicate"', "mergelite --help"],
    [["help", "frobnicate"], 'unknown command "frobnicate"', "mergelite --help"],
    [["constructor"], 'unknown command "constructor"', "mergelite --help"],
    [["status"], "too few arguments: mergelite status FILE", "mergelite status --help"],
    [["status", "a", "b"], "too many arguments: mergelite status FILE", "mergelite status --help"],
    [["status", "a", "--frobnicate"], "unknown option '--frobnicate'", "mergelite status --help"],
    [["log", "a", "--limit", "many"], "--limit must be a whole number", "mergelite log --help"],
    [["log", "a", "--limit", "7", "--limit=8"], "--limit is given twice", "mergelite log --help"],
    [
      ["serve-wal", "a", "--listen", "localhost:1", "--listen", "localhost:2"],
      "--listen is given twice",
      "mergelite serve-wal --help",
    ],
    [["log", "a", "--since", "7"], "--since must be PEER.SEQUENCE", "mergelite log --help"],
    [["serve", "a"], "--listen, --connect or --stdio is needed", "mergelite serve --help"],
    [
      ["serve", "a", "--listen", "x:99999"],
      "not an address to listen on",
      "mergelite serve --help",
    ],
    [["serve", "a", "--connect", "ftp://x"], "not a peer's URL", "mergelite serve --help"],
    [["sync", "a", "tcp://host"], "not a peer's URL", "mergelite sync --help"],
    [
      ["sync", "a", "ws://x", "--timeout", "0"],
      "--timeout must be a number",
      "mergelite sync --help",
    ],
    [["demo", "--peers", "1"], "--peers must be a whole number from 2", "mergelite demo --help"],
  ])("%j is wrong usage", async (args, message, hint) => {
    const stderr = await fail(2, ...args);
    expect(stderr).toContain(`mergelite: ${message}`);
    expect(stderr).toContain(`\nhint: ${hint}\n`);
  });
});

describe("files that are not as they should be", () => {
  const commands: [string, (file: string) => string[]][] = [
    ["init", (file) => ["init", file]],
    ["serve", (file) => ["serve", file, "--listen", "127.0.0.1:0"]],
    ["sync", (file) => ["sync", file, "ws://127.0.0.1:1"]],
    ["status", (file) => ["status", file]],
    ["log", (file) => ["log", file]],
    ["detach", (file) => ["detach", file]],
    ["demo", (file) => ["demo", "--db", file]],
  ];

  test.each(commands)("%s: missing, a folder, no database", async (_, args) => {
    const missing = join(folder.path, "missing.db");
    expect(await fail(1, ...args(missing))).toBe(`mergelite: ${missing} does not exist\n`);
    expect(await fail(1, ...args(folder.path))).toBe(`mergelite: ${folder.path} is not a file\n`);
    const text = join(folder.path, "text.db");
    writeFileSync(
      text,
      "this is not a database, though it has more than a hundred characters".repeat(9),
    );
    expect(await fail(1, ...args(text))).toBe(`mergelite: ${text} is not an SQLite database\n`);
  });

  test("a damaged file is named with what is wrong", async () => {
    const file = await replicated();
    truncateSync(file, 8192);
    const { code, stderr } = await run("status", file);
    expect(code).toBe(1);
    expect(stderr).toContain(`mergelite: ${file} is damaged: `);
  });

  test("a file that is not replicated is not touched", async () => {
    const file = database();
    const other = await replicated();
    for (const args of [
      ["status", file],
      ["log", file],
      ["serve", file, "--listen", "127.0.0.1:0"],
      ["sync", file, "ws://127.0.0.1:1"],
      ["sync", other, file],
      ["verify", file, other],
      ["verify", other, file],
    ]) {
      const stderr = await fail(1, ...args);
      expect(stderr).toBe(`mergelite: ${file} is not replicated\nhint: mergelite init ${file}\n`);
    }
    expect(query(file, "SELECT name FROM sqlite_schema WHERE name LIKE '%mergelite%'")).toEqual([]);
  });

  test("a name that is empty is no file's", async () => {
    for (const args of [
      ["status", ""],
      ["sync", database(), ""],
      ["ship", "", "file:///x"],
    ]) {
      expect(await fail(2, ...args)).toContain("the name of a file is empty\n");
    }
  });

  test("two names of one file are refused", async () => {
    const file = await replicated();
    const again = join(folder.path, ".", file.slice(folder.path.length));
    const link = folder.file();
    linkSync(file, link);
    for (const command of ["sync", "verify"]) {
      expect(await fail(1, command, file, again)).toContain("are one file\n");
      expect(await fail(1, command, file, link)).toContain("are one file\n");
    }
  });

  test("a journal of a killed program is named", async () => {
    const file = await replicated();
    const killed = folder.file();
    const db = new Database(file);
    db.loadExtension(extensionPath);
    db.exec("PRAGMA journal_mode = DELETE; PRAGMA cache_size = 1; BEGIN");
    const insert = db.prepare("INSERT INTO note VALUES (?, ?, 0)");
    for (let id = 10; id < 3000; id++) insert.run(id, "x".repeat(100));
    for (const suffix of ["", "-journal"]) copyFileSync(file + suffix, killed + suffix);
    db.close();
    for (const args of [
      ["status", killed],
      ["verify", file, killed],
    ]) {
      const stderr = await fail(1, ...args);
      expect(stderr).toContain(`${killed} has a journal of a transaction that was not ended\n`);
      expect(stderr).toContain("for writing once");
    }
    execute(killed, "UPDATE note SET body = 'again' WHERE id = 1");
    expect(await succeed("status", killed)).toContain("note  2  rows\n");
  });
});

describe("init", () => {
  test("takes all tables that have a key and names the others", async () => {
    const file = database();
    const stdout = await succeed("init", file);
    expect(stdout).toBe(
      "replicated  note     2 rows\n" +
        "replicated  tag      1 row\n" +
        "skipped     journal  no declared primary key\n",
    );
    const again = parse<{ tables: unknown }>(await succeed("init", file, "--json"));
    expect(again.tables).toEqual([
      { table: "note", rows: 2, isNew: false },
      { table: "tag", rows: 1, isNew: false },
    ]);
  });

  test("takes only the named tables", async () => {
    const file = database();
    const { tables, skipped } = parse<{ tables: { table: string }[]; skipped: unknown[] }>(
      await succeed("init", file, "TAG", "--json"),
    );
    expect(tables.map(({ table }) => table)).toEqual(["tag"]);
    expect(skipped).toEqual([]);
    expect(query(file, "SELECT name FROM sqlite_schema WHERE name LIKE '%_patches'")).toEqual([
      ["tag_patches"],
    ]);
  });

  test("a named table that cannot be replicated leaves the others alone", async () => {
    const file = database();
    expect(await fail(1, "init", file, "note", "journal")).toContain(
      'mergelite: table "journal" cannot be replicated: no declared primary key\n',
    );
    expect(query(file, "SELECT name FROM sqlite_schema WHERE name LIKE '%_patches'")).toEqual([]);
    expect(await fail(1, "init", file, "nothing")).toContain(
      `mergelite: there is no table "nothing"\nhint: The tables of ${file} are `,
    );
  });

  test("what only the native core refuses is skipped with its reason, too", async () => {
    const file = database(
      "CREATE TABLE t (id INTEGER PRIMARY KEY, _op TEXT); CREATE TABLE u (k PRIMARY KEY)",
    );
    expect(await succeed("init", file)).toMatch(
      /^replicated {2}u +0 rows\nskipped +t +table "t" has/,
    );
  });

  test("a file without a table to replicate", async () => {
    const file = database("CREATE TABLE journal (line TEXT)");
    const stderr = await fail(1, "init", file);
    expect(stderr).toContain("has no table that can be replicated\n");
    expect(stderr).toContain("hint: journal: no declared primary key\n");
    expect(query(file, "SELECT name FROM sqlite_schema")).toEqual([["journal"]]);
  });

  test("AUTOINCREMENT is warned about, once", async () => {
    const file = database("CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT)");
    const { code, stderr } = await run("init", file);
    expect(code).toBe(0);
    expect(stderr).toMatch(/^warning: table t counts its ids with AUTOINCREMENT.*\n$/);
  });
});

describe("status", () => {
  test("shows peers, tables and the log", async () => {
    const file = await replicated();
    execute(file, "INSERT INTO note VALUES (3, 'three', 3)");
    const status = parse<Record<string, unknown> & { peerId: number }>(
      await succeed("status", file, "--json"),
    );
    const { peerId } = status;
    expect(status).toMatchObject({
      file,
      tables: [
        { table: "note", rows: 3 },
        { table: "tag", rows: 1 },
      ],
      log: { changesets: 3 },
      origins: [{ peerId, held: 3, merged: 3 }],
      parked: [],
      refused: 0,
    });
    const text = await succeed("status", file);
    expect(text).toContain(`peer     ${peerId}\n`);
    expect(text).toMatch(/^tables {3}note {2}3 {2}rows\n {9}tag {3}1 {2}row\n/m);
    expect(text).toMatch(/^log {6}3 changesets, \d+ bytes, newest 20/m);
    expect(text).toMatch(/^parked {3}none$/m);
  });

  test("lists conflicts when it is asked to", async () => {
    const schema =
      "CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE t (id INTEGER PRIMARY KEY, u TEXT UNIQUE, p REFERENCES p)";
    const [a, b] = [database(schema), database(schema)];
    for (const file of [a, b]) await succeed("init", file);
    execute(a, "INSERT INTO t VALUES (1, 'x', NULL)");
    execute(b, "PRAGMA foreign_keys = OFF; INSERT INTO t VALUES (2, 'x', NULL), (3, 'y', 7)");
    await succeed("sync", a, b);
    const status = parse<Record<string, unknown>>(
      await succeed("status", a, "--conflicts", "--json"),
    );
    expect(status).toMatchObject({
      parked: [{ table: "t", reason: "unique", count: 1 }],
      violations: [{ table: "t", reason: "foreign-key", count: 1 }],
      conflicts: [
        { table: "t", reason: "unique", key: { id: 2 }, values: { u: "x", p: null } },
        { table: "t", reason: "foreign-key", key: { id: 3 }, values: { p: 7 } },
      ],
    });
    const text = await succeed("status", a, "--conflicts");
    expect(text).toMatch(/^rows {5}t {2}1 {2}in violation of: foreign-key$/m);
    expect(text).toMatch(/^t {2}unique {7}\d+\.\d+ {2}id = 2 {2}u = 'x', p = NULL {2}UNIQUE/m);
    expect(text).toMatch(/^t {2}foreign-key .* id = 3 {2}p = 7 {13,}p has no such row$/m);
  });

  test("leaves out a table that was dropped without the extension", async () => {
    const file = await replicated();
    const db = new Database(file);
    db.exec("DROP TABLE note");
    db.close();
    expect(await succeed("status", file, "--conflicts")).toMatch(/^tables {3}tag {2}1 {2}row\n/m);
  });

  test("does not write the file", async () => {
    const file = await replicated();
    const before = readFileSync(file);
    await succeed("status", file);
    await succeed("log", file);
    expect(readFileSync(file).equals(before)).toBe(true);
  });
});

describe("log", () => {
  interface Line {
    peerId: number;
    sequence: number;
    tables: unknown;
    patches: number;
  }

  async function written(): Promise<string> {
    const file = await replicated();
    execute(
      file,
      `BEGIN; INSERT INTO note VALUES (3, 'it''s', x'00ff'); UPDATE note SET body = 'uno' WHERE id = 1;
       INSERT INTO tag VALUES (3, 'blue'); COMMIT;
       DELETE FROM note WHERE id = 2`,
    );
    return file;
  }

  test("one line for each changeset, oldest first", async () => {
    const lines = (await succeed("log", await written())).trimEnd().split("\n");
    expect(lines.map((line) => line.replace(/^.*?(\.\d+) /, "$1 "))).toEqual([
      ".1  note +2",
      ".2  tag +1",
      ".3  note +1 ~1, tag +1",
      ".4  note -1",
    ]);
    expect(lines[0]).toMatch(/^before replication {2}/);
    expect(lines[3]).toMatch(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}Z {2}\d+\.4 /);
  });

  test("--limit takes the newest, --since what follows", async () => {
    const file = await written();
    const newest = parse<Line[]>(await succeed("log", file, "--json", "--limit", "2"));
    expect(newest.map(({ sequence }) => sequence)).toEqual([3, 4]);
    expect(newest[0]).toMatchObject({
      patches: 3,
      tables: [
        { table: "note", insert: 1, update: 1, delete: 0 },
        { table: "tag", insert: 1, update: 0, delete: 0 },
      ],
    });
    const peerId = newest[0]?.peerId;
    const since = ["log", file, "--json", "--since", `${peerId}.1`, "--limit", "2"];
    const next = parse<Line[]>(await succeed(...since));
    expect(next.map(({ sequence }) => sequence)).toEqual([2, 3]);
    expect(parse(await succeed("log", file, "--json", "--since", "1.1"))).toEqual([]);
  });

  test("--table shows one line for each patch", async () => {
    const file = await written();
    const lines = (await succeed("log", file, "--table", "note")).trimEnd().split("\n");
    expect(lines.map((line) => line.replace(/^.*?(\.\d+) /, "$1 "))).toEqual([
      ".1  insert  id = 1  body = 'one', size = 1.5",
      ".1  insert  id = 2  body = 'two', size = NULL",
      ".3  insert  id = 3  body = 'it''s', size = x'00ff'",
      ".3  update  id = 1  body = 'uno'",
      ".4  delete  id = 2",
    ]);
    const patches = parse<unknown[]>(await succeed("log", file, "--table", "note", "--json"));
    expect(patches[2]).toMatchObject({
      sequence: 3,
      operation: "insert",
      key: { id: 3 },
      values: { body: "it's", size: { blob: "00ff" } },
    });
    expect(await fail(1, "log", file, "--table", "journal")).toContain(
      "does not replicate a table",
    );
  });

  test("--table knows columns by the names that they had", async () => {
    const file = await written();
    execute(
      file,
      `ALTER TABLE note RENAME COLUMN id TO number;
       ALTER TABLE note RENAME COLUMN body TO Text;
       ALTER TABLE note DROP COLUMN size;`,
    );
    execute(file, "UPDATE note SET text = 'eins' WHERE number = 1");
    const lines = (await succeed("log", file, "--table", "note")).trimEnd().split("\n");
    const parts = lines.map((line) => line.replace(/^.*?(\.\d+) /, "$1 "));
    expect(parts.slice(1)).toEqual([
      ".1  insert  number = 2  Text = 'two', size (no such column here)",
      ".3  insert  number = 3  Text = 'it''s', size (no such column here)",
      ".3  update  number = 1  Text = 'uno'",
      ".4  delete  number = 2",
      ".5  update  number = 1  Text = 'eins'",
    ]);
    const json = await succeed("log", file, "--table", "note", "--json");
    expect(parse<object[]>(json)[2]).toMatchObject({
      key: { number: 3 },
      values: { Text: "it's" },
    });
  });

  test("integers beyond 53 bits keep their digits", async () => {
    const file = await replicated();
    execute(file, "INSERT INTO note VALUES (9007199254740993, NULL, NULL)");
    expect(await succeed("log", file, "--table", "note")).toContain("id = 9007199254740993");
    const json = await succeed("log", file, "--table", "note", "--json");
    expect(parse<{ key: unknown }[]>(json).at(-1)?.key).toEqual({
      id: { integer: "9007199254740993" },
    });
  });

  test("what is infinite is not nothing", async () => {
    const file = await replicated();
    execute(file, "INSERT INTO note VALUES (3, NULL, 9e999), (4, NULL, -9e999)");
    const text = await succeed("log", file, "--table", "note");
    expect(text).toMatch(/size = 9e999\n.*size = -9e999\n/);
    const json = await succeed("log", file, "--table", "note", "--json");
    const values = parse<{ values: object }[]>(json).map((each) => each.values);
    expect(values.slice(-2)).toEqual([
      { body: null, size: { real: "9e999" } },
      { body: null, size: { real: "-9e999" } },
    ]);
  });

  test("a reader that has seen enough ends it quietly", async () => {
    const file = await written();
    execute(
      file,
      `WITH RECURSIVE n (i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
       INSERT INTO note SELECT i, 'filler', i FROM n`,
    );
    const log = start("log", file, "--table", "note");
    log.process.stdout?.once("data", () => log.process.stdout?.destroy());
    const { code, stderr } = await log.finished;
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  });
});

test("what nobody reads is an answer all the same", async () => {
  const file = await replicated();
  const other = folder.file();
  copyFileSync(file, other);
  execute(other, "UPDATE note SET body = 'other' WHERE id = 1");
  const verify = start("verify", file, other);
  verify.process.stdout?.destroy();
  expect(await verify.finished).toMatchObject({ code: 1, stderr: "" });
});

test.runIf(existsSync("/dev/full"))("what cannot be printed is a failure of one line", async () => {
  const file = await replicated();
  const out = openSync("/dev/full", "w");
  const args = [main, "status", file];
  const { status, stderr } = spawnSync(process.execPath, args, {
    stdio: ["ignore", out, "pipe"],
    encoding: "utf8",
  });
  closeSync(out);
  expect(status).toBe(1);
  expect(stderr).toMatch(/^mergelite: what is printed cannot be written: .*\n$/);
});

describe("sync and verify of two files", () => {
  test("bring them together and find them equal", async () => {
    const left = await replicated();
    const right = folder.file();
    copyFileSync(left, right);
    await succeed("sync", left, right);
    execute(
      left,
      "UPDATE note SET body = 'left' WHERE id = 1; INSERT INTO note VALUES (5, 'l', 5)",
    );
    execute(right, "UPDATE note SET size = 7 WHERE id = 1; DELETE FROM tag");

    const different = await run("verify", left, right);
    expect(different).toMatchObject({ code: 1, stderr: "" });
    expect(different.stdout).toBe(
      "note  3  here  2  there\n" +
        "tag   1  here  0  there\n" +
        "  note  1         differs\n" +
        "  note  5         missing there\n" +
        "  tag   1, 'red'  missing there\n" +
        "different: 3 differences\n",
    );
    const limited = await run("verify", left, right, "--json", "--limit", "1");
    expect(limited.code).toBe(1);
    const { differences, tables } = parse<{
      differences: number;
      tables: { differences: object[] }[];
    }>(limited.stdout);
    expect(differences).toBe(3);
    expect(tables.flatMap((table) => table.differences)).toHaveLength(1);

    const synced = parse<object>(await succeed("sync", left, right, "--json"));
    expect(synced).toMatchObject({
      file: left,
      other: right,
      received: { changesets: 2, patches: 2, lost: 0, parked: 0 },
      sent: { changesets: 2 },
    });
    expect(await succeed("verify", left, right)).toContain("identical: 2 tables, 3 rows\n");
    expect(query(right, "SELECT body, size FROM note WHERE id = 1")).toEqual([["left", 7]]);
    expect(await succeed("sync", left, right)).toMatch(
      /^received {2}0 changesets, 0 patches\nsent {6}0 changesets\nin sync with peer \d+/,
    );
  });

  test("verify repairs what was written behind the library's back", async () => {
    const left = await replicated();
    const right = folder.file();
    copyFileSync(left, right);
    await succeed("sync", left, right);
    const db = new Database(right);
    untracked(db, "UPDATE note SET body = 'rot' WHERE id = 1; DELETE FROM note WHERE id = 2");
    db.close();
    expect(await run("verify", left, right, "--keep", "here")).toMatchObject({ code: 2 });
    const { code, stdout } = await run("verify", left, right, "--repair", "--keep", "here");
    expect(stdout).toMatch(
      /note {2}1 {2}differs\n.*note {2}2 {2}missing there\nrepaired: 2 rows sent/s,
    );
    expect(code).toBe(0);
    expect(await succeed("verify", left, right)).toContain("identical");
    expect(query(right, "SELECT body FROM note WHERE id = 1")).not.toEqual([["rot"]]);
  });

  test("verify tells types, case and bytes apart", async () => {
    const sql = "CREATE TABLE t (id TEXT COLLATE NOCASE PRIMARY KEY, v COLLATE NOCASE)";
    const left = database(
      `${sql}; INSERT INTO t VALUES ('a', 1), ('b', 'x'), ('c', 'same'), ('d', NULL), ('e', 'f')`,
    );
    const right = database(
      `${sql}; INSERT INTO t VALUES ('a', 1.0), ('b', 'X'), ('c', 'same'), ('d', ''), ('E', 'f')`,
    );
    for (const file of [left, right]) await succeed("init", file);
    const { code, stdout } = await run("verify", left, right);
    expect(code).toBe(1);
    expect(stdout.match(/^ {2}t .*/gm)).toEqual([
      "  t  'a'  differs",
      "  t  'b'  differs",
      "  t  'd'  differs",
      "  t  'e'  differs",
    ]);
  });

  test("verify reports tables and columns that one side lacks", async () => {
    const left = database(
      "CREATE TABLE t (id INTEGER PRIMARY KEY, a); CREATE TABLE u (id INTEGER PRIMARY KEY)",
    );
    const right = database(
      "CREATE TABLE t (id INTEGER PRIMARY KEY, b); CREATE TABLE v (id INTEGER PRIMARY KEY)",
    );
    for (const file of [left, right]) await succeed("init", file);
    const { code, stdout } = await run("verify", left, right);
    expect(code).toBe(1);
    expect(stdout.match(/^ {2}\S.*/gm)).toEqual([
      '  t  (the column "a")   missing there',
      '  t  (the column "b")   missing here',
      "  u  (the whole table)  missing there",
      "  v  (the whole table)  missing here",
    ]);
  });

  test("a file restored to an older state gets back what it had written", async () => {
    const [left, right] = [await replicated(), await replicated()];
    const backup = readFileSync(left);
    execute(left, "INSERT INTO note VALUES (6, 'after the backup', 6)");
    await succeed("sync", left, right);
    const { peerId } = parse<{ peerId: number }>(await succeed("status", left, "--json"));
    writeFileSync(left, backup);
    await succeed("sync", left, right);
    expect(await succeed("verify", left, right)).toContain("identical: 2 tables, 4 rows\n");
    const after = parse<{ peerId: number }>(await succeed("status", left, "--json"));
    expect(after.peerId).not.toBe(peerId);
  });

  test("sync refuses two copies that think they are one peer", async () => {
    const left = await replicated();
    const right = folder.file();
    copyFileSync(left, right);
    // What a copy takes its own id by: without it, nobody can tell.
    execute(right, "DELETE FROM _mergelite_meta WHERE key = 'file_mark'");
    const stderr = await fail(1, "sync", left, right);
    expect(stderr).toContain("refused the link: ");
    expect(stderr).toContain("PEER_ID_IN_USE");
  });
});

describe("forget", () => {
  test("names a peer the file has linked with, and nothing else", async () => {
    const file = await replicated();
    execute(file, "INSERT INTO _mergelite_peers (peer, vector, heard) VALUES (77, x'00', 1000)");
    const before = parse(await succeed("status", file, "--json"));
    expect(before).toMatchObject({ peers: [{ peerId: 77, behind: 2, forgotten: false }] });
    expect(await succeed("forget", file, "77")).toBe("peer 77 is forgotten\n");
    expect(await succeed("status", file)).toMatch(/known {4}77 {2}behind {2}2 .* forgotten/);
    expect(await fail(1, "forget", file, "78")).toContain("has not linked with that peer");
    expect(await fail(2, "forget", file, "x")).toContain("a peer id is a number");
  });
});

describe("detach", () => {
  test("leaves an ordinary database with the same rows", async () => {
    const file = await replicated();
    expect(await succeed("detach", file)).toContain("is an ordinary database again, 2 tables\n");
    expect(query(file, "SELECT name FROM sqlite_schema ORDER BY name")).toEqual([
      ["journal"],
      ["note"],
      ["tag"],
    ]);
    expect(query(file, "SELECT count(*) FROM note")).toEqual([[2]]);
    expect(parse(await succeed("detach", file, "--json"))).toEqual({ file, tables: [] });
    await succeed("init", file);
  });
});

describe("errors", () => {
  test("the stack is shown to those who ask for it", async () => {
    const missing = join(folder.path, "missing.db");
    const asked = new Running(["status", missing], { NODE_DEBUG: "mergelite" });
    expect((await asked.finished).stderr).toMatch(/does not exist\n(.*\n)* {4}at /);
  });

  /** The compiled command in a folder of its own, beside a better-sqlite3 that is said to be there. */
  function elsewhere(version?: string): string {
    const place = join(folder.path, `elsewhere-${version}`);
    cpSync(new URL("../../dist", import.meta.url), place, { recursive: true });
    writeFileSync(join(place, "package.json"), '{ "type": "module" }');
    if (version === undefined) return join(place, "cli/main.js");
    const stub = join(place, "node_modules/better-sqlite3");
    mkdirSync(stub, { recursive: true });
    writeFileSync(join(stub, "package.json"), JSON.stringify({ version, main: "index.js" }));
    writeFileSync(join(stub, "index.js"), "process.abort();");
    return join(place, "cli/main.js");
  }

  test("without better-sqlite3 the hint says how to get it", async () => {
    const args = [elsewhere(), "status", await replicated()];
    const { status, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
    expect(stderr).toBe(
      "mergelite: the package better-sqlite3 is missing\nhint: npm install better-sqlite3\n",
    );
    expect(status).toBe(1);
  });

  // Node.js 22 and newer have what better-sqlite3 13 needs.
  test.skipIf(Number(process.versions.napi) >= 10)(
    "a better-sqlite3 that this Node.js does not survive is not loaded",
    async () => {
      const args = [elsewhere("13.2.0"), "status", await replicated()];
      const { status, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
      expect(stderr).toMatch(
        /^mergelite: better-sqlite3 13\.2\.0 does not run on Node\.js .*\nhint: npm install better-sqlite3@\^12/,
      );
      expect(status).toBe(1);
    },
  );
});
