// A process that writes a database in every way there is, and checkpoints in every mode. `foreign`:
// that is all. `ship`: it ships it to two places, and says what a flush has covered: a line of
// position, counter, and the digest of the database, or "-" where others may have written meanwhile.
import { createHash } from "node:crypto";
import Database from "better-sqlite3";
import { ship } from "../../dist/ship/index.js";
import { fileStorage } from "../../dist/storage/index.js";

const [role, file, ...places] = process.argv.slice(2);
const random = (n) => Math.floor(Math.random() * n);
const turn = () => new Promise((resolve) => setTimeout(resolve, random(4)));

function connect() {
  const db = new Database(file, { timeout: 5000 });
  db.pragma("synchronous = NORMAL");
  return db;
}

/** A connection's ways to write; what is in the way of others is given up, as programs do. */
class Writer {
  #db;

  constructor(db) {
    this.#db = db;
  }

  /** With a small cache pages go into the WAL before their transaction commits. */
  write() {
    const db = this.#db;
    try {
      db.pragma(`cache_size = ${random(2) === 0 ? 4 : 2000}`);
      db.exec("BEGIN IMMEDIATE");
      this.#insert(random(4) + 1);
      if (random(4) === 0)
        this.#run("UPDATE note SET body = randomblob(900) WHERE id % 11 = ?", 11);
      if (random(9) === 0) this.#run("DELETE FROM note WHERE id % 5 = ?", 5);
      if (random(5) === 0) this.#undone();
      if (random(9) === 0) this.#insert(40);
      db.exec("UPDATE counter SET n = n + 1");
      db.exec(random(6) === 0 ? "ROLLBACK" : "COMMIT");
    } catch (error) {
      this.#passed(error);
    }
  }

  tidy() {
    const db = this.#db;
    const modes = ["PASSIVE", "FULL", "RESTART", "TRUNCATE"];
    try {
      // Where shipping is this thread's, too, it cannot make way meanwhile.
      db.pragma("busy_timeout = 20");
      if (random(8) === 0) db.pragma(`wal_checkpoint(${modes[random(4)]})`);
      if (random(40) === 0) db.exec("PRAGMA incremental_vacuum");
      if (random(60) === 0) db.exec("VACUUM");
      if (random(60) === 0)
        db.exec("DROP TABLE IF EXISTS extra; CREATE TABLE extra AS SELECT * FROM note");
    } catch (error) {
      this.#passed(error);
    }
    db.pragma("busy_timeout = 5000");
  }

  #insert(rows) {
    const insert = this.#db.prepare("INSERT INTO note (body) VALUES (randomblob(?))");
    for (let i = 0; i < rows; i++) insert.run(random(6000));
  }

  #run(sql, modulus) {
    this.#db.prepare(sql).run(random(modulus));
  }

  #undone() {
    const db = this.#db;
    db.exec("SAVEPOINT a; DELETE FROM note WHERE id % 2 = 0");
    this.#insert(3);
    db.exec("ROLLBACK TO a; RELEASE a");
  }

  #passed(error) {
    if (this.#db.inTransaction) this.#db.exec("ROLLBACK");
    if (!String(error.code).startsWith("SQLITE_BUSY")) throw error;
  }
}

async function foreign() {
  const db = connect();
  db.pragma("wal_autocheckpoint = 20");
  const writer = new Writer(db);
  process.on("SIGTERM", () => {
    db.close();
    process.exit(0);
  });
  for (;;) {
    writer.write();
    writer.tidy();
    await turn();
  }
}

async function shipping() {
  const db = connect();
  const writers = [new Writer(db), new Writer(connect())];
  const lock = connect();
  const counter = lock.prepare("SELECT n FROM counter").pluck();
  const keep = JSON.parse(process.env.SHIP_KEEP ?? "false");
  const options = { intervalMs: 3, checkpointBytes: 65_536, retryMs: 5, keep };
  const storages = places.map((place) => fileStorage(place));
  const shipper = ship(db, storages, options);
  for (;;) {
    const writer = writers[random(2)];
    writer.write();
    writer.tidy();
    if (random(3) === 0) await flush();
    await turn();
  }

  async function flush() {
    const isAlone = random(2) === 0;
    if (isAlone) lock.exec("BEGIN IMMEDIATE");
    const n = counter.get();
    const digest = isAlone ? createHash("sha256").update(lock.serialize()).digest("hex") : "-";
    const { txid } = await shipper.flush({ signal: AbortSignal.timeout(60_000) });
    process.stdout.write(`${txid} ${String(n)} ${digest}\n`);
    if (isAlone) lock.exec("ROLLBACK");
  }
}

await (role === "foreign" ? foreign() : shipping());
