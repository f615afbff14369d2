/** What a loss of power leaves of a shipper's folder, of which only one file has been synced. */
import { execFileSync } from "node:child_process";
import { cpSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { ManagedStorage } from "../../src/storage/managed.ts";
import { temporaryFolder } from "../support/folder.ts";
import { MemoryDriver, memoryStorage } from "../support/memory-storage.ts";
import { eager, expectSame, openWal, ship, watchShipper } from "../support/ship.ts";

const folder = temporaryFolder();
const hourMs = 3_600_000;

/** A storage that is away. */
class Away extends MemoryDriver {
  override put(): Promise<boolean> {
    return Promise.reject(new Error("away"));
  }
}

const harm: ((file: string) => void)[] = [
  (file) => rmSync(file),
  (file) => truncateSync(file),
  (file) => truncateSync(file, 1000),
  (file) => writeFileSync(file, Buffer.alloc(readFileSync(file).length)),
  (file) => {
    const bytes = readFileSync(file);
    bytes.writeUInt8(bytes.readUInt8(300) ^ 1, 300);
    writeFileSync(file, bytes);
  },
];

test.each(harm.map((_, i) => [i]))("files that wait and are not whole, case %i", async (which) => {
  const file = folder.file();
  const db = openWal(file);
  const insert = db.prepare("INSERT INTO note (body) VALUES (randomblob(3000))");
  const driver = new MemoryDriver();
  const unsafe = { ...eager, unsafeNoLease: true, retryMs: hourMs / 60 };
  const first = ship(db, new ManagedStorage(driver), unsafe);
  await first.flush();
  await first.close();
  const away = new Away();
  for (const [key, object] of driver.objects) away.objects.set(key, object);
  const second = ship(db, new ManagedStorage(away), unsafe);
  for (let i = 0; i < 6; i++) {
    insert.run();
    await second.flush().catch(() => {});
  }
  await second.close().catch(() => {});
  const queue = join(`${file}-ship`, "queue");
  const queued = readdirSync(queue).sort();
  expect(queued).toHaveLength(6);
  harm[which]?.(join(queue, queued[2] ?? ""));
  const third = ship(db, new ManagedStorage(driver), unsafe);
  const { rebases } = watchShipper(third);
  await third.flush();
  // What it was is made from the database; nothing else has to be compared or shipped.
  expect(rebases).toEqual([]);
  expect(third.metrics().files).toBe(3);
  expect(readdirSync(queue)).toEqual([]);
  await third.close();
  await expectSame(new ManagedStorage(driver), db, `${file}.copy`);
  db.close();
});

test("a log of readings that was cut anywhere", async () => {
  const file = folder.file();
  const db = openWal(file);
  const insert = db.prepare("INSERT INTO note (body) VALUES (randomblob(3000))");
  const storage = memoryStorage();
  const options = { ...eager, intervalMs: hourMs };
  const shipper = ship(db, storage, options);
  for (let i = 0; i < 6; i++) {
    insert.run();
    await shipper.flush();
  }
  const crashed = `${file}-crashed`;
  cpSync(`${file}-ship`, crashed, { recursive: true });
  await shipper.close();
  const log = readFileSync(join(crashed, "pages.log"));
  expect(log.length).toBeGreaterThan(500);
  for (let cut = 0; cut <= log.length; cut += Math.ceil(log.length / 9)) {
    const stateDir = `${file}-${cut}`;
    cpSync(crashed, stateDir, { recursive: true });
    writeFileSync(join(stateDir, "pages.log"), log.subarray(0, cut));
    insert.run();
    const again = ship(db, storage, { ...options, stateDir });
    await again.flush();
    await again.close();
    await expectSame(storage, db, `${file}.copy`);
  }
  db.close();
});

test("commits that were lost with the power, with as many frames of others in their places", async () => {
  const file = folder.file();
  const files = [file, `${file}-wal`];
  let db = openWal(file);
  const write = (byte: string) =>
    db.exec(
      `INSERT INTO note (body) VALUES (CAST(replace(hex(zeroblob(50)), '00', '${byte}') AS BLOB))`,
    );
  const storage = memoryStorage();
  const first = ship(db, storage, { ...eager, intervalMs: hourMs });
  write("ab");
  await first.flush();
  // By another process: to close a file here would drop the locks that SQLite has on it.
  for (const each of files) execFileSync("cp", [each, `${each}-synced`]);
  write("cd");
  write("cd");
  await first.flush();
  await first.close();
  db.close();
  for (const each of files) cpSync(`${each}-synced`, each);
  rmSync(`${file}-shm`, { force: true });
  db = openWal(file);
  // As many frames behind the same ones, for a connection's first commit has one more: only their
  // checksums differ.
  write("ef");
  const second = ship(db, storage, { ...eager, intervalMs: hourMs });
  const { rebases } = watchShipper(second);
  await second.flush();
  await second.close();
  expect(rebases.map(({ reason }) => reason)).toEqual(["wal"]);
  await expectSame(storage, db, `${file}.copy`);
  db.close();
});
