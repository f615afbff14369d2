/**
 * Middleware for Hono: a client that has written gets a token, and whichever server it asks next
 * shows that write.
 *
 *   node examples/read-your-writes-hono.mjs
 */
import { serve } from "@hono/node-server";
import { Hono } from "hono";
import { tokenGate, tokenHeader } from "mergelite/http";
import { openEastAndWest, writeAndRead } from "./shared/east-and-west.mjs";

const readMethods = new Set(["GET", "HEAD", "OPTIONS"]);

export function readYourWrites(replica, options) {
  const gate = tokenGate(replica, options);
  return async (context, next) => {
    const token = context.req.header(tokenHeader);
    const refusal = await gate.enter(token);
    if (refusal !== undefined) {
      return context.text(refusal.message, refusal.status, refusal.headers);
    }
    await next();
    if (!readMethods.has(context.req.method)) context.header(tokenHeader, gate.leave(token));
    return undefined;
  };
}

async function startServer({ replica, put, get }) {
  const app = new Hono();
  app.use(readYourWrites(replica, { waitMs: 500 }));
  app.put("/:id", async (context) => {
    put.run(context.req.param("id"), await context.req.text());
    return context.body(null, 204);
  });
  app.get("/:id", (context) => context.text(get.get(context.req.param("id"))));
  return new Promise((resolve) => {
    const server = serve({ fetch: app.fetch, hostname: "127.0.0.1", port: 0 }, () =>
      resolve(server),
    );
  });
}

const { east, west, close } = openEastAndWest();
const servers = await Promise.all([east, west].map(startServer));
await writeAndRead(...servers.map((server) => `http://127.0.0.1:${server.address().port}`));
for (const server of servers) server.close().closeAllConnections();
await close();
