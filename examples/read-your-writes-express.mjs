/**
 * Middleware for Express (and Connect): a client that has written gets a token, and whichever
 * server it asks next shows that write.
 *
 *   node examples/read-your-writes-express.mjs
 */
import express from "express";
import { tokenGate, tokenHeader } from "mergelite/http";
import { openEastAndWest, writeAndRead } from "./shared/east-and-west.mjs";

const readMethods = new Set(["GET", "HEAD", "OPTIONS"]);

export function readYourWrites(replica, options) {
  const gate = tokenGate(replica, options);
  return async (request, response, next) => {
    const token = request.headers[tokenHeader];
    const refusal = await gate.enter(token);
    if (refusal !== undefined) {
      response.writeHead(refusal.status, refusal.headers).end(refusal.message);
      return;
    }
    if (!readMethods.has(request.method)) {
      // The write is done when the head of the answer is written, and not before.
      const { writeHead } = response;
      response.writeHead = (...args) => {
        response.setHeader(tokenHeader, gate.leave(token));
        return writeHead.apply(response, args);
      };
    }
    next();
  };
}

async function startServer({ replica, put, get }) {
  const app = express();
  app.use(readYourWrites(replica, { waitMs: 500 }));
  app.put("/:id", express.text({ type: () => true }), (request, response) => {
    put.run(request.params.id, request.body);
    response.sendStatus(204);
  });
  app.get("/:id", (request, response) => {
    response.type("text").send(get.get(request.params.id));
  });
  return new Promise((resolve) => {
    const server = app.listen(0, "127.0.0.1", () => resolve(server));
  });
}

const { east, west, close } = openEastAndWest();
const servers = await Promise.all([east, west].map(startServer));
await writeAndRead(...servers.map((server) => `http://127.0.0.1:${server.address().port}`));
for (const server of servers) server.close().closeAllConnections();
await close();
