/**
 * A function that lives for seconds: it begins with a snapshot of the database, gets over HTTP what
 * came later, answers from a file of its own, and hands its writes over before it ends.
 *
 *   node examples/serverless.mjs
 */
import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { attach } from "mergelite";
import { listenHttp, syncOnce } from "mergelite/http";

/** What a platform calls: `snapshot` came with the deployment, `url` is the server's. */
export async function handler({ snapshot, url, folder }, { name }) {
  const file = join(folder, `${crypto.randomUUID()}.db`);
  copyFileSync(snapshot, file);
  const db = new Database(file);
  // A copy of a file is a peer of its own: it gets a new id here.
  const replica = attach(db);
  const count = db.prepare("SELECT count(*) FROM visit WHERE name = ?").pluck();
  try {
    const { requests } = await syncOnce(replica, url);
    console.log(`began with the snapshot; HTTP requests for the rest: ${requests}`);
    const visits = Number(count.get(name));
    replica.upsert("visit", { id: replica.id(), name });
    await syncOnce(replica, url);
    return `hello ${name}, you were here ${visits} times`;
  } finally {
    await replica.close();
    db.close();
  }
}

const folder = mkdtempSync(join(tmpdir(), "serverless-"));
const db = new Database(join(folder, "server.db"));
db.pragma("journal_mode = WAL");
db.exec("CREATE TABLE visit (id INTEGER PRIMARY KEY, name TEXT NOT NULL)");
const replica = attach(db, { tables: ["visit"] });
const server = await listenHttp({ host: "127.0.0.1", port: 0 }, (transport) =>
  replica.connect(transport),
);

for (let i = 0; i < 1000; i++) replica.upsert("visit", { id: replica.id(), name: "Ann" });
const { path: snapshot } = await replica.snapshot(join(folder, "snapshot.db"));
replica.upsert("visit", { id: replica.id(), name: "Ann" });

const platform = { snapshot, url: `http://127.0.0.1:${server.port}`, folder };
console.log(await handler(platform, { name: "Ann" }));
console.log(await handler(platform, { name: "Ann" }));
const visits = db.prepare("SELECT count(*) FROM visit").pluck().get();
console.log("the server has", visits, "visits");

await replica.close();
await server.close();
db.close();
rmSync(folder, { recursive: true });
