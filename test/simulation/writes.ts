/** What a peer writes, as the plan says. */
import type Database from "better-sqlite3";
import type { Step } from "./plan.ts";
import { type Lacks, lacksOf, type Statement, toSql } from "./schema.ts";

export interface Transaction {
  readonly steps: readonly Step[];
  /** "none": each statement commits by itself. */
  readonly end: "COMMIT" | "ROLLBACK" | "none";
  readonly bytes: number;
}

/** `enter` runs inside the transaction, and what it returns after the commit. */
export function write(
  db: Database.Database,
  { steps, end, bytes }: Transaction,
  enter: () => () => void,
): void {
  const lacks = lacksOf(db);
  if (end !== "none") db.exec("BEGIN");
  const onCommitted = end === "none" ? undefined : enter();
  if (bytes > 0) fill(db, bytes);
  for (const [level, step] of steps.entries()) runStep(db, step, lacks, level);
  if (end !== "none") db.exec(end);
  if (end === "COMMIT") onCommitted?.();
}

/** Many transactions at once; as many rows in turn. */
export function burst(db: Database.Database, count: number, statement: Statement): void {
  const lacks = lacksOf(db);
  for (let i = 0; i < count; i++) {
    runStep(db, { ...statement, key: statement.key + i, value: i }, lacks, 0);
  }
}

function fill(db: Database.Database, bytes: number): void {
  const insert = db.prepare("INSERT OR REPLACE INTO note (id, a, b) VALUES (?, ?, ?)");
  const rows = Math.ceil(bytes / 65_536);
  for (let row = 0; row < rows; row++) {
    insert.run(100 + row, row, "m".repeat(Math.ceil(bytes / rows)));
  }
}

/** A statement that violates a constraint is undone by itself, and the transaction goes on. */
function runStep(db: Database.Database, step: Step, lacks: Lacks, level: number): void {
  const name = `s${level % 2}`;
  const sql =
    typeof step !== "string"
      ? toSql(step, lacks)
      : step === "savepoint"
        ? `SAVEPOINT ${name}`
        : `${step} ${name}`;
  try {
    db.exec(sql);
  } catch (error) {
    const { code, message } = error as { code?: unknown; message?: unknown };
    const isExpected =
      String(code).startsWith("SQLITE_CONSTRAINT") ||
      String(message).startsWith("no such savepoint");
    if (!isExpected) throw error;
  }
}
