/** The command `mergelite` as its users run it: a process of its own. */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import Database from "better-sqlite3";
import { expect } from "vitest";
import { extensionPath } from "../../src/native.ts";

/** The command line as it is installed. */
export const main: string = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));

/** Turns a hanging process into a failure; no test waits for it. */
export const patienceMs = 60_000;

export interface Finished {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** A command that is running. */
export class Running {
  readonly process: ChildProcess;
  readonly finished: Promise<Finished>;
  stdout = "";
  stderr = "";
  #check = () => {};

  constructor(args: readonly string[], env: Record<string, string> = {}) {
    if (!existsSync(main)) throw new Error("dist is missing: npm run build:ts");
    this.process = spawn(process.execPath, [main, ...args], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, ...env },
    });
    this.process.stdout?.on("data", (chunk) => {
      this.stdout += String(chunk);
      this.#check();
    });
    this.process.stderr?.on("data", (chunk) => {
      this.stderr += String(chunk);
    });
    this.finished = new Promise((resolve) => {
      this.process.on("close", (code) => {
        this.#check();
        resolve({ code, stdout: this.stdout, stderr: this.stderr });
      });
    });
  }

  /** Resolves with the first match in what was printed so far or will be. */
  async printed(pattern: RegExp): Promise<RegExpExecArray> {
    return new Promise((resolve, reject) => {
      this.#check = () => {
        const match = pattern.exec(this.stdout);
        if (match !== null) resolve(match);
        else if (this.process.exitCode !== null) {
          reject(new Error(`ended without ${pattern}: ${this.stdout}${this.stderr}`));
        }
      };
      this.#check();
    });
  }

  kill(signal: NodeJS.Signals): void {
    this.process.kill(signal);
  }
}

export function start(...args: string[]): Running {
  return new Running(args);
}

export function run(...args: string[]): Promise<Finished> {
  return new Running(args).finished;
}

/** Runs a command that must succeed and write nothing to stderr; gives what it printed. */
export async function succeed(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await run(...args);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  return stdout;
}

/** Runs a command that must fail with one line, and perhaps a hint. */
export async function fail(code: number, ...args: string[]): Promise<string> {
  const finished = await run(...args);
  expect(finished.stderr).toMatch(/^mergelite: .+\n(hint: .+\n)?$/);
  expect(finished.code).toBe(code);
  return finished.stderr;
}

/** Runs SQL as an application would that has loaded the extension and nothing else. */
export function execute(file: string, sql: string): void {
  const db = new Database(file);
  try {
    db.loadExtension(extensionPath);
    db.exec(sql);
  } finally {
    db.close();
  }
}

export function query(file: string, sql: string): unknown[] {
  const db = new Database(file, { readonly: true });
  try {
    return db.prepare(sql).raw().all();
  } finally {
    db.close();
  }
}
