// Makes SQLite fail once at every call the addon makes of it: `npm run faults [-- runs [seed]]`.
// Without `runs` all of them, which takes minutes; with it, so many chosen by the seed. The addon
// for it is compiled beside the release build, in tmp/faults. ASAN=1 adds the sanitizers.
import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, rmSync, statSync, symlinkSync } from "node:fs";
import { join, resolve } from "node:path";
import { buildEnvironment } from "./headers.mjs";

const asan = process.env.ASAN !== undefined;
const folder = asan ? "tmp/faults-asan" : "tmp/faults";
const binary = join(folder, "build/Release/mergelite.node");
const [runs = "", seed = "1"] = process.argv.slice(2);
if (!/^\d*$/.test(runs) || !/^\d+$/.test(seed)) {
  process.stderr.write("usage: npm run faults [-- runs [seed]]\n");
  process.exit(2);
}

function newestSource() {
  const files = readdirSync("native", { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name));
  return Math.max(...[...files, "binding.gyp"].map((file) => statSync(file).mtimeMs));
}

function compile() {
  process.stderr.write("compiling the addon with faults ...\n");
  mkdirSync(folder, { recursive: true });
  rmSync(join(folder, "native"), { recursive: true, force: true });
  for (const name of ["native", "binding.gyp", "package.json"]) {
    cpSync(name, join(folder, name), { recursive: true });
  }
  const modules = join(folder, "node_modules");
  if (!existsSync(modules)) symlinkSync(resolve("node_modules"), modules);
  const gyp = resolve("node_modules/node-gyp/bin/node-gyp.js");
  const args = [gyp, "rebuild", "--silent", "--", "-Dmergelite_faults=1"];
  if (asan) args.push("-Dmergelite_asan=1");
  const { status } = spawnSync(process.execPath, args, {
    cwd: folder,
    env: buildEnvironment(),
    stdio: ["ignore", "ignore", "inherit"],
  });
  if (status !== 0) process.exit(status ?? 1);
}

function sanitizers() {
  if (!asan) return {};
  const runtime = execFileSync("gcc", ["-print-file-name=libasan.so"], { encoding: "utf8" }).trim();
  return {
    LD_PRELOAD: runtime,
    ASAN_OPTIONS: "detect_leaks=0:abort_on_error=1",
    UBSAN_OPTIONS: "halt_on_error=1:print_stacktrace=1",
  };
}

if (!existsSync(binary) || statSync(binary).mtimeMs < newestSource()) compile();
const { status } = spawnSync(
  process.execPath,
  ["node_modules/vitest/vitest.mjs", "run", "test/faults"],
  {
    stdio: "inherit",
    env: {
      ...process.env,
      ...sanitizers(),
      MERGELITE_PREBUILD: resolve(folder),
      FAULT_RUNS: runs,
      FAULT_SEED: seed,
    },
  },
);
process.exit(status ?? 1);
