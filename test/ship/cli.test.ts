/** `mergelite ship`, as a process beside the one that writes. */
import { mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import Database from "better-sqlite3";
import { describe, expect, test, vi } from "vitest";
import { planConfig } from "../../src/cli/ship-plan.ts";
import { acquireLease } from "../../src/ship/lease.ts";
import { bytesOf } from "../../src/storage/driver.ts";
import { fileStorage, type Storage } from "../../src/storage/index.ts";
import { fail, Running, run, start, succeed } from "../support/cli.ts";
import { temporaryFolder } from "../support/folder.ts";
import { expectSame, openWal } from "../support/ship.ts";

const folder = temporaryFolder();
const urlOf = (path: string) => pathToFileURL(path).href;

interface ShipEvent {
  readonly event: string;
  readonly file: string;
}

function eventsOf(stdout: string): ShipEvent[] {
  return stdout
    .trim()
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line) as ShipEvent);
}

/**
 * As one does whom its holder, that stood still, has not noticed: the next numbers are put. Not
 * before something was shipped there.
 */
async function takeLease(storage: Storage): Promise<void> {
  const keysOf = async (prefix: string) => {
    const keys: string[] = [];
    for await (const { key } of storage.list(prefix)) keys.push(key);
    return keys;
  };
  while ((await keysOf("ltx/")).length === 0) await new Promise((r) => setTimeout(r, 20));
  const newest = (await keysOf("mergelite/lease/")).at(-1) ?? "";
  const record = Buffer.from(await bytesOf((await storage.get(newest)).body)).toString();
  const foreign = Buffer.from(record.replace(/"(holder|holding)":"[^"]*"/g, '"$1":"other"'));
  const number = Number.parseInt(newest.slice(-16), 16);
  for (let ahead = 1; ahead <= 5; ahead++) {
    const name = (number + ahead).toString(16).padStart(16, "0");
    await storage.putIfAbsent(`mergelite/lease/${name}`, foreign);
  }
}

test("ships commits of another process until it is told to stop", async () => {
  const file = folder.file();
  const db = openWal(file);
  const child = start("ship", file, urlOf(`${file}-backup`), "--interval", "20", "--json");
  for (let i = 1; i <= 3; i++) {
    await child.printed(new RegExp(`("event":"shipped".*\n[^]*){${i}}`));
    db.exec("INSERT INTO note (body) VALUES ('a')");
  }
  child.kill("SIGTERM");
  expect(await child.finished).toMatchObject({ code: 0, stderr: "" });
  await expectSame(fileStorage(`${file}-backup`), db, `${file}.copy`);
  db.close();
});

test("says that a place has somebody else's backup, and goes on with it", async () => {
  const [first, second] = [folder.file(), folder.file()];
  const url = urlOf(`${first}-backup`);
  const databases = [first, second].map((file) => openWal(file));
  databases[1]?.exec("CREATE TABLE other (id INTEGER PRIMARY KEY)");
  const strange = "the storage holds what was not shipped from here";
  expect(await succeed("ship", first, url, "--once")).not.toContain(strange);
  expect(await succeed("ship", first, url, "--once")).not.toContain(strange);
  expect(await succeed("ship", second, url, "--once")).toContain(strange);
  for (const db of databases) {
    if (db === databases[1]) await expectSame(fileStorage(`${first}-backup`), db, `${first}.copy`);
    db.close();
  }
});

test("runs a command when a storage that was away is back, with nothing to ship", async () => {
  const file = folder.file();
  openWal(file).close();
  const place = `${file}-backup`;
  await succeed("ship", file, urlOf(place), "--once");
  renameSync(place, `${place}-away`);
  writeFileSync(place, "");
  const exec = `"${process.execPath}" -e "process.exit(9)"`;
  const child = start("ship", file, urlOf(place), "--exec", exec);
  await vi.waitFor(() => expect(child.stderr).toContain("trying again"), { timeout: 20_000 });
  rmSync(place);
  renameSync(`${place}-away`, place);
  expect(await child.finished).toMatchObject({ code: 9 });
});

test("without a reader it ends in order, and goes on beside a command", async () => {
  const file = folder.file();
  const db = openWal(file);
  const url = urlOf(`${file}-backup`);
  const child = start("ship", file, url, "--interval", "20");
  await child.printed(/shipped|transaction/);
  child.process.stdout?.destroy();
  db.exec("INSERT INTO note (body) VALUES ('a')");
  expect(await child.finished).toMatchObject({ code: 0, stderr: "" });
  await expectSame(fileStorage(`${file}-backup`), db, `${file}.copy`);
  // Its place was given back: for one of another folder there is nothing to wait for.
  const code = `setTimeout(() => process.exit(9), 1000)`;
  const exec = `"${process.execPath}" -e "${code}"`;
  const elsewhere = join(`${file}-elsewhere`, "app.db");
  mkdirSync(`${file}-elsewhere`);
  openWal(elsewhere).close();
  const beside = start("ship", elsewhere, url, "--metrics", "127.0.0.1:0", "--exec", exec);
  beside.process.stderr?.destroy();
  expect(await beside.finished).toMatchObject({ code: 9, stderr: "" });
  db.close();
});

test("several files have a place each, by their names", async () => {
  const [first, second] = [folder.file(), folder.file()];
  const databases = [first, second].map((file) => openWal(file));
  const place = `${first}-backups`;
  const stdout = await succeed("ship", first, second, urlOf(place), "--once", "--json");
  for (const [i, file] of [first, second].entries()) {
    const storage = fileStorage(join(place, file.slice(file.lastIndexOf("/") + 1)));
    const db = databases[i];
    if (db !== undefined) await expectSame(storage, db, `${file}.copy`);
    // Whoever runs it by a schedule has a backup that is kept, too.
    const events = eventsOf(stdout).filter((each) => each.file === file);
    expect(events.map(({ event }) => event)).toContain("verified");
    db?.close();
  }
  mkdirSync(`${first}-folder`);
  const twin = join(`${first}-folder`, first.slice(first.lastIndexOf("/") + 1));
  openWal(twin).close();
  const error = await fail(1, "ship", first, twin, urlOf(place), "--once");
  expect(error).toContain("would both be shipped to");
  expect(await fail(1, "ship", first, `${first}-none`, urlOf(place))).toContain("does not exist");
});

describe("a configuration file", () => {
  const write = (text: string) => {
    const path = `${folder.file()}.toml`;
    writeFileSync(path, text);
    return path;
  };
  const database = (rest = "") => `[[database]]\nfile = "a.db"\ntargets = ["file:///b"]\n${rest}`;

  test("has many databases, and several storages of each", async () => {
    const [first, second] = [folder.file(), folder.file()];
    const databases = [first, second].map((file) => openWal(file));
    const tables = [first, second].map((file) => {
      const targets = [`${file}-one`, `${file}-two`].map((place) => `"${urlOf(place)}"`);
      return `[[database]]\nfile = "${file}"\ntargets = [${targets.join(", ")}]\n`;
    });
    const options = "[options]\nintervalMs = 10\n[options.keep]\nsnapshotsMin = 3\n";
    const own = "[database.options]\nkeep = false\n";
    await succeed("ship", "--config", write(`${options}${tables.join("")}${own}`), "--once");
    for (const [i, file] of [first, second].entries()) {
      const db = databases[i];
      if (db === undefined) continue;
      await expectSame(fileStorage(`${file}-one`), db, `${file}.copy`);
      await expectSame(fileStorage(`${file}-two`), db, `${file}.copy`);
      db.close();
    }
  });

  test.each([
    ["file = 1", 'has no key "file"'],
    [database("url = 5"), '[[database]] 1 has no key "url"'],
    [database("[database.options]\nintervall = 5"), '[options] has no key "intervall"'],
    [database("[database.options]\nintervalMs = -5"), "[options]: intervalMs must be"],
    [database("[database.options.keep]\ndays = 5"), '[options]: keep has no option "days"'],
    [database() + database(), "is named twice"],
    [`${database()}${database().replace("a.db", "b.db")}`, "would both be shipped to"],
    ["[[database]]\ntargets = []", "file must be a text"],
    ["[[database]]\nfile = 'a'\ntargets = []", "targets must be an array of URLs"],
    ["[database]\nfile = 'a'", "write [[database]]"],
    ["", "has no [[database]]"],
    ["a = [1", "line 1"],
  ])("%j is refused", (text, message) => {
    expect(() => planConfig(write(text), {})).toThrow(message);
  });
});

describe("with --exec", () => {
  test("ships what the command has written last, and ends as it does", async () => {
    const file = folder.file();
    openWal(file).close();
    const sqlite = createRequire(import.meta.url).resolve("better-sqlite3");
    writeFileSync(
      `${file}.cjs`,
      `const db = new (require(${JSON.stringify(sqlite)}))(process.argv[2]);
      db.exec("DELETE FROM note; INSERT INTO note (body) VALUES ('last')");
      process.exit(7);`,
    );
    const command = `node ${file}.cjs ${file}`;
    const { code, stdout } = await run("ship", file, urlOf(`${file}-b`), "--exec", command);
    expect({ code, stdout }).toEqual({ code: 7, stdout: "" });
    const db = new Database(file);
    expect(db.prepare("SELECT body FROM note").pluck().all()).toEqual(["last"]);
    await expectSame(fileStorage(`${file}-b`), db, `${file}.copy`);
    db.close();
  });

  test("passes signals on, and waits", async () => {
    const file = folder.file();
    openWal(file).close();
    const loop = "echo ready; while :; do sleep 0.05; done";
    const command = `sh -c "trap 'echo asked; sleep 0.1; exit 5' TERM; ${loop}"`;
    const child = start("ship", file, urlOf(`${file}-b`), "--exec", command);
    await child.printed(/ready/);
    child.kill("SIGTERM");
    expect(await child.finished).toMatchObject({ code: 5, stdout: "ready\nasked\n" });
  });

  test("asks the command to end when the place is lost", async () => {
    const file = folder.file();
    openWal(file).close();
    const config = `${file}.toml`;
    const database = `[[database]]\nfile = "${file}"\ntargets = ["${urlOf(`${file}-b`)}"]\n`;
    writeFileSync(config, `[options]\nleaseTtlMs = 1000\n${database}`);
    const loop = "echo ready; while :; do sleep 0.05; done";
    const command = `sh -c "trap 'echo asked; exit 5' TERM; ${loop}"`;
    const child = start("ship", "--config", config, "--exec", command);
    await child.printed(/ready/);
    await takeLease(fileStorage(`${file}-b`));
    const { code, stdout, stderr } = await child.finished;
    expect({ code, stdout }).toEqual({ code: 1, stdout: "ready\nasked\n" });
    expect(stderr).toMatch(/^mergelite: .* is not shipped any more: .* is another one's by now$/m);
  });

  test("does not begin when a place was lost while others were waited for", async () => {
    const [file, other] = [folder.file(), folder.file()];
    for (const each of [file, other]) openWal(each).close();
    const [first, second] = [`${file}-b`, `${other}-b`];
    // The second place is held, and given back only when the first one has been lost.
    const lease = await acquireLease(fileStorage(second), { ttlMs: 8000 });
    const config = `${file}.toml`;
    const databases = [
      [file, first],
      [other, second],
    ].map(([name, place = ""]) => {
      return `[[database]]\nfile = "${name}"\ntargets = ["${urlOf(place)}"]\n`;
    });
    writeFileSync(config, `[options]\nleaseTtlMs = 1000\n${databases.join("")}`);
    const child = start("ship", "--config", config, "--exec", "echo begun");
    while (!child.stderr.includes("waiting")) await new Promise((r) => setTimeout(r, 20));
    await takeLease(fileStorage(first));
    while (!child.stderr.includes("another one's by now")) {
      await lease.renew();
      await new Promise((r) => setTimeout(r, 100));
    }
    await lease.release();
    const { code, stdout } = await child.finished;
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
  });

  test("does not begin while another one has the place", async () => {
    const file = folder.file();
    openWal(file).close();
    const [place, other] = [urlOf(`${file}-b`), folder.file()];
    const db = openWal(other);
    db.exec("INSERT INTO note (body) VALUES ('other')");
    const config = `${other}.toml`;
    const options = "[options]\nleaseTtlMs = 8000\nholdLease = true\n";
    writeFileSync(config, `${options}[[database]]\nfile = "${other}"\ntargets = ["${place}"]\n`);
    const first = start("ship", "--config", config);
    await first.printed(/1 transaction/);
    const second = start("ship", file, place, "--exec", "echo begun");
    while (!second.stderr.includes("waiting")) await new Promise((r) => setTimeout(r, 20));
    expect(second.stdout).toBe("");
    first.kill("SIGTERM");
    expect(await second.finished).toMatchObject({ code: 0, stdout: "begun\n" });
    db.close();
  });
});

describe("--listen", () => {
  test("streams to followers what is shipped, a command's last commit, too", async () => {
    const file = folder.file();
    const copy = folder.file();
    const db = openWal(file);
    db.exec("INSERT INTO note (body) VALUES ('first')");
    const env = { MERGELITE_TOKEN: "let-me-in" };
    const place = urlOf(`${file}-b`);
    const child = new Running(["ship", file, place, "--listen", "127.0.0.1:0"], env);
    const [, url = ""] = await child.printed(/listening on (ws:\/\/\S+)/);
    const follower = new Running(["follow", url, copy], env);
    await follower.printed(/position [0-9a-f]{16}/);
    expect((await new Running(["follow", url, `${copy}-2`]).finished).stderr).toMatch(/let .* in/);
    db.exec("INSERT INTO note (body) VALUES ('second')");
    const bodies = () => {
      const read = new Database(copy, { readonly: true });
      const found = read.prepare("SELECT body FROM note").pluck().all();
      read.close();
      return found;
    };
    await expect.poll(bodies, { timeout: 20_000 }).toEqual(["first", "second"]);
    db.exec("INSERT INTO note (body) VALUES ('third')");
    child.kill("SIGTERM");
    expect(await child.finished).toMatchObject({ code: 0, stderr: "" });
    await expect.poll(bodies, { timeout: 20_000 }).toEqual(["first", "second", "third"]);
    await expectSame(fileStorage(`${file}-b`), db, `${file}-copy`);
    follower.kill("SIGTERM");
    expect((await follower.finished).code).toBe(0);
    db.close();
  });

  test("ends with the command of --exec, and leaves it the output", async () => {
    const file = folder.file();
    const db = openWal(file);
    const place = urlOf(`${file}-b`);
    const address = ["--listen", "127.0.0.1:0"];
    const child = start("ship", file, place, ...address, "--exec", "sh -c 'echo here; exit 3'");
    const { code, stdout, stderr } = await child.finished;
    expect({ code, stdout }).toEqual({ code: 3, stdout: "here\n" });
    expect(stderr).toMatch(/^listening on ws:\S+\n$/);
    await expectSame(fileStorage(`${file}-b`), db, `${file}-copy`);
    db.close();
  });

  test("is refused where it makes no sense", async () => {
    const [file, other] = [folder.file(), folder.file()];
    for (const each of [file, other]) openWal(each).close();
    const place = urlOf(`${file}-b`);
    const listen = ["--listen", "127.0.0.1:0"];
    expect(await fail(2, "ship", file, other, place, ...listen)).toMatch(/serves one database/);
    expect(await fail(2, "ship", file, place, ...listen, "--once")).toMatch(/exclude each other/);
    expect(await fail(2, "ship", file, place, "--token", "x")).toMatch(/--listen is needed/);
    expect(await fail(2, "ship", file, place, "--listen", "0.0.0.0:0")).toMatch(
      /a token is needed/,
    );
  });
});

test("--dry-run prints requests, and makes none", async () => {
  const file = folder.file();
  openWal(file).close();
  const place = urlOf(`${file}-b`);
  const stdout = await succeed("ship", file, place, "--dry-run", "--interval", "2000", "--json");
  const { perDay } = JSON.parse(stdout) as { perDay: Record<string, { puts: number }> };
  expect(perDay.shipping).toEqual({ puts: 43_200, gets: 0, lists: 0, deletes: 43_200 });
  expect(perDay.joining?.puts).toBeGreaterThan(2880);
  const table = await succeed("ship", file, place, "--dry-run", "--no-keep");
  expect(table).toMatch(/shipping +86,400 +0 +0 +0\n/);
  expect(await fail(1, "restore", place, `${file}-r`)).toContain("mergelite: ");
});
