/** Many links, links whose other side does not read, and rows too large for a message. */
import { type AddressInfo, createServer } from "node:net";
import { afterEach, describe, expect, it, vi } from "vitest";
import { Store } from "../../src/log/store.ts";
import { encodeMessage } from "../../src/sync/protocol.ts";
import { frameHeader } from "../../src/transport/framing.ts";
import { memoryPair, type Transport } from "../../src/transport/memory.ts";
import { tcpTransport } from "../../src/transport/tcp.ts";
import { join, makePeer } from "../support/peer.ts";
import { handleOf } from "../support/replica.ts";
import { trimAll } from "../support/state.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean();
});

describe("200 links on one replica", () => {
  it("cost one read of the log a commit", async () => {
    const hub = makePeer();
    const spokes = Array.from({ length: 200 }, () => makePeer());
    for (const spoke of spokes) join(hub, spoke);
    await hub.replica.synced();
    expect(hub.replica.status().links).toHaveLength(200);
    const reads = vi.spyOn(Store.prototype, "readLog");
    cleanups.push(() => reads.mockRestore());
    for (let id = 1; id <= 10; id++) {
      hub.db.prepare("INSERT INTO note VALUES (?, 'x')").run(id);
      const token = hub.replica.token();
      await Promise.all(spokes.map(({ replica }) => replica.wait(token)));
    }
    expect(reads.mock.calls.length).toBeLessThanOrEqual(20);
    expect(reads.mock.calls.length).toBeGreaterThan(0);
    const [, last] = [spokes[0], spokes.at(-1)];
    last?.db.prepare("INSERT INTO note VALUES (11, 'y')").run();
    const token = last?.replica.token() ?? "";
    await Promise.all(spokes.map(({ replica }) => replica.wait(token)));
    const { duplicateChangesets, receivedChangesets } = hub.replica.metrics();
    expect([duplicateChangesets, receivedChangesets]).toEqual([0, 1]);
  }, 60_000);
});

describe("a peer that stops reading", () => {
  it("is sent a window and what the socket takes, and no more is kept for it", async () => {
    const hello = encodeMessage({
      kind: "hello",
      minVersion: 1,
      maxVersion: 1,
      cluster: "",
      peerId: 1234,
      answer: false,
      vector: new Map(),
      shapes: [],
    });
    const server = createServer((socket) => {
      cleanups.push(() => socket.destroy());
      socket.pause();
      socket.write(Buffer.concat([frameHeader(hello), hello]));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    cleanups.push(() => server.close());
    const { port } = server.address() as AddressInfo;
    const [writer, reader] = [makePeer(), makePeer()];
    join(writer, reader);
    const linked = new Promise<void>((resolve) => {
      writer.replica.on("link", ({ peerId, live }) => {
        if (live && peerId === 1234) resolve();
      });
    });
    writer.replica.connect(tcpTransport(`tcp://127.0.0.1:${port}`));
    await linked;
    const insert = writer.db.prepare("INSERT INTO note VALUES (?, randomblob(1000))");
    const rows = 20_000;
    for (let id = 0; id < rows; id += 200) {
      writer.db.transaction(() => {
        for (let i = 0; i < 200; i++) insert.run(id + i);
      })();
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    await reader.replica.wait(writer.replica.token());
    const { links, sentBytes, waitingMessages } = writer.replica.metrics();
    expect(links).toBe(2);
    const toReader = reader.replica.metrics().receivedBytes;
    expect(toReader).toBeGreaterThan(rows * 1_000);
    expect(sentBytes - toReader).toBeLessThan(2 * 1024 * 1024);
    expect(waitingMessages).toBeLessThanOrEqual(64);
  }, 30_000);
});

describe("a transport that fails to close", () => {
  /** One that an application has written. */
  const failing = (inner: Transport): Transport => ({
    messages: inner.messages,
    send: (message) => inner.send(message),
    close: async () => {
      await inner.close?.();
      throw new Error("it was reset");
    },
  });

  it("is told of, keeps no replica open, and is dialled again", async () => {
    const [peer, other] = [makePeer(), makePeer()];
    const errors: string[] = [];
    peer.replica.on("error", ({ error }) => errors.push(error.code));
    const others: Transport[] = [];
    const dialer = {
      name: "test",
      dial: async () => {
        const [here, there] = memoryPair();
        others.push(there);
        other.replica.connect(there);
        return failing(here);
      },
    };
    const connection = peer.replica.connect(dialer);
    await peer.replica.synced();
    await others[0]?.close?.();
    await vi.waitFor(() => expect(others).toHaveLength(2));
    await peer.replica.synced();
    expect(errors).toEqual(["TRANSPORT_FAILED"]);
    await peer.replica.close();
    await connection.closed;
  });
});

describe("a row larger than a message", () => {
  it("arrives", async () => {
    const [left, right] = [makePeer(), makePeer()];
    join(left, right);
    const bytes = 80 * 1024 * 1024;
    left.db.prepare("INSERT INTO note VALUES (1, zeroblob(?))").run(bytes);
    left.db.prepare("INSERT INTO note VALUES (2, 'small')").run();
    await right.replica.wait(left.replica.token());
    const lengths = right.db.prepare("SELECT length(body) FROM note ORDER BY id").pluck().all();
    expect(lengths).toEqual([bytes, 5]);
    expect(right.replica.metrics().duplicateChangesets).toBe(0);
  }, 60_000);

  it("arrives as state", async () => {
    const [left, right] = [makePeer(), makePeer()];
    const bytes = 80 * 1024 * 1024;
    left.db.prepare("INSERT INTO note VALUES (1, zeroblob(?)), (2, 'small')").run(bytes);
    trimAll({ ...left, handle: handleOf(left.db), peerId: left.replica.peerId });
    join(left, right);
    await right.replica.wait(left.replica.token());
    const lengths = right.db.prepare("SELECT length(body) FROM note ORDER BY id").pluck().all();
    expect(lengths).toEqual([bytes, 5]);
  }, 60_000);
});
