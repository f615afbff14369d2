// Runs the addon's tests with an addon that AddressSanitizer and UBSan watch. It is compiled in a
// copy, so that the release build stays: `npm run test:asan [-- arguments for vitest]`. Tests get
// more time there: everything takes several times as long.
import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { buildEnvironment } from "./headers.mjs";

const folder = mkdtempSync(join(tmpdir(), "mergelite-asan-"));

function run(args, options) {
  return spawnSync(process.execPath, args, { stdio: "inherit", ...options }).status ?? 1;
}

try {
  for (const name of ["native", "binding.gyp", "package.json"]) {
    cpSync(name, join(folder, name), { recursive: true });
  }
  symlinkSync(resolve("node_modules"), join(folder, "node_modules"));
  const gyp = resolve("node_modules/node-gyp/bin/node-gyp.js");
  const built = run([gyp, "rebuild", "--silent", "--", "-Dmergelite_asan=1"], {
    cwd: folder,
    env: buildEnvironment(),
  });
  if (built !== 0) throw new Error("the addon does not compile with sanitizers");

  const runtime = execFileSync("gcc", ["-print-file-name=libasan.so"], { encoding: "utf8" }).trim();
  const chosen = process.argv.slice(2);
  const tests = chosen.length > 0 ? chosen : ["test/native"];
  process.exitCode = run(
    ["node_modules/vitest/vitest.mjs", "run", "--testTimeout=180000", ...tests],
    {
      env: {
        ...process.env,
        // Node itself is not instrumented, so the runtime has to come first, and what Node never
        // frees is no leak of ours.
        LD_PRELOAD: runtime,
        ASAN_OPTIONS: "detect_leaks=0:abort_on_error=1",
        UBSAN_OPTIONS: "halt_on_error=1:print_stacktrace=1",
        // node-gyp-build looks for build/Release here instead of in the repository.
        MERGELITE_PREBUILD: folder,
      },
    },
  );
} finally {
  rmSync(folder, { recursive: true, force: true });
}
