import type Database from "better-sqlite3";
import { afterEach } from "vitest";

/** A list for the databases of a test: what is in it is closed when the test is done. */
export function closedAfterEach(): Database.Database[] {
  const open: Database.Database[] = [];
  afterEach(() => {
    for (const db of open.splice(0)) db.close();
  });
  return open;
}
