/**
 * Hooks for Fastify: a client that has written gets a token, and whichever server it asks next
 * shows that write.
 *
 *   node examples/read-your-writes-fastify.mjs
 */
import Fastify from "fastify";
import { tokenGate, tokenHeader } from "mergelite/http";
import { openEastAndWest, writeAndRead } from "./shared/east-and-west.mjs";

const readMethods = new Set(["GET", "HEAD", "OPTIONS"]);

export function readYourWrites(app, replica, options) {
  const gate = tokenGate(replica, options);
  app.addHook("onRequest", async (request, reply) => {
    const refusal = await gate.enter(request.headers[tokenHeader]);
    if (refusal === undefined) return undefined;
    return reply.code(refusal.status).headers(refusal.headers).send(refusal.message);
  });
  app.addHook("onSend", async (request, reply) => {
    const isRefused = reply.statusCode === 400 || reply.statusCode === 503;
    if (readMethods.has(request.method) || isRefused) return;
    reply.header(tokenHeader, gate.leave(request.headers[tokenHeader]));
  });
}

async function startServer({ replica, put, get }) {
  const app = Fastify();
  readYourWrites(app, replica, { waitMs: 500 });
  app.put("/:id", (request, reply) => {
    put.run(request.params.id, request.body);
    return reply.code(204).send();
  });
  app.get("/:id", (request) => get.get(request.params.id));
  await app.listen({ host: "127.0.0.1", port: 0 });
  return app;
}

const { east, west, close } = openEastAndWest();
const apps = await Promise.all([east, west].map(startServer));
await writeAndRead(...apps.map((app) => `http://127.0.0.1:${app.server.address().port}`));
for (const app of apps) await app.close();
await close();
