/** How connections to an FTP server are waited for. */
import { createServer, type Socket } from "node:net";
import { afterEach, expect, test } from "vitest";
import { FtpPool } from "../../src/storage/ftp-connection.ts";

const sockets = new Set<Socket>();
afterEach(() => {
  for (const socket of sockets) socket.destroy();
});

/** Takes connections; says nothing unless it `greets`. */
async function serve(greets: boolean): Promise<number> {
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    if (!greets) return;
    socket.write("220 hello\r\n");
    socket.on("data", () => socket.write("200 yes\r\n"));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  server.unref();
  const address = server.address();
  if (typeof address === "string" || address === null) throw new Error("no port");
  return address.port;
}

test("who waits for a connection hears the signal, and leaves its turn to others", async () => {
  const pool = new FtpPool({ host: "127.0.0.1", port: await serve(true), connectionsMax: 1 });
  const held = await pool.acquire(undefined);
  const stop = new AbortController();
  const waiting = pool.acquire(stop.signal);
  const next = pool.acquire(undefined);
  stop.abort(new Error("enough"));
  await expect(waiting).rejects.toThrow("enough");
  const late = new AbortController();
  const given = pool.acquire(late.signal);
  held.release(true);
  (await next).release(true);
  late.abort(new Error("late"));
  await expect(given).rejects.toThrow("late");
  (await pool.acquire(undefined)).release(false);
  await expect(pool.acquire(stop.signal)).rejects.toThrow("enough");
  pool.close();
});

test("a server that says nothing is not waited for after the signal", async () => {
  const port = await serve(false);
  const pool = new FtpPool({ host: "127.0.0.1", port, connectionsMax: 1, timeoutMs: 600_000 });
  const stop = new AbortController();
  const connecting = pool.acquire(stop.signal);
  setTimeout(() => stop.abort(new Error("enough")), 50);
  await expect(connecting).rejects.toThrow("enough");
  pool.close();
});
