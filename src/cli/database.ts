/** Opening database files, with errors that name the file and say what is wrong with it. */
import { existsSync, realpathSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import type Database from "better-sqlite3";
import type { Binding, Handle } from "../native.ts";
import { Failure, usageFailure } from "./failure.ts";

export type { Database };

export interface OpenOptions {
  readonly readonly?: boolean;
}

/** Opens `file`, calls `use`, and closes it whatever happens. SQLite's errors name the file. */
export async function withDatabase<Result>(
  file: string,
  options: OpenOptions,
  use: (db: Database.Database) => Result | Promise<Result>,
): Promise<Result> {
  const db = await openDatabase(file, options);
  try {
    return await use(db);
  } catch (error) {
    throw explain(error, file, options);
  } finally {
    db.close();
  }
}

/** Like {@link withDatabase}, read-only and with the extension, for a file that is replicated. */
export function withReplicatedFile<Result>(
  file: string,
  use: (db: Database.Database, handle: Handle, native: Binding) => Result | Promise<Result>,
): Promise<Result> {
  return withDatabase(file, { readonly: true }, async (db) => {
    requireReplicated(db, file);
    const { handle, native } = await loadExtension(db);
    return use(db, handle, native);
  });
}

export async function openDatabase(
  file: string,
  { readonly = false }: OpenOptions,
): Promise<Database.Database> {
  requireFile(file);
  const Sqlite = await loadSqlite();
  let db: Database.Database | undefined;
  try {
    db = new Sqlite(file, { fileMustExist: true, readonly });
    if (!readonly) {
      db.pragma("journal_mode = WAL");
      db.pragma("synchronous = NORMAL");
    }
    // The first read finds out whether this is a database at all.
    db.prepare("SELECT count(*) FROM sqlite_schema").get();
    return db;
  } catch (error) {
    db?.close();
    throw explain(error, file, { readonly });
  }
}

export function isReplicated(db: Database.Database): boolean {
  const system = "SELECT 1 FROM sqlite_schema WHERE name = '_mergelite_meta'";
  return db.prepare(system).get() !== undefined;
}

export function requireReplicated(db: Database.Database, file: string): void {
  if (isReplicated(db)) return;
  throw new Failure(`${file} is not replicated`, { hint: `mergelite init ${file}` });
}

export async function loadExtension(
  db: Database.Database,
): Promise<{ handle: Handle; native: Binding }> {
  const { extensionPath, native } = await import("../native.ts");
  db.loadExtension(extensionPath);
  const handle = db.prepare("SELECT mergelite_handle()").pluck().get() as Handle;
  return { handle, native };
}

/** Two names of one file are one file, and with two logs beside it it would soon be damaged. */
export function requireTwoFiles(first: string, second: string): void {
  requireFile(first);
  requireFile(second);
  const idOf = (file: string) => {
    const { dev, ino } = statSync(file, { bigint: true });
    // Some file systems number nothing.
    return ino === 0n ? realpathSync(file) : `${dev}-${ino}`;
  };
  if (idOf(first) !== idOf(second)) return;
  throw new Failure(`${first} and ${second} are one file`, { hint: "Name two files." });
}

export function quoteName(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** Of a file that is to be made. */
export function requireFolder(folder: string): void {
  if (!existsSync(folder)) throw new Failure(`the folder ${folder} does not exist`);
}

function requireFile(file: string): void {
  if (file === "") throw usageFailure("the name of a file is empty");
  if (!existsSync(file)) throw new Failure(`${file} does not exist`);
  if (!statSync(file).isFile()) throw new Failure(`${file} is not a file`);
}

type Sqlite = new (file: string, options: Database.Options) => Database.Database;

async function loadSqlite(): Promise<Sqlite> {
  const require = createRequire(import.meta.url);
  let manifest: { version: string };
  try {
    manifest = require("better-sqlite3/package.json") as { version: string };
  } catch (cause) {
    throw new Failure("the package better-sqlite3 is missing", {
      cause,
      hint: "npm install better-sqlite3",
    });
  }
  // It is built for Node-API 10, and an older Node.js does not survive loading it.
  const major = Number(manifest.version.split(".")[0]);
  if (major >= 13 && Number(process.versions.napi) < 10) {
    throw new Failure(
      `better-sqlite3 ${manifest.version} does not run on Node.js ${process.versions.node}`,
      { hint: "npm install better-sqlite3@^12, or use Node.js 22 or newer" },
    );
  }
  return (await import("better-sqlite3")).default;
}

/** SQLite says what is wrong, not with which file. Other errors pass as they are. */
export function explain(error: unknown, file: string, { readonly = false }: OpenOptions): unknown {
  if (!(error instanceof Error) || error.name !== "SqliteError" || !("code" in error)) return error;
  const code = String(error.code);
  const options = { cause: error };
  if (code === "SQLITE_NOTADB") return new Failure(`${file} is not an SQLite database`, options);
  if (code.startsWith("SQLITE_CORRUPT")) {
    const hint = "Restore it from a backup, or from another peer's file.";
    return new Failure(`${file} is damaged: ${error.message}`, { ...options, hint });
  }
  if (code.startsWith("SQLITE_BUSY") || code.startsWith("SQLITE_LOCKED")) {
    const hint = "Try again when the process that holds it is done.";
    return new Failure(`${file} is locked by another process`, { ...options, hint });
  }
  if (code === "SQLITE_READONLY_ROLLBACK") {
    const message = `${file} has a journal of a transaction that was not ended`;
    const hint = "Its program was killed. Open it for writing once: then SQLite rolls it back.";
    return new Failure(message, { ...options, hint });
  }
  if (code.startsWith("SQLITE_READONLY") || code.startsWith("SQLITE_CANTOPEN")) {
    const hint = readonly
      ? "Who reads a database in WAL mode writes its -shm file: this user may not do that here."
      : "This user needs leave to write the file and its folder.";
    const purpose = readonly ? "reading" : "writing";
    return new Failure(`${file} cannot be opened for ${purpose}: ${error.message}`, {
      ...options,
      hint,
    });
  }
  const { message, hint } = splitNativeMessage(error.message);
  return new Failure(`${file}: ${message}`, hint === undefined ? options : { ...options, hint });
}

/** Errors of virtual tables reach SQL as one text: `CODE: message. hint`. */
export function splitNativeMessage(text: string): { message: string; hint?: string } {
  const match = /^[A-Z][A-Z_]+: (.*?)(?:\. ([A-Z`].*))?$/s.exec(text);
  if (match?.[1] === undefined) return { message: text };
  return match[2] === undefined ? { message: match[1] } : { message: match[1], hint: match[2] };
}
