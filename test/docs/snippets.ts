/** Code blocks of the documentation, and a folder in which they run as a user's program would. */
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

export const root: string = resolve(import.meta.dirname, "../..");

export interface Snippet {
  readonly file: string;
  readonly language: string;
  /** Line of the opening fence. */
  readonly line: number;
  readonly code: string;
}

/** Fenced blocks in the order they are printed. */
export function snippetsOf(file: string): Snippet[] {
  const snippets: Snippet[] = [];
  let open: { language: string; line: number; code: string[] } | undefined;
  for (const [index, text] of readFileSync(join(root, file), "utf8").split("\n").entries()) {
    if (open === undefined) {
      const fence = /^```(\w*)$/.exec(text);
      if (fence !== null) open = { language: fence[1] ?? "", line: index + 1, code: [] };
    } else if (text === "```") {
      snippets.push({ ...open, file, code: `${open.code.join("\n")}\n` });
      open = undefined;
    } else {
      open.code.push(text);
    }
  }
  if (open !== undefined) throw new Error(`${file}:${open.line}: the block has no end`);
  return snippets;
}

/** A folder that has mergelite and better-sqlite3 installed, as far as Node can tell. */
export async function userFolder(): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), "mergelite-docs-"));
  await mkdir(join(folder, "node_modules"));
  symlinkSync(root, join(folder, "node_modules/mergelite"));
  const sqlite = join(root, "node_modules/better-sqlite3");
  symlinkSync(sqlite, join(folder, "node_modules/better-sqlite3"));
  return folder;
}

/** Runs a program to its end and returns what it printed; rejects unless it ends well. */
export async function runProgram(folder: string, name: string, code: string): Promise<string> {
  const file = join(folder, name);
  writeFileSync(file, code);
  const { stdout } = await run(process.execPath, [file], { cwd: folder, timeout: 25_000 });
  return stdout;
}
