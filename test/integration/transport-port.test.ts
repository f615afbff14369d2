/** Threads: a worker with a replica of its own, and ports that say what they must not. */
import { MessageChannel, Worker } from "node:worker_threads";
import Database from "better-sqlite3";
import { afterEach, expect, it } from "vitest";
import { attach } from "../../src/index.ts";
import { messagePortTransport } from "../../src/transport/message-port.ts";
import { temporaryFolder } from "../support/folder.ts";
import { read, readAll } from "../support/transports.ts";

const folder = temporaryFolder();
const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean();
});

function channel() {
  const { port1, port2 } = new MessageChannel();
  cleanups.push(() => port1.close());
  return { port: port1, transport: messagePortTransport(port2) };
}

it("links a replica in a worker, again and again", async () => {
  const worker = new Worker(new URL("../support/port-worker.mjs", import.meta.url), {
    workerData: folder.file(),
  });
  cleanups.push(() => worker.terminate());
  const db = new Database(folder.file());
  cleanups.push(() => db.close());
  db.exec("CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT)");
  const replica = attach(db, { tables: ["note"] });
  cleanups.push(() => replica.close());
  const open = () => {
    const { port1, port2 } = new MessageChannel();
    worker.postMessage(port2, [port2]);
    return port1;
  };
  db.exec("INSERT INTO note VALUES (1, 'from the main thread')");
  for (const id of [2, 3]) {
    const connection = replica.connect(messagePortTransport(open, { name: "worker" }));
    await replica.drain();
    const said = new Promise((resolve) => worker.once("message", resolve));
    worker.postMessage(`INSERT INTO note VALUES (${id}, 'from the worker')`);
    await replica.wait(String(await said), { signal: AbortSignal.timeout(20_000) });
    await connection.close();
  }
  expect(db.prepare("SELECT id FROM note ORDER BY id").pluck().all()).toEqual([1, 2, 3]);
});

it("fails when the other thread is gone without a goodbye", async () => {
  const { port, transport } = channel();
  port.close();
  await expect(readAll(transport)).rejects.toMatchObject({ code: "TRANSPORT_FAILED" });
  await expect(transport.send(Uint8Array.of(1))).rejects.toMatchObject({
    code: "TRANSPORT_CLOSED",
  });
});

it.each([["text"], [{ a: 1 }], [undefined], [new Uint16Array(1)], [-5], [0], [1e9], [Number.NaN]])(
  "refuses %j for a message",
  async (value) => {
    const { port, transport } = channel();
    port.postMessage(Uint8Array.of(1));
    port.postMessage(value);
    expect(await read(transport)).toEqual([Uint8Array.of(1)]);
    await expect(readAll(transport)).rejects.toMatchObject({ code: "PROTOCOL_MALFORMED" });
  },
);

it("ends with a side that sends beyond its credit", async () => {
  const { port, transport } = channel();
  for (let i = 0; i < 12; i++) port.postMessage(new Uint8Array(1024 * 1024));
  await new Promise((resolve) => setTimeout(resolve, 100));
  await expect(readAll(transport)).rejects.toMatchObject({ code: "PROTOCOL_MALFORMED" });
});

it("refuses a message over the limit", async () => {
  const { port, transport } = channel();
  port.postMessage(new Uint8Array(64 * 1024 * 1024 + 1));
  await expect(readAll(transport)).rejects.toMatchObject({ code: "PROTOCOL_MALFORMED" });
});
