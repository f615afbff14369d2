/** A database under load, shipped to two places by a process that is killed at any moment. */
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { existsSync, readFileSync, rmSync, truncateSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import Database from "better-sqlite3";
import { expect, test } from "vitest";
import { fileStorage } from "../../src/storage/index.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { temporaryFolder } from "../support/folder.ts";
import { eager, expectSame, openWal, restored, ship } from "../support/ship.ts";

const folder = temporaryFolder({ inMemory: true });
const worker = fileURLToPath(new URL("worker.mjs", import.meta.url));
/** Each database is killed five times: what is restored would become long. */
const killsEach = 5;
const databases = Math.ceil(Number(process.env.SHIP_KILLS ?? 15) / killsEach);
const kinds = [
  { pageSize: 1024, vacuum: "INCREMENTAL" },
  { pageSize: 65_536, vacuum: "NONE" },
  { pageSize: 4096, vacuum: "FULL" },
  { pageSize: 512, vacuum: "FULL" },
  { pageSize: 8192, vacuum: "NONE" },
  { pageSize: 2048, vacuum: "NONE" },
  { pageSize: 16_384, vacuum: "INCREMENTAL" },
  { pageSize: 32_768, vacuum: "FULL" },
];
const rounds = Array.from({ length: databases }, (_, i) => {
  return { pageSize: 4096, vacuum: "NONE", ...kinds[i % kinds.length] };
});

/** What a flush has covered, as the shipping process said. */
interface Acknowledged {
  readonly txid: number;
  readonly counter: number;
  /** Of the database at that position, if it is known. */
  readonly digest: string | undefined;
}

test.each(rounds)(
  "what was flushed survives: pages of $pageSize, auto_vacuum $vacuum",
  async (kind) => {
    const file = folder.file();
    const storages = [fileStorage(`${file}-one`), fileStorage(`${file}-two`)];
    makeDatabase(file, kind);
    const known: Acknowledged[] = [];
    for (let kill = 0; kill < killsEach; kill++) {
      const acknowledged = await killed(file, storages);
      known.push(...acknowledged.filter(({ digest }) => digest !== undefined));
      const [first, second] = kill % 2 === 0 ? storages : storages.toReversed();
      await expectWhole(first ?? fileStorage(file), file, acknowledged.at(-1));
      await expectPosition(second ?? fileStorage(file), file, known.at(-1));
    }
    for (const storage of [...storages, ...storages]) {
      const chosen = known[Math.floor(Math.random() * known.length)];
      await expectPosition(storage, file, chosen);
    }
    const db = new Database(file);
    const shipper = ship(db, storages, eager);
    await shipper.flush();
    for (const storage of storages) await expectSame(storage, db, `${file}.copy`);
    await shipper.close();
    db.close();
  },
  30_000 * killsEach,
);

function makeDatabase(file: string, { pageSize, vacuum }: (typeof rounds)[number]): void {
  const db = new Database(file);
  db.pragma(`page_size = ${pageSize}`);
  db.pragma(`auto_vacuum = ${vacuum}`);
  db.close();
  const again = openWal(file, { pageSize });
  again.exec("CREATE TABLE counter (n INTEGER); INSERT INTO counter VALUES (0)");
  again.close();
}

const digestOf = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

/** The newest state has what was acknowledged, and behind it nothing but whole commits. */
async function expectWhole(storage: Storage, file: string, last: Acknowledged | undefined) {
  if (last === undefined) return;
  await restored(storage, `${file}.copy`);
  const copy = new Database(`${file}.copy`);
  expect(copy.pragma("integrity_check", { simple: true })).toBe("ok");
  const counter = Number(copy.prepare("SELECT n FROM counter").pluck().get());
  expect(counter).toBeGreaterThanOrEqual(last.counter);
  copy.close();
}

async function expectPosition(storage: Storage, file: string, known: Acknowledged | undefined) {
  if (known === undefined) return;
  const { txid, digest } = known;
  const copy = await restored(storage, `${file}.copy`, txid);
  expect(digestOf(copy), `position ${txid}`).toBe(digest);
}

/** Lets them work for a while and kills them, or the machine they run on; what was acknowledged. */
async function killed(file: string, storages: readonly Storage[]): Promise<Acknowledged[]> {
  const places = storages.map(({ name }) => fileURLToPath(name));
  const other = start("foreign", file);
  const child = start("ship", file, ...places);
  if (child.stdout === null) throw new Error("no pipe");
  const flushesMax = Math.floor(Math.random() * 8);
  const acknowledged: Acknowledged[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    const [txid, counter, digest] = line.split(" ");
    const isKnown = digest !== "-" && digest !== undefined;
    acknowledged.push({
      txid: Number(txid),
      counter: Number(counter),
      digest: isKnown ? digest : undefined,
    });
    if (acknowledged.length - 1 !== flushesMax) continue;
    setTimeout(() => child.kill("SIGKILL"), Math.random() * 30);
    if (Math.random() < 0.5) setTimeout(() => other.kill("SIGKILL"), Math.random() * 30);
  }
  expect(child.signalCode ?? (await once(child, "exit"))[1]).toBe("SIGKILL");
  await stop(other);
  if (other.signalCode === "SIGKILL" && Math.random() < 0.5) losePower(file);
  return acknowledged;
}

function start(role: string, file: string, ...places: string[]): ChildProcess {
  const stdio: ["ignore", "pipe", "inherit"] = ["ignore", "pipe", "inherit"];
  return spawn(process.execPath, [worker, role, file, ...places], { stdio });
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, "exit");
  child.kill("SIGTERM");
  await exited;
}

/**
 * With `synchronous = NORMAL` a power failure takes what was written behind the last checkpoint from
 * the WAL, or a part of it, and the index of the WAL, which is in memory.
 */
function losePower(file: string): void {
  if (!existsSync(`${file}-shm`) || !existsSync(`${file}-wal`)) return;
  const index = readFileSync(`${file}-shm`);
  const wal = readFileSync(`${file}-wal`);
  if (index.length < 136 || wal.length < 32) return;
  const backfillAttempted = index.readUInt32LE(128);
  const kept = 32 + backfillAttempted * (24 + wal.readUInt32BE(8));
  const length = kept + Math.floor(Math.random() * (wal.length - kept));
  if (length < wal.length) truncateSync(`${file}-wal`, length);
  rmSync(`${file}-shm`);
}
