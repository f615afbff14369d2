/** What tells a database file from its copy, and this run of the machine from the one before. */
import { readFileSync, statSync } from "node:fs";
import type { SqliteDatabase } from "./store.ts";

/** Path of the main database; empty for one in memory. */
export function mainFile(db: SqliteDatabase): string {
  const rows = db.prepare("PRAGMA database_list").all() as { name: string; file: string | null }[];
  return rows.find((row) => row.name === "main")?.file ?? "";
}

/**
 * Marks are compared at attach: a file with another number is a copy and takes a peer id of its
 * own. An empty mark is unknown and compares with nothing.
 */
export function fileMarks(file: string): { fileMark: string; bootMark: string } {
  return { fileMark: fileMark(file), bootMark: bootMark() };
}

function fileMark(file: string): string {
  if (file === "") return "";
  // The device is left out: its number may change with every boot. The birth time is there because
  // a removed file's number is soon given to another.
  const { ino, birthtimeNs } = statSync(file, { bigint: true });
  return `${ino}.${birthtimeNs}`;
}

function bootMark(): string {
  try {
    return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  } catch {
    // Other systems: a lost tail is noticed when a peer knows more of our writes than we do.
    return "";
  }
}
