/** `mergelite init`: makes the tables of a file replicated. */
import { type Command, type CommandInput, jsonOption } from "./command.ts";
import { type Database, quoteName, splitNativeMessage, withDatabase } from "./database.ts";
import { exitCodes, Failure } from "./failure.ts";
import { type Output, plural } from "./output.ts";
import { countRows, type UserTable, userTables } from "./tables.ts";

export const init: Command = {
  name: "init",
  usage: "FILE [TABLE...]",
  summary: "make the tables of a file replicated",
  description: `Makes tables of the database FILE replicated: the named ones, or all that have a primary key.
The rows that are there become the first changesets. Does nothing for a table that is
replicated already. \`mergelite detach\` undoes it.`,
  options: { json: jsonOption },
  positionals: [1, Number.POSITIVE_INFINITY],
  run: initFile,
};

export interface InitResult {
  readonly file: string;
  readonly tables: { table: string; rows: number; isNew: boolean }[];
  readonly skipped: { table: string; reason: string }[];
}

async function initFile({ arguments: [file = "", ...names], values, output }: CommandInput) {
  const result = await withDatabase(file, {}, async (db) => {
    const chosen = chooseTables(db, file, names);
    // Attaching notes whose file this is: a copy made later takes a peer id of its own.
    const { attach } = await import("../index.ts");
    await attach(db).close();
    const done = replicateTables(db, { chosen, isNamed: names.length > 0, output });
    // Once more, for warnings about the tables that are replicated now.
    await attach(db).close();
    return { file, ...done };
  });
  if (values.flag("json")) output.document(result);
  else print(result, output);
  return result.tables.length > 0 ? exitCodes.done : exitCodes.failed;
}

/** The named tables, or all. At least one of them can be replicated, as far as is plain to see. */
export function chooseTables(
  db: Database.Database,
  file: string,
  names: readonly string[],
): UserTable[] {
  const known = userTables(db);
  const missing = names.find((name) => !known.some((table) => isNamed(table.name, [name])));
  if (missing !== undefined) {
    const list = known.map(({ name }) => name).join(", ");
    const hint = list === "" ? "Create it first." : `The tables of ${file} are ${list}.`;
    throw new Failure(`there is no table "${missing}"`, { hint });
  }
  const chosen = names.length === 0 ? known : known.filter((table) => isNamed(table.name, names));
  if (chosen.some((table) => table.problem === undefined)) return chosen;
  const [table] = chosen;
  if (table !== undefined && names.length > 0) throw refusal(table.name, table.problem ?? "");
  const reasons = chosen.slice(0, 3).map(({ name, problem }) => `${name}: ${problem ?? ""}`);
  throw new Failure(`${file} has no table that can be replicated`, {
    hint: table === undefined ? "Create a table with a primary key first." : reasons.join("; "),
  });
}

function refusal(table: string, reason: string): Failure {
  return new Failure(`table "${table}" cannot be replicated: ${reason}`, {
    hint: "Every replicated table needs a key that means the same row on every peer.",
  });
}

export interface Choice {
  readonly chosen: readonly UserTable[];
  readonly isNamed: boolean;
  readonly output: Output;
}

export function replicateTables(
  db: Database.Database,
  { chosen, isNamed, output }: Choice,
): Pick<InitResult, "tables" | "skipped"> {
  const tables: InitResult["tables"] = [];
  const skipped: InitResult["skipped"] = [];
  // One transaction: a table that is refused leaves none of the named ones half done.
  db.transaction(() => {
    for (const { name, problem, replicated } of chosen) {
      output.progress(`reading ${name}`);
      const reason = problem ?? (replicated ? undefined : startReplication(db, name));
      if (reason === undefined) {
        tables.push({ table: name, rows: countRows(db, name), isNew: !replicated });
      } else if (isNamed) {
        throw refusal(name, reason);
      } else {
        skipped.push({ table: name, reason });
      }
    }
  })();
  return { tables, skipped };
}

/** The reason when the table is refused. */
function startReplication(db: Database.Database, table: string): string | undefined {
  const companion = quoteName(`${table}_patches`);
  // An ordinary table of that name was made by the application's migrations, for `attach` to take.
  if (db.prepare("SELECT 1 FROM sqlite_schema WHERE name = ?").get(`${table}_patches`)) {
    return `a table named ${companion} is in the way`;
  }
  try {
    db.exec(`CREATE VIRTUAL TABLE ${companion} USING mergelite(${quoteName(table)})`);
    return undefined;
  } catch (error) {
    if (!(error instanceof Error) || !/^[A-Z][A-Z_]+: /.test(error.message)) throw error;
    return splitNativeMessage(error.message).message;
  }
}

/** SQLite compares names of tables without regard to ASCII case. */
function isNamed(table: string, names: readonly string[]): boolean {
  return names.some((name) => name.toLowerCase() === table.toLowerCase());
}

function print({ tables, skipped }: InitResult, output: Output): void {
  const width = Math.max(...[...tables, ...skipped].map(({ table }) => table.length), 0);
  for (const { table, rows, isNew } of tables) {
    const before = isNew ? "" : ", replicated before";
    output.line(`replicated  ${table.padEnd(width)}  ${plural(rows, "row")}${before}`);
  }
  for (const { table, reason } of skipped) {
    output.line(`skipped     ${table.padEnd(width)}  ${reason}`);
  }
}
