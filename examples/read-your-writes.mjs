/**
 * Two web servers, each on its own replica, behind any load balancer. A client that has written
 * gets a token in a header and sends it along: whichever server answers, it shows that write.
 *
 *   node examples/read-your-writes.mjs
 */
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { attach } from "mergelite";
import { listenWebSocket, webSocketTransport } from "mergelite/websocket";

const header = "mergelite-token";
const waitMs = 2000;
const folder = mkdtempSync(join(tmpdir(), "read-your-writes-"));

async function startServer(name) {
  const db = new Database(join(folder, `${name}.db`));
  db.pragma("journal_mode = WAL");
  db.exec("CREATE TABLE IF NOT EXISTS entry (id TEXT PRIMARY KEY NOT NULL, text TEXT)");
  const replica = attach(db, { tables: ["entry"] });
  const put = db.prepare(
    "INSERT INTO entry VALUES (?, ?) ON CONFLICT DO UPDATE SET text = excluded.text",
  );
  const get = db.prepare("SELECT text FROM entry WHERE id = ?").pluck();

  const http = createServer(async (request, response) => {
    const id = request.url.slice(1);
    if (request.method === "PUT") {
      const chunks = await request.toArray();
      put.run(id, Buffer.concat(chunks).toString());
      response.setHeader(header, replica.token());
      response.writeHead(204).end();
      return;
    }
    const token = request.headers[header];
    try {
      if (token !== undefined) await replica.wait(token, { signal: AbortSignal.timeout(waitMs) });
    } catch (error) {
      // An honest "not yet", or a token that is none.
      response.writeHead(error.code === "INVALID_TOKEN" ? 400 : 503).end(error.message);
      return;
    }
    const text = get.get(id);
    response.writeHead(text === undefined ? 404 : 200, { "served-by": name }).end(text);
  });
  await new Promise((resolve) => http.listen(0, "127.0.0.1", resolve));
  // Peers connect to the same port as browsers do.
  const peers = await listenWebSocket({ server: http, path: "/peers" }, (transport) =>
    replica.connect(transport),
  );
  const { port } = http.address();
  const stop = async () => {
    await replica.close();
    await peers.close();
    http.close();
    http.closeAllConnections();
    db.close();
  };
  return { replica, url: `http://127.0.0.1:${port}`, peers: `ws://127.0.0.1:${port}/peers`, stop };
}

const east = await startServer("east");
const west = await startServer("west");
west.replica.connect(webSocketTransport(east.peers));

for (let i = 1; i <= 5; i++) {
  const [writer, reader] = i % 2 === 0 ? [east, west] : [west, east];
  const written = await fetch(`${writer.url}/greeting`, { method: "PUT", body: `hello ${i}` });
  const token = written.headers.get(header);
  const read = await fetch(`${reader.url}/greeting`, { headers: { [header]: token } });
  console.log(`wrote "hello ${i}", ${read.headers.get("served-by")} read "${await read.text()}"`);
}

await west.stop();
await east.stop();
rmSync(folder, { recursive: true });
