// A process that writes a database. `ship`: and ships it, saying which rows a flush has covered.
// `foreign`: and checkpoints in every mode, spills its cache and rolls back.
import Database from "better-sqlite3";
import { ship } from "../../dist/ship/index.js";
import { fileStorage } from "../../dist/storage/index.js";

const [role, file, backup] = process.argv.slice(2);
const db = new Database(file, { timeout: 5000 });
db.pragma("synchronous = NORMAL");
const random = (n) => Math.floor(Math.random() * n);
const insert = db.prepare("INSERT INTO note (body) VALUES (randomblob(?))");
const turn = () => new Promise((resolve) => setTimeout(resolve, random(4)));

function write() {
  db.exec("BEGIN IMMEDIATE");
  for (let i = random(4); i >= 0; i--) insert.run(random(6000));
  const update = db.prepare("UPDATE note SET body = randomblob(900) WHERE id % 11 = ?");
  if (random(4) === 0) update.run(random(11));
  if (random(9) === 0) db.prepare("DELETE FROM note WHERE id % 5 = ?").run(random(5));
  db.exec(random(6) === 0 ? "ROLLBACK" : "COMMIT");
}

async function foreign() {
  const modes = ["PASSIVE", "FULL", "RESTART", "TRUNCATE"];
  db.pragma("cache_size = 5");
  db.pragma("wal_autocheckpoint = 20");
  process.on("SIGTERM", () => {
    db.close();
    process.exit(0);
  });
  for (;;) {
    try {
      write();
      if (random(10) === 0) db.pragma(`busy_timeout = 50`);
      if (random(10) === 0) db.pragma(`wal_checkpoint(${modes[random(4)]})`);
      if (random(40) === 0) db.exec("PRAGMA incremental_vacuum");
      if (random(60) === 0) db.exec("VACUUM");
    } catch (error) {
      if (!String(error.code).startsWith("SQLITE_BUSY")) throw error;
      if (db.inTransaction) db.exec("ROLLBACK");
    }
    db.pragma("busy_timeout = 5000");
    await turn();
  }
}

async function shipping() {
  const options = { intervalMs: 3, checkpointBytes: 65_536, retryMs: 5 };
  const shipper = ship(db, fileStorage(backup), options);
  const sum = db.prepare("SELECT count(*) AS count FROM flushed");
  for (;;) {
    write();
    db.prepare("INSERT INTO flushed DEFAULT VALUES").run();
    if (random(3) === 0) {
      const { count } = sum.get();
      const { txid } = await shipper.flush();
      process.stdout.write(`${txid} ${count}\n`);
    }
    await turn();
  }
}

await (role === "foreign" ? foreign() : shipping());
