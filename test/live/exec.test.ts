/** `mergelite follow --exec`: a program that runs while there is a good copy for it. */
import { existsSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, expect, test } from "vitest";
import { Running } from "../support/cli.ts";
import { temporaryFolder } from "../support/folder.ts";
import { Served } from "../support/live.ts";
import { openWal } from "../support/ship.ts";

const folder = temporaryFolder();
const started: Running[] = [];
afterEach(() => {
  for (const each of started.splice(0)) each.kill("SIGKILL");
});

/** Counts rows, again and again; SIGTERM ends it a while later, SIGHUP and exit code 7 at once. */
const program = `
import { createRequire } from "node:module";
const Database = createRequire(${JSON.stringify(`${process.cwd()}/package.json`)})("better-sqlite3");
const db = new Database(process.argv[2], { readonly: true });
const count = db.prepare("SELECT count(*) FROM note").pluck();
let last = -1;
setInterval(() => {
  const rows = count.get();
  if (rows !== last) process.stdout.write("rows " + rows + "\\n");
  last = rows;
}, 5);
process.on("SIGHUP", () => process.exit(7));
process.on("SIGTERM", () => {
  process.stdout.write("ending\\n");
  setTimeout(() => process.exit(0), 100);
});
`;

test("runs while the copy is good, gets signals, and its exit code counts", {
  timeout: 90_000,
}, async () => {
  const db = openWal(folder.file());
  const primary = await Served.start(db);
  const copy = folder.file();
  const script = `${copy}.mjs`;
  writeFileSync(script, program);
  const follow = () => {
    const command = `"${process.execPath}" "${script}" "${copy}"`;
    const running = new Running(["follow", primary.dialer.name, copy, "--exec", command]);
    started.push(running);
    return running;
  };
  let running = follow();
  await running.printed(/rows 0\n/);
  db.exec("INSERT INTO note (body) VALUES ('a')");
  await running.printed(/rows 1\n/);
  running.kill("SIGTERM");
  await running.printed(/ending/);
  db.exec("INSERT INTO note (body) VALUES ('b')");
  // Its end is waited for, and until then the copy is followed.
  expect(await running.finished).toMatchObject({ code: 0, stderr: "" });
  running = follow();
  await running.printed(/rows 2\n/);
  running.kill("SIGHUP");
  expect(await running.finished).toMatchObject({ code: 7, stderr: "" });
  await primary.close();
  db.close();
});

test("does not run without a good copy", async () => {
  const copy = folder.file();
  const made = `${copy}.made`;
  const command = `touch "${made}"`;
  const running = new Running(["follow", "ws://127.0.0.1:1", copy, "--exec", command]);
  expect(await running.finished).toMatchObject({ code: 1 });
  await sleep(10);
  expect(existsSync(made)).toBe(false);
});
