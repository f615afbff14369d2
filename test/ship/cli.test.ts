/** `mergelite ship`, as a process beside the one that writes. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath, pathToFileURL } from "node:url";
import { expect, test } from "vitest";
import { fileStorage } from "../../src/storage/index.ts";
import { temporaryFolder } from "../support/folder.ts";
import { expectSame, openWal } from "../support/ship.ts";

const folder = temporaryFolder();
const main = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));

test("ships commits of another process until it is told to stop", async () => {
  const file = folder.file();
  const db = openWal(file);
  const url = pathToFileURL(`${file}-backup`).href;
  const args = [main, "ship", file, url, "--interval", "20", "--json"];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  const exited = once(child, "exit");
  let shipped = 0;
  for await (const line of createInterface({ input: child.stdout })) {
    const { event } = JSON.parse(line) as { event: string };
    if (event !== "shipped" || shipped > 3) continue;
    db.exec("INSERT INTO note (body) VALUES ('a')");
    if (shipped++ === 3) child.kill("SIGTERM");
  }
  expect(await exited).toEqual([0, null]);
  await expectSame(fileStorage(`${file}-backup`), db, `${file}.copy`);
  db.close();
});
