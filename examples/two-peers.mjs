/**
 * Two peers, each with a file of its own, write while they cannot see each other. When they meet,
 * both end up with the same rows.
 *
 *   node examples/two-peers.mjs
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { attach } from "mergelite";
import { listenWebSocket, webSocketTransport } from "mergelite/websocket";

const folder = mkdtempSync(join(tmpdir(), "two-peers-"));

function openPeer(name) {
  const db = new Database(join(folder, `${name}.db`));
  db.pragma("journal_mode = WAL");
  db.exec("CREATE TABLE task (id TEXT PRIMARY KEY NOT NULL, title TEXT, done INTEGER DEFAULT 0)");
  return { name, db, replica: attach(db, { tables: ["task"] }) };
}

const show = ({ name, db }) => {
  console.log(`${name}:`);
  for (const { id, title, done } of db.prepare("SELECT * FROM task ORDER BY id").all()) {
    console.log(`  ${id}  [${done ? "x" : " "}] ${title}`);
  }
};

const desk = openPeer("desk");
const phone = openPeer("phone");

// A shared beginning.
const server = await listenWebSocket({ host: "127.0.0.1", port: 0 }, (transport) =>
  desk.replica.connect(transport),
);
const url = `ws://127.0.0.1:${server.port}`;
let connection = phone.replica.connect(webSocketTransport(url));
desk.db.exec("INSERT INTO task (id, title) VALUES ('a', 'buy tea'), ('b', 'call Ann')");
await phone.replica.wait(desk.replica.token());

// Apart: both change the same rows.
await connection.close();
desk.db.exec("UPDATE task SET title = 'buy green tea' WHERE id = 'a'");
desk.db.exec("INSERT INTO task (id, title) VALUES ('c', 'water the plants')");
phone.db.exec("UPDATE task SET done = 1 WHERE id = 'a'");
phone.db.exec("DELETE FROM task WHERE id = 'b'");
console.log("Apart:");
show(desk);
show(phone);

// Together again: different columns of one row merge, the delete arrives, and so does the new row.
connection = phone.replica.connect(webSocketTransport(url));
await phone.replica.wait(desk.replica.token());
await desk.replica.wait(phone.replica.token());
console.log("Together:");
show(desk);
show(phone);

const { differences } = await phone.replica.verify();
console.log(`verified: ${differences} differences`);

await phone.replica.close();
await desk.replica.close();
await server.close();
desk.db.close();
phone.db.close();
rmSync(folder, { recursive: true });
