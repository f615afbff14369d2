// Runs the libFuzzer targets of native/fuzz, as many at a time as there are cores:
// `npm run fuzz [-- [target] [seconds]]`. Objects, binaries, corpus and crashes go to tmp/fuzz/,
// which later runs go on from.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync } from "node:fs";
import { availableParallelism } from "node:os";
import { basename, join } from "node:path";

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

function run(command, args) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ["ignore", "ignore", "pipe"] });
    let output = "";
    child.stderr.on("data", (chunk) => {
      output = (output + chunk).slice(-100_000);
    });
    child.on("error", reject);
    child.on("close", (status) => resolve({ passed: status === 0, output }));
  });
}

/** `visit` of all items, as many at a time as there are cores. */
async function forAll(items, visit) {
  const waiting = [...items];
  const worker = async () => {
    for (let item = waiting.shift(); item !== undefined; item = waiting.shift()) await visit(item);
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
}

// A header may be in any of them.
const newestHeader = Math.max(
  ...["native", source].flatMap((folder) =>
    readdirSync(folder)
      .filter((name) => name.endsWith(".h"))
      .map((name) => statSync(join(folder, name)).mtimeMs),
  ),
);

const clang = findClang();
const sanitizers = ["-fno-sanitize-recover=all"];

async function compile(file) {
  const object = join(work, `${basename(file, ".cc")}.o`);
  const newest = Math.max(newestHeader, statSync(file).mtimeMs);
  if (existsSync(object) && statSync(object).mtimeMs > newest) return;
  const flags = ["-std=c++17", "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-fno-exceptions"];
  flags.push("-fno-rtti", "-fsanitize=fuzzer-no-link,address,undefined", ...sanitizers);
  const { passed, output } = await run(clang, [...flags, "-c", file, "-o", object]);
  if (!passed) fail(`${output}\n${file} does not compile`);
}

async function link(name, sanitizer) {
  const binary = join(work, `${name}.bin`);
  const objects = [...ring1, `${name}.cc`].map((file) => join(work, `${basename(file, ".cc")}.o`));
  const flags = [`-fsanitize=${sanitizer}`, ...sanitizers];
  const { passed, output } = await run(clang, [...flags, ...objects, "-o", binary]);
  if (!passed) fail(`${output}\n${name} does not link`);
  return binary;
}

/** True when the target went through all known inputs and `seconds` of new ones unharmed. */
async function fuzz(target, seconds) {
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
  const binary = await link(`${target}_fuzz`, "fuzzer,address,undefined");
  const { passed, output } = await run(binary, args);
  const runs = /number_of_executed_units:\s*(\d+)/.exec(output)?.[1] ?? "0";
  process.stdout.write(`fuzz ${target}: ${passed ? "passed" : "FAILED"}, ${runs} inputs\n`);
  if (!passed) process.stderr.write(output);
  return passed;
}

const words = process.argv.slice(2);
const only = /^\d/.test(words[0] ?? "0") ? undefined : words.shift();
const seconds = Number(words[0] ?? 60);
if (only !== undefined && !targets.includes(only)) fail(`targets are ${targets.join(", ")}`);
if (!Number.isInteger(seconds) || seconds < 1) fail("seconds is a whole number above 0");

const chosen = only === undefined ? targets : [only];
for (const target of targets) mkdirSync(join(work, target), { recursive: true });
const fuzzers = chosen.map((target) => join(source, `${target}_fuzz.cc`));
await forAll([...ring1, join(source, "seeds.cc"), ...fuzzers], compile);
const seeds = await run(await link("seeds", "address,undefined"), [work]);
if (!seeds.passed) fail(`${seeds.output}\nthe seeds cannot be written`);
let failures = 0;
await forAll(chosen, async (target) => {
  if (!(await fuzz(target, seconds))) failures++;
});
process.exitCode = failures === 0 ? 0 : 1;
