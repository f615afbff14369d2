/** What is shipped, against the database byte by byte. */
import { existsSync, rmSync } from "node:fs";
import Database from "better-sqlite3";
import { describe, expect, test } from "vitest";
import { backups } from "../../src/backup/index.ts";
import { LtxReader } from "../../src/ltx/index.ts";
import { decodeManifest, manifestKey } from "../../src/ship/index.ts";
import { bytesOf } from "../../src/storage/driver.ts";
import { fileStorage } from "../../src/storage/index.ts";
import { churn } from "../support/backup.ts";
import { temporaryFolder } from "../support/folder.ts";
import { memoryStorage } from "../support/memory-storage.ts";
import { eager, expectSame, openWal, restored, ship, watchShipper } from "../support/ship.ts";

const folder = temporaryFolder();
const turn = () => new Promise((resolve) => setTimeout(resolve, 5));

describe("a shipped database", () => {
  test.each([512, 4096, 65_536])("comes back, with pages of %i bytes", async (pageSize) => {
    const file = folder.file();
    const db = openWal(file, { pageSize });
    const storage = memoryStorage();
    const shipper = ship(db, storage, eager);
    const seen = watchShipper(shipper);
    db.pragma("cache_size = 10");
    // A TRUNCATE waits for readers, and on this thread nothing else can happen meanwhile.
    db.pragma("busy_timeout = 20");
    for (let i = 0; i < 30; i++) {
      db.exec(`BEGIN; ${churn(i)}`.replace("PRAGMA incremental_vacuum;", ""));
      if (i % 4 === 1) db.exec("SAVEPOINT a; DELETE FROM note; ROLLBACK TO a; RELEASE a");
      db.exec(i % 5 === 2 ? "ROLLBACK" : "COMMIT");
      if (i % 10 === 3) db.pragma("incremental_vacuum");
      if (i % 10 === 7) db.exec("VACUUM");
      if (i % 10 === 9) db.pragma("wal_checkpoint(TRUNCATE)");
      if (i % 3 === 0) await turn();
      if (i % 6 === 0) {
        await shipper.flush();
        await expectSame(storage, db, `${file}.copy`);
      }
    }
    await shipper.flush();
    await expectSame(storage, db, `${file}.copy`);
    expect(seen.failures).toEqual([]);
    expect(seen.rebases.map(({ reason }) => reason)).toEqual(["start"]);
    await shipper.close();
    db.close();
  });

  test("comes back as it was at any position that was flushed", async () => {
    const file = folder.file();
    const db = openWal(file);
    const storage = memoryStorage();
    const shipper = ship(db, storage, eager);
    const images = new Map<number, Buffer>();
    for (let i = 0; i < 12; i++) {
      db.exec(churn(i));
      const { txid } = await shipper.flush();
      images.set(txid, db.serialize());
    }
    await shipper.close();
    for (const [txid, image] of images) {
      expect(image.equals(await restored(storage, `${file}.copy`, txid))).toBe(true);
    }
    db.close();
  });

  test("counts its transactions", async () => {
    const db = openWal(folder.file());
    const shipper = ship(db, memoryStorage(), { ...eager, intervalMs: 60_000 });
    expect(shipper.position).toBeUndefined();
    const { txid } = await shipper.flush();
    for (let i = 0; i < 7; i++) db.exec("INSERT INTO note (body) VALUES ('a')");
    expect(await shipper.flush()).toMatchObject({ txid: txid + 7 });
    expect(shipper.position).toMatchObject({ txid: txid + 7 });
    expect(shipper.metrics()).toMatchObject({ commits: 7, files: 2, queuedFiles: 0, rebases: 1 });
    await shipper.close();
    await expect(shipper.flush()).rejects.toMatchObject({ code: "CLOSED" });
    db.close();
  });

  test("a transaction that is open is not in it", async () => {
    const file = folder.file();
    const db = openWal(file);
    const storage = memoryStorage();
    const shipper = ship(db, storage, eager);
    await shipper.flush();
    const image = db.serialize();
    db.pragma("cache_size = 2");
    db.exec("BEGIN; INSERT INTO note (body) SELECT randomblob(9000) FROM json_each('[1,2,3,4,5]')");
    await shipper.flush();
    expect(image.equals(await restored(storage, `${file}.copy`))).toBe(true);
    db.exec("COMMIT");
    await shipper.flush();
    await expectSame(storage, db, `${file}.copy`);
    await shipper.close();
    db.close();
  });

  test("snapshots and the manifest say what it is", async () => {
    const file = folder.file();
    const db = openWal(file);
    const storage = fileStorage(`${file}-backup`);
    const shipper = ship(db, storage, eager);
    db.exec(churn(0));
    await shipper.flush();
    db.exec(churn(1));
    const { txid } = await shipper.snapshot();
    const manifest = decodeManifest(await bytesOf((await storage.get(manifestKey)).body));
    const name = txid.toString(16).padStart(16, "0");
    const snapshot = await storage.get(`ltx/9/0000000000000001-${name}.ltx`);
    const reader = await LtxReader.open(snapshot.body);
    await reader.close();
    const { header } = reader;
    expect(header).toMatchObject({ minTxid: 1, maxTxid: txid });
    expect(manifest).toMatchObject({ pageSize: 4096, head: { txid, pages: header.commit } });
    for await (const { key } of storage.list("ltx/0/")) await storage.delete(key);
    await expectSame(storage, db, `${file}.copy`);
    await shipper.close();
    db.close();
  });
});

test("a file is shipped by a connection of its own", async () => {
  const file = folder.file();
  const storage = memoryStorage();
  expect(() => ship(file, storage, eager)).toThrow(
    expect.objectContaining({ code: "SQLITE", message: expect.stringContaining(file) }),
  );
  const other = new Database(file);
  other.exec("CREATE TABLE note (id INTEGER PRIMARY KEY, body BLOB)");
  const shipper = ship(file, storage, eager);
  expect(() => ship(file, storage, eager)).toThrow(
    expect.objectContaining({ code: "SHIP_ACTIVE" }),
  );
  await shipper.flush();
  other.exec("INSERT INTO note (body) VALUES ('a')");
  expect(other.pragma("journal_mode", { simple: true })).toBe("wal");
  await shipper.close();
  await expectSame(storage, other, `${file}.copy`);
  other.close();
  // Nobody has it open any more: SQLite has deleted the log.
  expect(existsSync(`${file}-wal`)).toBe(false);
});

describe("a shipper that begins again", () => {
  test("goes on where it was, without a look at all pages", async () => {
    const file = folder.file();
    const storage = memoryStorage();
    const db = openWal(file);
    for (let i = 0; i < 4; i++) {
      const shipper = ship(db, storage, { intervalMs: 5 });
      const seen = watchShipper(shipper);
      db.exec(churn(i));
      await shipper.close();
      await expectSame(storage, db, `${file}.copy`);
      expect(seen.rebases.length).toBe(i === 0 ? 1 : 0);
      db.exec(churn(i + 7));
    }
    db.close();
  });

  test("and is asked to flush at once ships what is new, and no more", async () => {
    const storage = memoryStorage();
    const db = openWal(folder.file());
    for (let i = 0; i < 100; i++) db.exec("INSERT INTO note (body) VALUES (randomblob(3000))");
    await ship(db, storage, eager).close();
    db.exec("UPDATE note SET body = randomblob(3000) WHERE id = 7");
    const shipper = ship(db, storage, eager);
    await shipper.flush();
    expect(shipper.metrics()).toMatchObject({ files: 1, shippedTxid: 2 });
    expect(shipper.metrics().uploadedBytes).toBeLessThan(20_000);
    await shipper.close();
    db.close();
  });

  test.each([false, true])("after pages got another size; folder lost: %j", async (isLost) => {
    const file = folder.file();
    const storage = memoryStorage();
    const db = openWal(file);
    await ship(db, storage, eager).close();
    const { newest } = await backups(storage);
    db.pragma("journal_mode = DELETE");
    db.pragma("page_size = 8192");
    db.exec("VACUUM");
    db.pragma("journal_mode = WAL");
    if (isLost) rmSync(`${file}-ship`, { recursive: true });
    const shipper = ship(db, storage, eager);
    for (let i = 0; i < 3; i++) {
      db.exec(churn(i));
      await shipper.flush();
      await expectSame(storage, db, `${file}.copy`);
    }
    await shipper.close();
    expect((await restored(storage, `${file}.copy`, newest?.txid)).readUInt16BE(16)).toBe(4096);
    db.close();
  });

  test("ships what others have written meanwhile, and no page more", async () => {
    const file = folder.file();
    const storage = memoryStorage();
    const db = openWal(file);
    const n = "WITH n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 200)";
    db.exec(`INSERT INTO note (body) ${n} SELECT randomblob(3000) FROM n`);
    await ship(db, storage, eager).close();
    db.close();
    const other = new Database(file);
    other.exec("UPDATE note SET body = randomblob(3000) WHERE id = 7");
    other.close();
    const again = new Database(file);
    const shipper = ship(again, storage, eager);
    const seen = watchShipper(shipper);
    await shipper.flush();
    await expectSame(storage, again, `${file}.copy`);
    expect(seen.rebases).toMatchObject([{ reason: "wal" }]);
    expect(seen.rebases[0]?.pages).toBeLessThan(5);
    await shipper.close();
    again.close();
  });

  test("nothing is shipped when nothing was written", async () => {
    const file = folder.file();
    const storage = memoryStorage();
    openWal(file).close();
    const positions: number[] = [];
    for (let i = 0; i < 3; i++) {
      const db = new Database(file);
      const shipper = ship(db, storage, eager);
      positions.push((await shipper.flush()).txid);
      await shipper.close();
      db.close();
    }
    expect(positions).toEqual([1, 1, 1]);
  });

  test("without its folder everything is the next transaction", async () => {
    const file = folder.file();
    const storage = memoryStorage();
    const db = openWal(file);
    db.exec(churn(1));
    await ship(db, storage, eager).close();
    rmSync(`${file}-ship`, { recursive: true });
    db.exec(churn(2));
    const shipper = ship(db, storage, eager);
    const seen = watchShipper(shipper);
    await shipper.flush();
    expect(seen.rebases).toMatchObject([{ reason: "storage" }]);
    await expectSame(storage, db, `${file}.copy`);
    await shipper.close();
    db.close();
  });
});

describe("the WAL", () => {
  test("begins anew under a steady load", async () => {
    const file = folder.file();
    const db = openWal(file);
    const storage = memoryStorage();
    const shipper = ship(db, storage, eager);
    await shipper.flush();
    const write = db.prepare("INSERT OR REPLACE INTO note (id, body) VALUES (?, randomblob(3000))");
    // Until it has, however slow the machine is; the test has a time.
    for (let i = 0; shipper.metrics().checkpoints < 5; i++) {
      write.run(i % 5000);
      if (i % 3 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    await shipper.flush();
    await expectSame(storage, db, `${file}.copy`);
    await shipper.close();
    db.close();
  });

  test("is given up when JavaScript does not get its turn", async () => {
    const file = folder.file();
    const db = openWal(file);
    const storage = memoryStorage();
    const shipper = ship(db, storage, { ...eager, walBytesMax: 2 ** 20 });
    const seen = watchShipper(shipper);
    await shipper.flush();
    const insert = db.prepare("INSERT INTO note (body) VALUES (randomblob(3000))");
    for (let i = 0; i < 1500; i++) insert.run();
    const [{ log }] = db.pragma("wal_checkpoint(PASSIVE)") as [{ log: number }];
    expect(log * 4120).toBeLessThan(2 * 2 ** 20);
    await shipper.flush();
    await expectSame(storage, db, `${file}.copy`);
    expect(seen.rebases.map(({ reason }) => reason)).toEqual(["start", "wal"]);
    await shipper.close();
    db.close();
  });
});

test("what cannot be shipped is refused", async () => {
  const rollback = new Database(folder.file());
  const shipper = ship(rollback, memoryStorage(), eager);
  await expect(shipper.flush()).rejects.toMatchObject({ code: "SHIP_UNSUPPORTED" });
  expect(shipper.failure).toMatchObject({ code: "SHIP_UNSUPPORTED" });
  await shipper.close().catch(() => {});
  rollback.close();
  const db = openWal(folder.file());
  const first = ship(db, memoryStorage(), eager);
  const second = () => ship(db, memoryStorage(), eager);
  expect(second).toThrow(expect.objectContaining({ code: "SHIP_ACTIVE" }));
  await first.close();
  db.close();
});

describe("a shipper lets go of the database", () => {
  async function expectFree(db: Database.Database) {
    const second = ship(db, memoryStorage(), eager);
    await second.flush();
    await second.close();
    db.close();
  }

  test("when its storage was closed before", async () => {
    const db = openWal(folder.file());
    const storage = memoryStorage();
    const shipper = ship(db, storage, eager);
    await shipper.flush();
    await storage.close();
    await shipper.close();
    await expectFree(db);
  });

  test("when a storage of the caller's own fails in its own way", async () => {
    const db = openWal(folder.file());
    const storage = memoryStorage();
    const shipper = ship(db, storage, eager);
    await shipper.flush();
    storage.putIfAbsent = () => Promise.reject(new RangeError("my own"));
    await expect(shipper.close()).rejects.toThrow("my own");
    await expectFree(db);
  });
});
