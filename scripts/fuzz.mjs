// Runs the libFuzzer targets of native/fuzz: `npm run fuzz [-- target [seconds]]`. Binaries, corpus
// and crashes go to tmp/fuzz/, which later runs go on from.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const source = "native/fuzz";
const work = "tmp/fuzz";
const inputBytesMax = 4096;

const targets = readdirSync(source)
  .filter((name) => name.endsWith("_fuzz.cc"))
  .map((name) => name.slice(0, -"_fuzz.cc".length));

// Ring 1: the files that include neither SQLite nor Node, see native/ring1.txt.
const ring1 = readFileSync("native/ring1.txt", "utf8")
  .split("\n")
  .filter((name) => name.endsWith(".cc"))
  .map((name) => join("native", name));

function fail(message) {
  process.stderr.write(`${message}\n`);
  process.exit(1);
}

function findClang() {
  const names = ["clang++", ...[20, 19, 18, 17, 16, 15, 14].map((version) => `clang++-${version}`)];
  const found = names.find((name) => spawnSync(name, ["--version"]).status === 0);
  return found ?? fail("fuzzing needs clang with libFuzzer: apt-get install clang-14");
}

function compile(clang, file, sanitizers) {
  const binary = join(work, `${file}.bin`);
  const flags = ["-std=c++17", "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-fno-exceptions"];
  flags.push("-fno-rtti", `-fsanitize=${sanitizers}`, "-fno-sanitize-recover=all");
  const args = [...flags, ...ring1, join(source, `${file}.cc`), "-o", binary];
  if (spawnSync(clang, args, { stdio: "inherit" }).status !== 0) fail(`${file} does not compile`);
  return binary;
}

/** True when the target went through all known inputs and `seconds` of new ones unharmed. */
function fuzz(binary, target, seconds) {
  const folder = join(work, target);
  const regressions = join(source, "regressions", target);
  const args = [
    `-max_total_time=${seconds}`,
    `-max_len=${inputBytesMax}`,
    `-artifact_prefix=${folder}-`,
    "-timeout=10",
    "-verbosity=0",
    "-print_final_stats=1",
    folder,
  ];
  if (existsSync(regressions)) args.push(regressions);
  const { status, stderr } = spawnSync(binary, args, { encoding: "utf8", maxBuffer: 1 << 26 });
  const runs = /number_of_executed_units:\s*(\d+)/.exec(stderr)?.[1] ?? "0";
  const passed = status === 0;
  process.stdout.write(`fuzz ${target}: ${passed ? "passed" : "FAILED"}, ${runs} inputs\n`);
  if (!passed) process.stderr.write(stderr);
  return passed;
}

const [only, secondsText] = process.argv.slice(2);
const seconds = Number(secondsText ?? 60);
if (only !== undefined && !targets.includes(only)) fail(`targets are ${targets.join(", ")}`);
if (!Number.isInteger(seconds) || seconds < 1) fail("seconds is a whole number above 0");

const clang = findClang();
for (const target of targets) mkdirSync(join(work, target), { recursive: true });
const seeds = compile(clang, "seeds", "address,undefined");
if (spawnSync(seeds, [work], { stdio: "inherit" }).status !== 0)
  fail("the seeds cannot be written");
let failures = 0;
for (const target of only === undefined ? targets : [only]) {
  const binary = compile(clang, `${target}_fuzz`, "fuzzer,address,undefined");
  if (!fuzz(binary, target, seconds)) failures++;
}
process.exitCode = failures === 0 ? 0 : 1;
