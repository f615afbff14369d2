// Brings a checkout to the point where tests, demo and benchmarks can run, and does nothing when it
// is there already: better-sqlite3 for this Node, the addon, the compiled TypeScript.
import { spawnSync } from "node:child_process";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { buildEnvironment } from "./headers.mjs";

const gyp = "node_modules/node-gyp/bin/node-gyp.js";

function run(title, args) {
  process.stderr.write(`${title} ...\n`);
  const { status } = spawnSync(process.execPath, args, {
    stdio: ["ignore", "ignore", "inherit"],
    env: buildEnvironment(),
  });
  if (status !== 0) {
    process.stderr.write(`${title}: failed\n`);
    process.exit(status ?? 1);
  }
}

const changedAt = (file) => (existsSync(file) ? statSync(file).mtimeMs : 0);

function newest(folder, { recursive }) {
  let latest = 0;
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive })) {
    if (!entry.isFile()) continue;
    latest = Math.max(latest, changedAt(join(entry.parentPath ?? entry.path, entry.name)));
  }
  return latest;
}

/**
 * better-sqlite3 13 needs Node-API 10 (Node >= 22) and ends older ones with SIGSEGV at load. There
 * its place is taken by 12, which is compiled once (about a minute); a newer Node puts it back.
 */
function ensureSqlite() {
  const place = "node_modules/better-sqlite3";
  const newer = `${place}-13`;
  const older = `${place}-12`;
  const swapped = lstatSync(place).isSymbolicLink() && existsSync(newer);
  if (Number(process.versions.napi) >= 10) {
    if (!swapped) return;
    rmSync(place);
    renameSync(newer, place);
    return;
  }
  if (!existsSync(`${older}/build/Release/better_sqlite3.node`)) {
    run("compiling better-sqlite3 12 (once)", [gyp, "rebuild", "--release", "-C", older]);
  }
  if (swapped || !existsSync(`${place}/prebuilds`)) return;
  rmSync(newer, { recursive: true, force: true });
  renameSync(place, newer);
  symlinkSync("better-sqlite3-12", place);
}

/** binding.gyp takes what is in the folder; a Makefile names what was there when it was made. */
function makesAllSources() {
  const rules = "build/mergelite.target.mk";
  const made = existsSync(rules) ? readFileSync(rules, "utf8").matchAll(/native\/\w+\.o\b/g) : [];
  const names = new Set([...made].map(([object]) => object.replace(/^native\/(.*)\.o$/, "$1.cc")));
  const sources = readdirSync("native").filter((name) => name.endsWith(".cc"));
  return sources.length === names.size && sources.every((name) => names.has(name));
}

ensureSqlite();
// Only the top folder is the addon's; below are its unit tests and fuzz targets.
const sources = Math.max(newest("native", { recursive: false }), changedAt("binding.gyp"));
if (changedAt("build/Release/mergelite.node") < sources) {
  // make knows which files a change concerns, as long as the Makefile is that of binding.gyp.
  const isOld = changedAt("build/Makefile") < changedAt("binding.gyp");
  run("compiling the addon", [gyp, isOld || !makesAllSources() ? "rebuild" : "build"]);
}
if (changedAt("dist/.built") < newest("src", { recursive: true })) {
  run("compiling TypeScript", ["node_modules/typescript/bin/tsc", "-p", "tsconfig.build.json"]);
  mkdirSync("dist", { recursive: true });
  writeFileSync("dist/.built", "");
}
