/** What is on disk at a moment: how a process that was killed, or a power cut, leaves a file. */
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import Database from "better-sqlite3";
import { fileMarks } from "../../src/log/file-marks.ts";
import { quoted } from "../support/replica.ts";
import { prepared } from "./statements.ts";

export interface DiskImage {
  readonly main: Buffer;
  readonly wal: Buffer;
}

/** Highest sequences by origin that a file holds. */
export type Held = Map<number, number>;

const walHeaderBytes = 32;
const frameHeaderBytes = 24;

/** As the operating system has it: what SIGKILL leaves. */
export function takeImage(file: string): DiskImage {
  const wal = `${file}-wal`;
  return {
    main: readFileSync(file),
    wal: existsSync(wal) ? readFileSync(wal) : Buffer.alloc(0),
  };
}

/** How far a WAL has come, and which of those that the file has had it is. */
export interface WalPosition {
  readonly frames: number;
  readonly salts: string;
}

/** "WAL-Index File Format". */
export function walPosition(file: string): WalPosition | undefined {
  if (!existsSync(`${file}-shm`)) return undefined;
  const index = readFileSync(`${file}-shm`);
  return { frames: index.readUInt32LE(16), salts: index.toString("hex", 32, 40) };
}

/**
 * Where transactions of the WAL end, as lengths of the file, from what is surely synced on: what a
 * checkpoint has copied, and what was committed when the replica was attached.
 */
export function walEnds(file: string, wal: Buffer, attached: WalPosition | undefined): number[] {
  const now = walPosition(file);
  if (wal.byteLength < walHeaderBytes || now === undefined) return [];
  const index = readFileSync(`${file}-shm`);
  const { frames } = now;
  const copied = Math.max(index.readUInt32LE(96), index.readUInt32LE(128));
  const synced = Math.max(copied, attached?.salts === now.salts ? attached.frames : 0);
  const frameBytes = frameHeaderBytes + wal.readUInt32BE(8);
  const ends = synced === 0 ? [0] : [];
  for (let frame = 1; frame <= frames; frame++) {
    const at = walHeaderBytes + (frame - 1) * frameBytes;
    const isCommit = wal.readUInt32BE(at + 4) !== 0;
    if (isCommit && frame >= synced) ends.push(at + frameBytes);
  }
  return ends;
}

/** The same file again: neither its number nor its birth changes. */
export function putImage(file: string, image: DiskImage): void {
  removeWal(file);
  writeFileSync(file, image.main);
  if (image.wal.byteLength > 0) writeFileSync(`${file}-wal`, image.wal);
}

/** A new file under the old name, as `docs/operations.md` wants a backup to be restored. */
export function replaceFile(file: string, main: Uint8Array): void {
  removeWal(file);
  writeFileSync(`${file}.new`, main);
  renameSync(`${file}.new`, file);
}

export function removeFile(file: string): void {
  removeWal(file);
  rmSync(file, { force: true });
}

/** Lets the file believe that it was last open before the machine went down. */
export function ageBoot(file: string): void {
  const db = new Database(file);
  db.prepare("UPDATE _mergelite_meta SET value = 'before' WHERE key = 'boot_mark'").run();
  db.close();
}

/** Lets a copy believe that it is the file it was made from. */
export function passFor(file: string): void {
  const db = new Database(file);
  const { fileMark } = fileMarks(file);
  db.prepare("UPDATE _mergelite_meta SET value = ? WHERE key = 'file_mark'").run(fileMark);
  db.close();
}

/** Changes a file without its triggers. */
export function edit(file: string, sql: string): void {
  const db = new Database(file);
  const triggers = db
    .prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")
    .all() as { name: string; sql: string }[];
  for (const { name } of triggers) db.exec(`DROP TRIGGER ${quoted(name)}`);
  db.exec(sql);
  for (const trigger of triggers) db.exec(trigger.sql);
  db.close();
}

/** A state transfer into the file has not ended, or what was written meanwhile is not all here yet. */
export function isTransferUnderWay(db: Database.Database): boolean {
  const query =
    "SELECT 1 FROM _mergelite_meta WHERE key = 'state' UNION ALL " +
    "SELECT 1 FROM _mergelite_origins WHERE reached > merged";
  return prepared(db, query).get() !== undefined;
}

/** What a file nobody has open holds. */
export function heldInFile(file: string): Held {
  const db = new Database(file, { readonly: true });
  const rows = db
    .prepare(
      `WITH range AS (SELECT peer, held, iif(ordinal % 2, 1 << 62, 0) | ordinal << 40 AS base
         FROM _mergelite_origins)
       SELECT peer, max(held, coalesce((SELECT max(id) & 0xffffffffff FROM _mergelite_log
         WHERE id > base AND id <= base | 0xffffffffff), 0)) AS held FROM range`,
    )
    .all() as { peer: number; held: number }[];
  db.close();
  return new Map(rows.map(({ peer, held }) => [peer, held]));
}

function removeWal(file: string): void {
  for (const suffix of ["-wal", "-shm"]) rmSync(`${file}${suffix}`, { force: true });
}
