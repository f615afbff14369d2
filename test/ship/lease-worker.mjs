// A process that ships a database to a place it may lose. After each flush a line of position and the
// digest of the database; it ends with "lost" when another one has the place.
import { createHash } from "node:crypto";
import Database from "better-sqlite3";
import { ship } from "../../dist/ship/index.js";
import { fileStorage } from "../../dist/storage/index.js";

const [file, place, leaseTtlMs] = process.argv.slice(2);
const db = new Database(file);
const options = { intervalMs: 3, retryMs: 5, leaseTtlMs: Number(leaseTtlMs) };
const shipper = ship(db, fileStorage(place), options);
let stopped = false;
process.on("SIGTERM", () => {
  stopped = true;
});

async function flush() {
  const digest = createHash("sha256").update(db.serialize()).digest("hex");
  const { txid } = await shipper.flush();
  process.stdout.write(`${txid} ${digest}\n`);
}

try {
  const insert = db.prepare("INSERT INTO note (body) VALUES (randomblob(2000))");
  while (!stopped) {
    insert.run();
    if (Math.random() < 0.1) db.exec("DELETE FROM note WHERE id % 3 = 0");
    await flush();
    await new Promise((resolve) => setTimeout(resolve, 3 * Math.random()));
  }
  await shipper.close();
} catch (error) {
  if (error.code !== "LEASE_LOST") throw error;
  process.stdout.write("lost\n");
}
