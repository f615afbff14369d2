/** Migrations: versions of the schema, up and down, one transaction each. */
import { checkNames } from "../arguments.ts";
import { messageOf, ReplicaError } from "../errors.ts";
import type { SqliteDatabase } from "../log/store.ts";

/** SQL, or a synchronous function. */
export type MigrationStep<Database = never> = string | ((db: Database) => void);

export interface Migration<Database = never> {
  /** Ascending. @default the position in the list, from 1 on */
  readonly version?: number;
  readonly up: MigrationStep<Database>;
  /** @default none: this version cannot be undone */
  readonly down?: MigrationStep<Database>;
  /**
   * By table, the new names of columns by their old ones, for a step that makes the table anew.
   * What `ALTER TABLE` renames needs no mention. @default none
   */
  readonly renames?: Readonly<Record<string, Readonly<Record<string, string>>>>;
}

export interface MigrateOptions {
  /** The version to go to; 0 is before the first. @default the last */
  readonly to?: number;
}

export interface MigrateResult {
  readonly from: number;
  readonly to: number;
}

export interface MigrationHost {
  readonly db: SqliteDatabase;
  step(renames: readonly string[], work: () => void): void;
  nowMs(): number;
}

interface Applied {
  version: number;
  up: string;
  down: string | null;
}

interface Step {
  readonly version: number;
  readonly step: MigrationStep;
  readonly renames: readonly string[];
  /** Asked within its transaction: another process may have made it in the meantime. */
  readonly isMade: () => boolean;
}

interface Known extends Required<Pick<Migration, "version">> {
  migration: Migration;
}

const text = (step: MigrationStep | undefined): string | null =>
  step === undefined ? null : typeof step === "string" ? step : `function: ${step.toString()}`;

/** @throws INVALID_OPTION, MIGRATION_CHANGED, MIGRATION_FAILED, MIGRATION_WRITES, IN_TRANSACTION */
export function migrate(
  host: MigrationHost,
  migrations: readonly Migration[],
  { to }: MigrateOptions,
): MigrateResult {
  const known = versions(migrations);
  const target = to ?? known.at(-1)?.version ?? 0;
  if (target !== 0 && !known.some(({ version }) => version === target)) {
    throw invalid(`there is no migration ${target}`);
  }
  const applied = readApplied(host.db);
  for (const one of applied) {
    const migration = known.find(({ version }) => version === one.version)?.migration;
    if (migration !== undefined && text(migration.up) !== one.up) throw changed(one.version);
  }
  const from = applied.at(-1)?.version ?? 0;
  if (to === undefined && from > target) {
    throw new ReplicaError(
      "MIGRATION_CHANGED",
      `this file is at version ${from}, beyond the last`,
      {
        hint: `Pass \`to: ${target}\` to undo what this program does not know.`,
      },
    );
  }
  for (const one of applied.toReversed()) {
    if (one.version > target) goDown(host, one, known);
  }
  const there = new Set(applied.map(({ version }) => version));
  for (const one of known) {
    if (one.version <= target && !there.has(one.version)) goUp(host, one);
  }
  return { from, to: target };
}

function goUp(host: MigrationHost, { version, migration }: Known): void {
  const renames = flatRenames(migration, false);
  const isMade = () => {
    const made = readApplied(host.db).find((one) => one.version === version);
    if (made !== undefined && made.up !== text(migration.up)) throw changed(version);
    return made !== undefined;
  };
  runStep(host, { version, step: migration.up, renames, isMade }, () => {
    const up = quoted(text(migration.up) ?? "");
    const down = migration.down === undefined ? "NULL" : quoted(text(migration.down) ?? "");
    host.db.exec(
      `INSERT INTO _mergelite_migrations (version, up, down, applied) VALUES (${version}, ${up}, ` +
        `${down}, ${host.nowMs()})`,
    );
  });
}

/** A version that this program does not know is undone by what was recorded, if that is SQL. */
function goDown(host: MigrationHost, { version, down }: Applied, known: readonly Known[]): void {
  const migration = known.find((one) => one.version === version)?.migration;
  const recorded = down === null || down.startsWith("function: ") ? undefined : down;
  const step = migration === undefined ? recorded : migration.down;
  if (step === undefined) {
    throw new ReplicaError("MIGRATION_CHANGED", `migration ${version} cannot be undone here`, {
      hint: "Give it a `down`, or stay at that version.",
    });
  }
  const renames = migration === undefined ? [] : flatRenames(migration, true);
  const isMade = () => readApplied(host.db).every((one) => one.version !== version);
  runStep(host, { version, step, renames, isMade }, () => {
    host.db.exec(`DELETE FROM _mergelite_migrations WHERE version = ${version}`);
  });
}

function runStep(
  host: MigrationHost,
  { version, step, renames, isMade }: Step,
  record: () => void,
): void {
  let made = false;
  try {
    host.step(renames, () => {
      made = isMade();
      if (made) throw new Error("made by another process");
      if (typeof step === "string") host.db.exec(step);
      else checkSynchronous((step as (db: unknown) => unknown)(host.db));
      record();
    });
  } catch (cause) {
    if (made) return;
    if (cause instanceof ReplicaError) throw cause;
    const message = messageOf(cause);
    const code = message.startsWith("MIGRATION_WRITES") ? "MIGRATION_WRITES" : "MIGRATION_FAILED";
    throw new ReplicaError(code, `migration ${version}: ${message}`, {
      cause,
      hint: "Nothing of it stays. Correct the step and migrate again.",
    });
  }
}

function checkSynchronous(result: unknown): void {
  if (result instanceof Promise) throw new TypeError("a step must be synchronous");
}

function versions(migrations: readonly Migration[]): Known[] {
  for (const migration of migrations) checkNames(migration, ["version", "up", "down", "renames"]);
  const known = migrations.map((migration, i) => ({
    version: migration.version ?? i + 1,
    migration,
  }));
  for (const [i, { version }] of known.entries()) {
    const above = known[i - 1]?.version ?? 0;
    if (!Number.isSafeInteger(version) || version <= above) {
      throw invalid(`version ${version} is not an integer above ${above}`);
    }
  }
  return known;
}

function readApplied(db: SqliteDatabase): Applied[] {
  const rows = db
    .prepare("SELECT version, up, down FROM _mergelite_migrations ORDER BY version")
    .all() as (Omit<Applied, "version"> & { version: number | bigint })[];
  // A driver may be set to give bigints.
  return rows.map((row) => ({ ...row, version: Number(row.version) }));
}

function flatRenames({ renames = {} }: Migration, back: boolean): string[] {
  return Object.entries(renames).flatMap(([table, columns]) =>
    Object.entries(columns).flatMap(([from, to]) => (back ? [table, to, from] : [table, from, to])),
  );
}

const quoted = (value: string): string => `'${value.replaceAll("'", "''")}'`;

function changed(version: number): ReplicaError {
  return new ReplicaError(
    "MIGRATION_CHANGED",
    `migration ${version} was applied with another text`,
    {
      hint: "Put the old text back, and write what is to change as a new migration.",
    },
  );
}

function invalid(message: string): ReplicaError {
  return new ReplicaError("INVALID_OPTION", message, { hint: "See docs/schema.md." });
}
