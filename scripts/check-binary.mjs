// Holds a Linux binary to what docs/decisions/0002-one-binary-without-libstdc++.md promises: no
// library it needs, no symbol it takes from the process but Node-API's and a few of libc's that
// have been the same since glibc's first release. `node scripts/check-binary.mjs <file>`.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const libcSymbols = new Set([
  "__errno_location",
  "abort",
  "calloc",
  "free",
  "malloc",
  "memchr",
  "memcmp",
  "memcpy",
  "memmove",
  "memset",
  "pwrite",
  "realloc",
  "strlen",
]);

/** Symbol names as `nm` lists them, one a line, whatever stands before the name. */
function symbols(file, which) {
  return execFileSync("nm", ["-D", which, file], { encoding: "utf8" })
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => line.trim().split(/\s+/).at(-1) ?? "");
}

/** The names that exports.map lets out. */
function exportsAllowed() {
  const map = readFileSync(new URL("../native/exports.map", import.meta.url), "utf8");
  const globals = map.slice(map.indexOf("global:") + "global:".length, map.indexOf("local:"));
  return new Set(globals.match(/\w+/g));
}

/** What is wrong with the file, one sentence each; empty when nothing is. */
export function problemsOf(file) {
  const problems = [];
  const headers = execFileSync("objdump", ["-p", file], { encoding: "utf8" });
  for (const [, library] of headers.matchAll(/^\s*NEEDED\s+(\S+)/gm)) {
    problems.push(`it needs ${library}`);
  }
  for (const symbol of symbols(file, "--undefined-only")) {
    if (!/^(napi|node_api)_/.test(symbol) && !libcSymbols.has(symbol)) {
      problems.push(`it takes ${symbol} from the process`);
    }
  }
  const allowed = exportsAllowed();
  const defined = new Set(symbols(file, "--defined-only"));
  for (const symbol of defined) {
    if (!allowed.has(symbol)) problems.push(`it exports ${symbol}`);
  }
  for (const symbol of allowed) {
    if (!defined.has(symbol)) problems.push(`it does not export ${symbol}`);
  }
  return problems;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const file = process.argv[2] ?? "build/Release/mergelite.node";
  const problems = problemsOf(file);
  for (const problem of problems) process.stderr.write(`${file}: ${problem}\n`);
  process.exitCode = problems.length === 0 ? 0 : 1;
}
