/** Rules of the house that no linter knows: sizes, layers, and that every error is documented. */
import { existsSync, readdirSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { describe, expect, test } from "vitest";
import { replicaErrorCodes } from "../src/errors.ts";
import { ring1, root } from "./support/ring1.ts";
import type { FunctionSpan, SourceFile } from "./support/source.ts";
import { codeOf, cppFunctions, filesIn, textOf, typeScriptFunctions } from "./support/source.ts";

const scripts = ["scripts", "bench", "examples"].flatMap((folder) => filesIn(folder, [".mjs"]));
const source = filesIn("src", [".ts"]);
const tests = filesIn("test", [".ts"]);
const native = filesIn("native", [".cc", ".h"]);
const all = [...source, ...tests, ...native, ...scripts];

const columnsMax = 100;
const fileLinesMax = 400;
const functionLinesMax = 70;

/** Every line of these files that the rule is against, as `path:line: text`. */
function linesAgainst(files: readonly SourceFile[], isWrong: (line: string) => boolean): string[] {
  return files.flatMap(({ path, lines }) =>
    lines.flatMap((line, i) => (isWrong(line) ? [`${path}:${i + 1}: ${line.trim()}`] : [])),
  );
}

function tooLong(file: SourceFile, spans: readonly FunctionSpan[]): string[] {
  return spans
    .filter(({ length }) => length > functionLinesMax)
    .map(({ name, line, length }) => `${file.path}:${line}: ${name} has ${length} lines`);
}

describe("sizes", () => {
  test("there is something to check", () => {
    expect(source.length).toBeGreaterThan(10);
    expect(native.length).toBeGreaterThan(10);
    expect(source.flatMap(typeScriptFunctions).length).toBeGreaterThan(100);
    expect(native.flatMap(cppFunctions).length).toBeGreaterThan(100);
  });

  test("lines have at most 100 columns", () => {
    // Strings may go beyond: people search for messages as they read them.
    const withoutStrings = (line: string) => line.replace(/"(?:\\.|[^"\\])*"|`[^`]*`?/g, '""');
    const code = [...source, ...native, ...scripts];
    const isLong = (line: string) => withoutStrings(line).length > columnsMax;
    expect(linesAgainst(code, isLong)).toEqual([]);
  });

  test("files have at most 400 lines", () => {
    const code = [...source, ...native, ...scripts];
    const long = code.filter(({ lines }) => lines.length > fileLinesMax);
    expect(long.map(({ path, lines }) => `${path}: ${lines.length}`)).toEqual([]);
  });

  test("functions have at most 70 lines", () => {
    const typeScript = [...source, ...scripts];
    expect([
      ...typeScript.flatMap((file) => tooLong(file, typeScriptFunctions(file))),
      ...native.flatMap((file) => tooLong(file, cppFunctions(file))),
    ]).toEqual([]);
  });
});

describe("words", () => {
  test("nothing is left for later", () => {
    const left = new RegExp(["TO", "FIX", "XX"].map((word) => `\\b${word}(DO|ME|X)\\b`).join("|"));
    expect(linesAgainst(all, (line) => left.test(line))).toEqual([]);
  });

  test("src never writes to the console", () => {
    expect(linesAgainst(source, (line) => /\bconsole\./.test(codeOf(line)))).toEqual([]);
  });

  test("no default exports", () => {
    const modules = [...source, ...tests, ...scripts];
    expect(linesAgainst(modules, (line) => /^export default\b/.test(line))).toEqual([]);
  });

  test("no `any`, and no non-null assertion", () => {
    const any = /(:|\bas|<|\||&|,) ?any\b(?! of)|\bany\[\]/;
    const nonNull = /[\w\])]!(?=[.;,)\]}[]|$)/;
    const isWrong = (line: string) => any.test(codeOf(line)) || nonNull.test(codeOf(line));
    expect(linesAgainst([...source, ...tests], isWrong)).toEqual([]);
  });
});

// From the top down; a module imports from its own line and those below. What is not named here is
// a leaf that any module may use and that imports only leaves.
const layers = [
  ["cli"],
  ["index", "http"],
  ["self-test"],
  ["attach"],
  ["replica"],
  ["app"],
  ["replica-core"],
  ["open-metrics"],
  ["metric-families"],
  ["verifier", "verify-rounds", "options", "metrics", "status", "closed", "conflicts"],
  ["orphans", "identity", "lag", "file-gauge", "leader"],
  ["live"],
  ["sync", "merge", "ship", "backup"],
  ["restore"],
  ["token"],
  ["schema", "log", "snapshot", "conflict", "replica-events"],
  ["native", "transport", "storage", "ltx"],
];
const logical = [
  "replica",
  "replica-core",
  "app",
  "sync",
  "merge",
  "schema",
  "log",
  "snapshot",
  "http",
];
// Transports carry messages of both.
const physical = ["live", "ship", "backup", "restore", "storage", "ltx"];

const moduleOf = (path: string) => path.replace(/^src\//, "").split(/[/.]/)[0] ?? "";
const layerOf = (module: string) => {
  const at = layers.findIndex((names) => names.includes(module));
  return at < 0 ? layers.length : at;
};

function importsOf({ path, lines }: SourceFile): string[] {
  return lines.flatMap((line) => {
    const target = /(?:from|import\() ?"(\.[^"]+)"/.exec(line)?.[1];
    return target === undefined ? [] : [normalize(join(dirname(path), target))];
  });
}

describe("layers", () => {
  test("imports go downward only", () => {
    const upward = source.flatMap((file) =>
      importsOf(file)
        .filter((target) => layerOf(moduleOf(target)) < layerOf(moduleOf(file.path)))
        .map((target) => `${file.path} imports ${target}`),
    );
    expect(upward).toEqual([]);
  });

  test("the logical and the physical side do not know each other", () => {
    const sideOf = (path: string) =>
      [logical, physical].findIndex((s) => s.includes(moduleOf(path)));
    const crossing = source.flatMap((file) =>
      importsOf(file)
        .filter((target) => sideOf(file.path) >= 0 && sideOf(target) >= 0)
        .filter((target) => sideOf(target) !== sideOf(file.path))
        .map((target) => `${file.path} imports ${target}`),
    );
    expect(crossing).toEqual([]);
  });

  test("only src/native.ts loads the binary", () => {
    const others = source.filter(({ path }) => path !== "src/native.ts");
    expect(linesAgainst(others, (line) => line.includes('"node-gyp-build"'))).toEqual([]);
  });

  test("ring 1 includes neither SQLite nor Node", () => {
    const files = native.filter(({ path }) => ring1.includes(path.replace("native/", "")));
    expect(files.map(({ path }) => path.replace("native/", ""))).toEqual(ring1);
    const foreign = (line: string) => {
      const [, local] = /^#include "(.+)"/.exec(line) ?? [];
      if (local !== undefined) return !ring1.includes(local);
      return /^#include <.*(sqlite|napi|node|v8|uv)/.test(line);
    };
    expect(linesAgainst(files, foreign)).toEqual([]);
  });
});

describe("documentation", () => {
  const documented = [...textOf("docs/errors.md").matchAll(/^\| `([A-Z_]+)` \|/gm)].map(
    ([, code]) => code ?? "",
  );

  test("each error code has a row in docs/errors.md, in order, and no row is left over", () => {
    expect(documented).toEqual([...replicaErrorCodes].sort());
  });

  test("each code that native code raises is an error code", () => {
    const codes = native.flatMap(({ lines }) => {
      const calls = lines.join("\n").matchAll(/\b(?:Fail|Throw)\(\s*(?:\w+,\s*)?"([A-Z_]+)"/g);
      return [...calls].map(([, code]) => code ?? "");
    });
    expect(codes.length).toBeGreaterThan(30);
    expect([...new Set(codes)].filter((code) => !documented.includes(code))).toEqual([]);
  });

  test("links between files lead somewhere", () => {
    const top = readdirSync(root).filter((name) => name.endsWith(".md"));
    const pages = [
      ...filesIn("docs", [".md"]),
      ...top.map((path) => ({ path, lines: textOf(path).split("\n") })),
    ];
    const dead = pages.flatMap(({ path, lines }) =>
      [...lines.join("\n").matchAll(/\]\((?!https?:|mailto:|#)([^)#\s]+)/g)]
        .map(([, target]) => normalize(join(dirname(path), target ?? "")))
        .filter((target) => !existsSync(join(root, target)))
        .map((target) => `${path} links to ${target}`),
    );
    expect(dead).toEqual([]);
  });
});
