// Brings a fresh checkout to the point where tests, demo and benchmarks can run, and does nothing
// when it is there already: better-sqlite3 for this Node, the addon, the compiled TypeScript.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, renameSync, rmSync, statSync, symlinkSync } from "node:fs";
import { join } from "node:path";

function run(title, args) {
  process.stderr.write(`${title} ...\n`);
  const { status } = spawnSync(process.execPath, args, { stdio: ["ignore", "ignore", "inherit"] });
  if (status !== 0) {
    process.stderr.write(`${title}: failed\n`);
    process.exit(status ?? 1);
  }
}

function newest(folder) {
  let latest = 0;
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile()) continue;
    latest = Math.max(latest, statSync(join(entry.parentPath ?? entry.path, entry.name)).mtimeMs);
  }
  return latest;
}

const built = (file) => (existsSync(file) ? statSync(file).mtimeMs : 0);

// better-sqlite3 13 needs Node-API 10 (Node >= 22) and ends older ones with SIGSEGV at load. There
// its place is taken by 12, which is compiled once (about a minute).
const gyp = "node_modules/node-gyp/bin/node-gyp.js";
const older = "node_modules/better-sqlite3-12";
if (Number(process.versions.napi) < 10) {
  if (!existsSync(`${older}/build/Release/better_sqlite3.node`)) {
    run("compiling better-sqlite3 12 (once)", [gyp, "rebuild", "--release", "-C", older]);
  }
  const place = "node_modules/better-sqlite3";
  if (existsSync(`${place}/prebuilds`)) {
    rmSync(`${place}-13`, { recursive: true, force: true });
    renameSync(place, `${place}-13`);
    symlinkSync("better-sqlite3-12", place);
  }
}

const addon = built("build/Release/mergelite.node");
if (addon < Math.max(newest("native"), built("binding.gyp"))) {
  run("compiling the addon", [gyp, "rebuild"]);
}
if (built("dist/.built") < newest("src")) {
  run("compiling TypeScript", ["node_modules/typescript/bin/tsc", "-p", "tsconfig.build.json"]);
  const { writeFileSync } = await import("node:fs");
  writeFileSync("dist/.built", "");
}
