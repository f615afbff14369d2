/** Reads the repository's own files for the tests that check them. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "./ring1.ts";

export interface SourceFile {
  /** Relative to the repository, with forward slashes. */
  path: string;
  lines: readonly string[];
}

/** Files below a folder whose names end in one of `endings`; none if the folder is missing. */
export function filesIn(folder: string, endings: readonly string[]): SourceFile[] {
  return readdirSync(join(root, folder), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && endings.some((ending) => entry.name.endsWith(ending)))
    .map((entry) => {
      const path = join(entry.parentPath, entry.name).slice(root.length).replaceAll("\\", "/");
      return { path, lines: readFileSync(join(root, path), "utf8").trimEnd().split("\n") };
    })
    .sort((a, b) => (a.path < b.path ? -1 : 1));
}

export function textOf(path: string): string {
  return readFileSync(join(root, path), "utf8");
}

/** A line without comments and the insides of strings, for rules about code. */
export function codeOf(line: string): string {
  return line
    .replace(/^\s*(\/?\*).*$/, "")
    .replace(/"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`(?:\\.|[^`\\])*`/g, '""')
    .replace(/\/\/.*$/, "");
}

export interface FunctionSpan {
  name: string;
  line: number;
  length: number;
}

const notFunctions = /^(if|for|while|switch|catch|\} else|\} catch|do|describe|test|it|class)\b/;

/** Functions of a formatted TypeScript file: from the line that ends in `{` to its closing brace. */
export function typeScriptFunctions({ lines }: SourceFile): FunctionSpan[] {
  return lines.flatMap((line, index) => {
    const start = line.trimStart();
    const opens = /(=>|\)|\): [^=]+) \{$/.test(line) || /^\S.*\bfunction\b.*\{$/.test(start);
    if (!opens || notFunctions.test(start)) return [];
    const indent = line.slice(0, line.length - start.length);
    const end = lines.findIndex((later, at) => at > index && later.startsWith(`${indent}}`));
    return [{ name: start, line: index + 1, length: end - index + 1 }];
  });
}

/** Functions of a formatted C++ file: each block that ends with a brace in the first column. */
export function cppFunctions({ lines }: SourceFile): FunctionSpan[] {
  const functions: FunctionSpan[] = [];
  let start = -1;
  for (const [index, line] of lines.entries()) {
    if (line.startsWith("}")) {
      if (start >= 0) {
        functions.push({ name: lines[start] ?? "", line: start + 1, length: index - start + 1 });
      }
      start = -1;
    } else if (
      /^[A-Za-z]/.test(line) &&
      !/^(namespace|class|struct|enum|extern "C" \{)/.test(line)
    ) {
      start = line.endsWith(";") ? -1 : index;
    }
  }
  return functions;
}
