/** What every transport has to do, whatever carries it: `docs/protocol.md` and `Transport`. */
import { afterEach, describe, expect, it, vi } from "vitest";
import type { Listener, Transport } from "../../src/transport/transport.ts";
import { acceptor, kinds, read, readAll, whenStill } from "../support/transports.ts";

// Many megabytes, perhaps on a busy machine; no test waits for this.
vi.setConfig({ testTimeout: 120_000 });

const megabyte = 1024 * 1024;
const cleanups: (() => unknown)[] = [];
const never = new AbortController().signal;

afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean();
});

function kindOf(name: string) {
  const kind = kinds[name];
  if (kind === undefined) throw new Error(name);
  return kind;
}

interface Ends {
  client: Transport;
  server: Transport;
  listener: Listener;
}

async function join(name: string): Promise<Ends> {
  const kind = kindOf(name);
  const { onTransport, next } = acceptor();
  const listener = await kind.listen(0, onTransport);
  cleanups.push(() => listener.close());
  const client = await kind.dialer(listener.port).dial(never);
  cleanups.push(() => client.close?.());
  return { client, server: await next(), listener };
}

const numbered = (count: number) =>
  Array.from({ length: count }, (_, index) => Uint8Array.of(index % 256, index >> 8, 7));
const sorted = (messages: Uint8Array[]) =>
  messages.map((bytes) => Buffer.from(bytes).toString("hex")).sort();

const closedCode = { code: expect.stringMatching(/^TRANSPORT_(CLOSED|FAILED)$/) };

describe.each(Object.keys(kinds))("%s", (name) => {
  it("carries messages both ways and ends in good order", async () => {
    const { client, server } = await join(name);
    const messages = [...numbered(1000), new Uint8Array(0)];
    await server.send(Uint8Array.of(42));
    expect(await read(client)).toEqual([Uint8Array.of(42)]);
    for (const message of messages) await client.send(message);
    const reading = readAll(server);
    await client.close?.();
    expect(sorted(await reading)).toEqual(sorted(messages));
    await expect(client.send(new Uint8Array(1))).rejects.toMatchObject(closedCode);
  });

  it("carries 1,000 small messages each way at once, sent without waiting", async () => {
    const { client, server } = await join(name);
    const messages = numbered(1000);
    const exchange = async (from: Transport, to: Transport) => {
      const reading = read(to, messages.length);
      await Promise.all(messages.map((message) => from.send(message)));
      expect(sorted(await reading)).toEqual(sorted(messages));
    };
    await Promise.all([exchange(client, server), exchange(server, client)]);
  });

  it("carries the largest message, and refuses to send a larger one", async () => {
    const { client, server } = await join(name);
    const message = Buffer.alloc(64 * megabyte, "mergelite, not a power of two");
    const bytes = new Uint8Array(message.buffer, message.byteOffset, message.byteLength);
    const [[received]] = await Promise.all([read(server), client.send(bytes)]);
    expect(received?.byteLength).toBe(message.byteLength);
    expect(message.equals(received ?? new Uint8Array(0))).toBe(true);
    await expect(client.send(new Uint8Array(64 * megabyte + 1))).rejects.toMatchObject({
      code: "MESSAGE_TOO_LARGE",
    });
  });

  it("leaves the bytes it was given alone", async () => {
    const { client, server } = await join(name);
    const large = new Uint8Array(1000).fill(1);
    const part = large.subarray(10, 20);
    for (let round = 0; round < 3; round++) await client.send(part);
    expect(await read(server, 3)).toEqual([part, part, part]);
    expect(large).toEqual(new Uint8Array(1000).fill(1));
  });

  it("rejects a dial that nobody answers, and one that is aborted", async () => {
    const kind = kindOf(name);
    const listener = await kind.listen(0, () => undefined);
    const dialer = kind.dialer(listener.port);
    const reason = new Error("not now");
    await expect(dialer.dial(AbortSignal.abort(reason))).rejects.toBe(reason);
    const controller = new AbortController();
    const dialing = dialer.dial(controller.signal);
    controller.abort(reason);
    await expect(dialing).rejects.toBe(reason);
    await listener.close();
    await expect(dialer.dial(never)).rejects.toMatchObject({ code: "TRANSPORT_FAILED" });
  });

  it("is closed by either side, more than once, with nothing sent", async () => {
    for (const closer of ["client", "server"] as const) {
      const ends = await join(name);
      const other = closer === "client" ? ends.server : ends.client;
      const reading = Promise.all([readAll(ends.client), readAll(ends.server)]);
      await Promise.all([ends[closer].close?.(), ends[closer].close?.()]);
      expect(await reading).toEqual([[], []]);
      await ends[closer].close?.();
      await other.close?.();
      await expect(ends[closer].send(Uint8Array.of(1))).rejects.toMatchObject(closedCode);
    }
  });

  it("says goodbye behind what it has sent, with unread messages in its own queue", async () => {
    const { client, server } = await join(name);
    await client.send(new Uint8Array(3 * megabyte));
    await server.send(Uint8Array.of(1));
    const closing = server.close?.();
    expect(await readAll(client)).toEqual([Uint8Array.of(1)]);
    await closing;
  });

  it("ends a send that waits when the other side hangs up", async () => {
    const { client, server } = await join(name);
    const sending = (async () => {
      for (;;) await client.send(new Uint8Array(megabyte));
    })();
    const rejected = expect(sending).rejects.toMatchObject(closedCode);
    await new Promise((resolve) => setTimeout(resolve, 100));
    await server.close?.();
    await rejected;
  });

  it("ends both sides when a reader stops reading for good", async () => {
    const { client, server } = await join(name);
    await client.send(Uint8Array.of(1));
    await client.send(Uint8Array.of(2));
    for await (const message of server.messages) {
      expect(message).toEqual(Uint8Array.of(1));
      break;
    }
    const reading = readAll(client);
    await server.close?.();
    expect(await reading).toEqual([]);
  });

  it("closes with its listener, and is dialled again when that is back", async () => {
    const kind = kindOf(name);
    const { client, listener } = await join(name);
    const reading = readAll(client);
    await listener.close();
    await reading;
    const dialer = kind.dialer(listener.port);
    await expect(dialer.dial(never)).rejects.toMatchObject({ code: "TRANSPORT_FAILED" });
    const { onTransport, next } = acceptor();
    const again = await kind.listen(listener.port, onTransport);
    cleanups.push(() => again.close());
    const second = await dialer.dial(never);
    cleanups.push(() => second.close?.());
    await second.send(Uint8Array.of(5));
    expect(await read(await next())).toEqual([Uint8Array.of(5)]);
  });
});

const slowing = Object.keys(kinds).filter((name) => kindOf(name).slows);

describe.each(slowing)("%s, read slowly", (name) => {
  it.each(["client", "server"] as const)("makes the sender wait: the %s reads", async (reader) => {
    const ends = await join(name);
    const writer = reader === "client" ? ends.server : ends.client;
    const message = new Uint8Array(megabyte).fill(5);
    const count = 60;
    let sent = 0;
    const sending = (async () => {
      for (; sent < count; sent++) await writer.send(message);
    })();
    // Long enough for everything that does not wait to have gone through.
    expect(await whenStill(() => sent)).toBeLessThan(count / 2);
    const received = await read(ends[reader], count);
    await sending;
    expect(received.every(({ byteLength }) => byteLength === megabyte)).toBe(true);
    expect(received).toHaveLength(count);
  });
});
