// Makes prebuilds/<platform>-<arch>/mergelite.node, the binary that the package ships, and refuses
// one that would not load everywhere. The release build in build/ is made anew by it.
import { spawnSync } from "node:child_process";
import { copyFileSync, readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { problemsOf } from "./check-binary.mjs";
import { buildEnvironment } from "./headers.mjs";

const folder = `prebuilds/${process.platform}-${process.arch}`;
rmSync(folder, { recursive: true, force: true });

const { status } = spawnSync(
  process.execPath,
  ["node_modules/prebuildify/bin.js", "--napi", "--strip", "--quiet"],
  { stdio: "inherit", env: buildEnvironment() },
);
if (status !== 0) {
  process.stderr.write("prebuildify failed\n");
  process.exit(status ?? 1);
}

for (const name of readdirSync(folder)) {
  const file = join(folder, name);
  // prebuildify moves the binary away from where the tests and the demo load it.
  copyFileSync(file, join("build/Release", name));
  const problems = process.platform === "linux" ? problemsOf(file) : [];
  for (const problem of problems) process.stderr.write(`${file}: ${problem}\n`);
  if (problems.length > 0) process.exitCode = 1;
  else process.stdout.write(`${file}: ${statSync(file).size} bytes\n`);
}
