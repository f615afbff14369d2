/** Writes behind the library's back: what a fault, a bug or a hand might do to a file. */
import type Database from "better-sqlite3";

/** Runs `sql` without the triggers that capture it. */
export function untracked(db: Database.Database, sql: string): void {
  const triggers = db
    .prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND name LIKE ?")
    .all("\\_mergelite%".replace("\\", "")) as { name: string; sql: string }[];
  db.transaction(() => {
    for (const { name } of triggers) db.exec(`DROP TRIGGER "${name}"`);
    db.exec(sql);
    for (const { sql: made } of triggers) db.exec(made);
  })();
}

/** Takes a row away with everything that is known of it. */
export function lose(db: Database.Database, table: string, where: string): void {
  untracked(db, `DELETE FROM "${table}" WHERE ${where}`);
  db.exec(`DELETE FROM "_mergelite_clock_${table}" WHERE ${where}`);
}
