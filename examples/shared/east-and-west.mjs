/** Two linked replicas in one process, for the examples of web servers. */
import Database from "better-sqlite3";
import { attach } from "mergelite";
import { tokenHeader } from "mergelite/http";
import { memoryPair } from "mergelite/memory";

function openReplica() {
  const db = new Database(":memory:");
  db.exec("CREATE TABLE entry (id TEXT PRIMARY KEY NOT NULL, text TEXT)");
  const replica = attach(db, { tables: ["entry"] });
  const put = db.prepare(
    "INSERT INTO entry VALUES (?, ?) ON CONFLICT DO UPDATE SET text = excluded.text",
  );
  const get = db.prepare("SELECT text FROM entry WHERE id = ?").pluck();
  return { db, replica, put, get };
}

export function openEastAndWest() {
  const [east, west] = [openReplica(), openReplica()];
  const [left, right] = memoryPair();
  east.replica.connect(left);
  west.replica.connect(right);
  const close = async () => {
    for (const { db, replica } of [east, west]) {
      await replica.close();
      db.close();
    }
  };
  return { east, west, close };
}

/** A client that writes on one server and reads on the other, and keeps the newest token. */
export async function writeAndRead(eastUrl, westUrl) {
  let token;
  for (let i = 1; i <= 5; i++) {
    const [writer, reader] = i % 2 === 0 ? [eastUrl, westUrl] : [westUrl, eastUrl];
    const headers = token === undefined ? {} : { [tokenHeader]: token };
    const method = "PUT";
    const written = await fetch(`${writer}/greeting`, { method, headers, body: `hello ${i}` });
    token = written.headers.get(tokenHeader);
    const read = await fetch(`${reader}/greeting`, { headers: { [tokenHeader]: token } });
    console.log(`wrote "hello ${i}", the other server read "${await read.text()}"`);
  }
  // A write that nobody has seen: an honest "not yet", and "what?".
  for (const unknown of ["4503599627370496.9", "yesterday"]) {
    const answer = await fetch(`${eastUrl}/greeting`, { headers: { [tokenHeader]: unknown } });
    console.log(
      `token ${unknown}: ${answer.status}, retry after ${answer.headers.get("retry-after")}`,
    );
  }
}
