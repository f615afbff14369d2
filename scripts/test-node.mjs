// Runs the tests on other versions of Node: `npm run test:node -- 22 24 26`. Those come from the
// registry as node-linux-<arch>. node_modules is taken over by links, with the better-sqlite3 that
// the version needs, because the repository's own may be the one for Node 20.
import { spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

// The first Node that has Node-API 10, which better-sqlite3 13 needs.
const nodeOfSqlite13 = 22;

function linkModules(folder, major) {
  mkdirSync(join(folder, "node_modules"));
  for (const name of readdirSync("node_modules")) {
    if (name === "better-sqlite3" || name === ".cache" || name === ".vite") continue;
    symlinkSync(resolve("node_modules", name), join(folder, "node_modules", name));
  }
  const newer = existsSync("node_modules/better-sqlite3-13")
    ? "node_modules/better-sqlite3-13"
    : "node_modules/better-sqlite3";
  const chosen = major >= nodeOfSqlite13 ? newer : "node_modules/better-sqlite3-12";
  symlinkSync(resolve(chosen), join(folder, "node_modules/better-sqlite3"));
}

/** True when all tests pass on that version. */
function testOn(version) {
  const folder = mkdtempSync(join(tmpdir(), `mergelite-node-${version}-`));
  try {
    linkModules(folder, Number.parseInt(version, 10));
    const left = new Set(["node_modules", ".git", "tmp", "coverage"]);
    for (const name of readdirSync(".").filter((entry) => !left.has(entry))) {
      cpSync(name, join(folder, name), { recursive: true, verbatimSymlinks: true });
    }
    process.stdout.write(`Node ${version}\n`);
    const node = `node-${process.platform}-${process.arch}@${version}`;
    const vitest = ["node", "node_modules/vitest/vitest.mjs", "run"];
    const { status } = spawnSync("npx", ["-y", "-p", node, ...vitest], {
      cwd: folder,
      stdio: "inherit",
    });
    return status === 0;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const versions = process.argv.slice(2);
if (versions.length === 0 || versions.some((version) => !/^\d+(\.\d+)*$/.test(version))) {
  process.stderr.write("usage: npm run test:node -- <version> [<version> ...]\n");
  process.exit(2);
}
const failed = versions.filter((version) => !testOn(version));
if (failed.length > 0) process.stderr.write(`failed on Node ${failed.join(", ")}\n`);
process.exitCode = failed.length === 0 ? 0 : 1;
