#!/usr/bin/env node
/**
 * The command `mergelite`: finds the subcommand, runs it, and turns what happens into an exit code.
 */
import { readFileSync } from "node:fs";
import { type Command, helpOf, parseArguments } from "./command.ts";
import { commandNames, loadCommand } from "./commands.ts";
import { exitCodes, Failure, usageFailure } from "./failure.ts";
import { Output } from "./output.ts";
import { stopUnread } from "./signals.ts";

const output = new Output({ stdout: process.stdout, stderr: process.stderr, env: process.env });

process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  // The reader has seen enough (`mergelite log app.db | head`), but the exit code still counts.
  if (error.code === "EPIPE") stopUnread();
  else process.exit(report(new Error(`what is printed cannot be written: ${error.message}`)));
});
// Nobody is left to be told, and what is done need not suffer from it.
process.stderr.on("error", () => {});

// One line each, and once for two files with the same tables.
const warned = new Set<string>();
process.removeAllListeners("warning");
process.on("warning", ({ message }) => {
  if (!warned.has(message)) output.error(`warning: ${message}`);
  warned.add(message);
});

let exitCode: number;
try {
  exitCode = await run(process.argv.slice(2));
} catch (error) {
  exitCode = report(error);
}
// What is still in the pipe must get out before the process ends.
if (!process.stdout.writableEnded) {
  await new Promise((resolve) => process.stdout.write("", resolve));
}
process.exit(exitCode);

async function run([name, ...args]: readonly string[]): Promise<number> {
  if (name === undefined) {
    output.error(await overview());
    return exitCodes.usage;
  }
  if (name === "--version" || name === "-v") {
    output.line(version());
    return exitCodes.done;
  }
  if (name === "--help" || name === "-h" || name === "help") {
    const [topic] = args;
    output.line((topic === undefined ? await overview() : helpOf(await find(topic))).trimEnd());
    return exitCodes.done;
  }
  if (name.startsWith("-")) throw usageFailure(`unknown option "${name}"`);
  const command = await find(name);
  try {
    const { help, ...input } = parseArguments(command, args);
    if (!help) return await command.run({ ...input, output });
    output.line(helpOf(command).trimEnd());
    return exitCodes.done;
  } catch (error) {
    const isUsage = error instanceof Failure && error.exitCode === exitCodes.usage;
    if (!isUsage || error.hint !== undefined) throw error;
    const hint = `mergelite ${command.name} --help`;
    throw new Failure(error.message, { exitCode: exitCodes.usage, hint });
  }
}

async function find(name: string): Promise<Command> {
  const command = await loadCommand(name);
  if (command === undefined) throw usageFailure(`unknown command "${name}"`);
  return command;
}

async function overview(): Promise<string> {
  const lines: string[] = [];
  const width = Math.max(...commandNames.map((name) => name.length));
  for (const name of commandNames) {
    lines.push(`  ${name.padEnd(width)}  ${(await find(name)).summary}`);
  }
  return `mergelite makes SQLite multi-writer: every peer writes its own file, and all files converge.

usage: mergelite COMMAND [ARGUMENTS]

commands:
${lines.join("\n")}

options:
  --help     show this help; with a command, its help
  --version  show the version`;
}

function version(): string {
  const manifest = new URL("../../package.json", import.meta.url);
  return (JSON.parse(readFileSync(manifest, "utf8")) as { version: string }).version;
}

/** Prints the error for people; the stack is for those who ask for it. */
function report(error: unknown): number {
  const { message, hint, exitCode } = describe(error);
  output.error(`mergelite: ${message}`);
  if (hint !== undefined && hint !== "") output.error(`hint: ${hint}`);
  const sections = (process.env.NODE_DEBUG ?? "").toLowerCase().split(",");
  if (sections.includes("mergelite") && error instanceof Error) {
    output.error(error.stack ?? "");
    if (error.cause instanceof Error) output.error(`cause: ${error.cause.stack ?? ""}`);
  }
  return exitCode;
}

function describe(error: unknown): { message: string; hint?: string; exitCode: number } {
  if (!(error instanceof Error)) return { message: String(error), exitCode: exitCodes.failed };
  const message = error.message.replaceAll("\n", " ");
  const exitCode = error instanceof Failure ? error.exitCode : exitCodes.failed;
  // Errors of the library and of its native part have a hint as well.
  if ("hint" in error && typeof error.hint === "string") {
    return { message, hint: error.hint, exitCode };
  }
  const isUsage = exitCode === exitCodes.usage;
  return isUsage ? { message, hint: "mergelite --help", exitCode } : { message, exitCode };
}
