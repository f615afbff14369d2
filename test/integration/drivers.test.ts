/**
 * SQLite drivers and runtimes besides better-sqlite3 on Node: as many as there are. Bun is looked for
 * in MERGELITE_BUN and on the path.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { temporaryFolder } from "../support/folder.ts";

const folder = temporaryFolder();
const script = join(import.meta.dirname, "../support/driver-peers.mjs");
const bun = process.env.MERGELITE_BUN ?? "bun";

function runs(command: string, code: string): boolean {
  return spawnSync(command, ["-e", code], { stdio: "ignore" }).status === 0;
}

const [major = 0] = process.versions.node.split(".").map(Number);
// What Node 20 installs stands in place of better-sqlite3, and Bun cannot load that.
const there = {
  "node, better-sqlite3": true,
  "node, node:sqlite": runs(process.execPath, "require('node:sqlite')"),
  "bun, better-sqlite3": major >= 22 && runs(bun, "1"),
  "bun, node:sqlite": runs(bun, "1"),
};

describe("two peers converge with", () => {
  for (const [name, isThere] of Object.entries(there)) {
    const title = isThere ? name : `${name} (not there: left out)`;
    it.skipIf(!isThere)(title, { timeout: 60_000 }, () => {
      const [runtime, driver = ""] = name.split(", ");
      const command = runtime === "bun" ? bun : process.execPath;
      const files = mkdtempSync(join(folder.path, "peers-"));
      const { stdout, stderr } = spawnSync(command, [script, driver, files], { encoding: "utf8" });
      expect(`${stdout}${stdout === `${driver} ok\n` ? "" : stderr}`).toBe(`${driver} ok\n`);
    });
  }
});
