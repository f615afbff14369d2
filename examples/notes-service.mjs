/**
 * A notes service on three servers, each a process with a file of its own. Clients talk to
 * whichever server a balancer picks, and always see what they have written themselves, because
 * they carry the token of their last write. Server 0 is killed in the middle; the others go on
 * without it, and it has everything soon after it is back.
 *
 *   node examples/notes-service.mjs                    the three servers, and a client
 *   node examples/notes-service.mjs serve FILE [URL]   one server, linked to the one at URL
 */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import Database from "better-sqlite3";
import express from "express";
import { attach, ReplicaError } from "mergelite";
import { tokenGate, tokenHeader } from "mergelite/http";
import { listenWebSocket, webSocketTransport } from "mergelite/websocket";

if (process.argv[2] === "serve") await serve(process.argv[3], process.argv.slice(4));
else await tryIt();

/** One server: notes over HTTP, and its peers over WebSocket on the same port. */
async function serve(file, peerUrls) {
  const db = new Database(file);
  db.pragma("journal_mode = WAL");
  db.exec(`CREATE TABLE IF NOT EXISTS note (
    id TEXT PRIMARY KEY NOT NULL, body TEXT NOT NULL DEFAULT '', done INTEGER NOT NULL DEFAULT 0)`);
  const replica = attach(db, { tables: ["note"] });
  for (const url of peerUrls) replica.connect(webSocketTransport(url));

  const server = createServer(notesApp(db, replica));
  const peers = await listenWebSocket({ server, path: "/peers" }, (transport) =>
    replica.connect(transport),
  );
  server.listen(Number(process.env.PORT ?? 0), "127.0.0.1", () =>
    console.log(`http://127.0.0.1:${server.address().port}`),
  );
  process.once("SIGTERM", async () => {
    server.close().closeIdleConnections();
    await replica.drain({ signal: AbortSignal.timeout(2000) }).catch(() => {});
    await replica.close();
    await peers.close();
    db.close();
    process.exit();
  });
}

function notesApp(db, replica) {
  const gate = tokenGate(replica, { waitMs: 2000 });
  const all = db.prepare("SELECT id, body, done FROM note ORDER BY id");
  const one = db.prepare("SELECT id, body, done FROM note WHERE id = ?");
  const remove = db.prepare("DELETE FROM note WHERE id = ?");
  const app = express();
  app.use(express.json());
  app.use(async (request, response, next) => {
    const refusal = await gate.enter(request.headers[tokenHeader]);
    if (refusal === undefined) next();
    else response.set(refusal.headers).status(refusal.status).send(refusal.message);
  });
  const wrote = (request, response) =>
    response.set(tokenHeader, gate.leave(request.headers[tokenHeader])).sendStatus(204);
  app.get("/notes", (_, response) => response.json(all.all()));
  app.get("/notes/:id", (request, response) => {
    const note = one.get(request.params.id);
    if (note === undefined) response.sendStatus(404);
    else response.json(note);
  });
  app.patch("/notes/:id", (request, response) => {
    const { body, done } = request.body;
    try {
      // Just these columns: two clients that change different ones do not undo each other.
      replica.upsert("note", { id: request.params.id, body, done });
    } catch (error) {
      if (!(error instanceof ReplicaError)) throw error;
      response.status(400).send(error.message);
      return;
    }
    wrote(request, response);
  });
  app.delete("/notes/:id", (request, response) => {
    remove.run(request.params.id);
    wrote(request, response);
  });
  return app;
}

async function tryIt() {
  const folder = mkdtempSync(join(tmpdir(), "notes-"));
  const servers = [await start(join(folder, "0.db"))];
  for (const name of ["1.db", "2.db"]) servers.push(await start(join(folder, name), servers[0]));

  const client = newClient();
  await client.patch(servers[0], "tea", { body: "buy tea" });
  console.log("server 1 shows", JSON.stringify(await client.get(servers[1], "tea")));
  await client.patch(servers[1], "tea", { done: 1 });
  console.log("server 2 shows", JSON.stringify(await client.get(servers[2], "tea")));

  servers[0].process.kill("SIGKILL");
  await servers[0].ended;
  await client.patch(servers[2], "call", { body: "call Ann" });
  console.log("without server 0:", (await client.get(servers[2], "call")).body);

  servers[0] = await start(join(folder, "0.db"), undefined, new URL(servers[0].url).port);
  console.log("server 0 is back:", (await client.get(servers[0], "call")).body);

  for (const { process: server } of servers) server.kill("SIGTERM");
  await Promise.all(servers.map(({ ended }) => ended));
  rmSync(folder, { recursive: true });
}

async function start(file, peer, port = 0) {
  const peers = peer === undefined ? [] : [`${peer.url.replace("http", "ws")}/peers`];
  const args = [fileURLToPath(import.meta.url), "serve", file, ...peers];
  const server = spawn(process.execPath, args, {
    env: { ...process.env, PORT: String(port) },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = new Promise((resolve) => server.once("exit", resolve));
  for await (const url of createInterface({ input: server.stdout })) {
    return { process: server, ended, url };
  }
  throw new Error("the server did not start");
}

/** Keeps the newest token, as a browser would in a cookie. */
function newClient() {
  let token;
  const call = async ({ url }, id, init = {}) => {
    const headers = { "content-type": "application/json", ...(token && { [tokenHeader]: token }) };
    for (;;) {
      const response = await fetch(`${url}/notes/${id}`, { ...init, headers });
      if (response.status !== 503) {
        token = response.headers.get(tokenHeader) ?? token;
        return response;
      }
      // What was written has not come here yet.
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  };
  return {
    get: async (server, id) => (await call(server, id)).json(),
    patch: (server, id, body) => call(server, id, { method: "PATCH", body: JSON.stringify(body) }),
  };
}
