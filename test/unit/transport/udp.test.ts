/** The two halves of a UDP connection on virtual time, over networks from a seed. */
import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { seededRandom } from "../../../src/cli/demo/random.ts";
import { UdpConnection } from "../../../src/transport/udp-connection.ts";
import {
  type Data,
  type Datagram,
  decodeDatagram,
  encodeDatagram,
  fragmentBytesMax,
} from "../../../src/transport/udp-datagram.ts";
import { UdpReceiver } from "../../../src/transport/udp-receiver.ts";
import { UdpSender } from "../../../src/transport/udp-sender.ts";
import { VirtualClock } from "./virtual-clock.ts";

interface Network {
  loss: number;
  repeat: number;
  lateMs: number;
  /** The least that each takes. @default 1 */
  wayMs?: number;
}

/** Sends all messages over the network; gives what arrived, and what it took. */
function transfer(messages: readonly Uint8Array[], network: Network, seed: number) {
  const random = seededRandom(seed);
  const queue = [...messages];
  const sender = new UdpSender(() => queue.shift());
  const receiver = new UdpReceiver();
  const events: { atMs: number; happen: () => void }[] = [];
  const received: Uint8Array[] = [];
  const { wayMs = 1 } = network;
  let nowMs = 0;
  let packets = 0;
  const carry = (happen: () => void) => {
    if (random() < network.loss) return;
    const times = random() < network.repeat ? 2 : 1;
    for (let i = 0; i < times; i++) {
      events.push({ atMs: nowMs + wayMs + random() * network.lateMs, happen });
    }
  };
  const work = () => {
    for (const data of sender.due(nowMs)) {
      packets += 1;
      carry(() => {
        const message = receiver.take(data);
        if (message === "malformed") throw new Error("a sound packet was refused");
        if (message !== undefined) received.push(message);
        const ack = receiver.ack(false);
        carry(() => {
          sender.onAck(ack, nowMs);
          work();
        });
      });
    }
  };
  work();
  while (!sender.isDone || queue.length > 0) {
    events.sort((left, right) => left.atMs - right.atMs);
    const [event] = events;
    if (event !== undefined && event.atMs <= sender.dueMs) {
      events.shift();
      nowMs = event.atMs;
      event.happen();
    } else {
      nowMs = sender.dueMs;
      work();
    }
    if (nowMs > 600_000) throw new Error(`stuck after ${packets} packets, seed ${seed}`);
  }
  return { received, packets, nowMs };
}

const messagesOf = (seed: number) => {
  const random = seededRandom(seed);
  return Array.from({ length: 30 }, (_, index) =>
    new Uint8Array(Math.floor(random() ** 3 * 60_000)).fill(index),
  );
};
const digest = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const sorted = (messages: readonly Uint8Array[]) => messages.map(digest).sort();

describe("sender and receiver", () => {
  it("carry everything over a sound network without repeating a packet", () => {
    const messages = messagesOf(1);
    const { received, packets } = transfer(messages, { loss: 0, repeat: 0, lateMs: 0 }, 1);
    expect(received.map(digest)).toEqual(messages.map(digest));
    const fragments = messages.map(({ byteLength }) => Math.ceil(byteLength / fragmentBytesMax));
    expect(packets).toBe(fragments.reduce((sum, count) => sum + Math.max(count, 1), 0));
  });

  it.each([30, 150, 400, 900])("learn how long the way is: %i ms and back", (wayMs) => {
    const messages = Array.from({ length: 30 }, () => new Uint8Array(20_000));
    const { packets, nowMs } = transfer(messages, { loss: 0, repeat: 0, lateMs: 0, wayMs }, 1);
    const needed = 30 * Math.ceil(20_000 / fragmentBytesMax);
    // At the most the first flight is repeated.
    expect(packets).toBeLessThanOrEqual(needed + 16);
    expect(nowMs / (2 * wayMs)).toBeLessThan(30);
  });

  it.each(Array.from({ length: 40 }, (_, seed) => seed))(
    "carry everything over a bad one, once: seed %i",
    (seed) => {
      const random = seededRandom(seed);
      const network = { loss: random() * 0.4, repeat: random() * 0.3, lateMs: random() * 100 };
      const messages = messagesOf(seed);
      const { received } = transfer(messages, network, seed);
      expect(sorted(received)).toEqual(sorted(messages));
    },
  );

  it("are not thrown off by acknowledgements of what was never sent", () => {
    const sender = new UdpSender(() => Uint8Array.of(1));
    expect(sender.due(0)).toHaveLength(16);
    const bitmap = new Uint8Array(64).fill(255);
    sender.onAck({ kind: "ack", next: 1_000, window: 512, bitmap }, 1);
    expect(sender.due(1)).toHaveLength(0);
    sender.onAck({ kind: "ack", next: 0, window: 0, bitmap }, 2);
    expect(sender.isBlocked).toBe(true);
    expect(sender.due(3)).toHaveLength(0);
  });

  it("hold no more than a window and one message, whatever comes", () => {
    const receiver = new UdpReceiver();
    const bytes = new Uint8Array(fragmentBytesMax);
    const far: Data = { kind: "data", packet: 512, index: 0, count: 1, bytes };
    expect(receiver.take(far)).toBeUndefined();
    expect(receiver.ack(false).bitmap).toHaveLength(0);
    // Each packet begins a message that never goes on.
    let outcome: Uint8Array | string | undefined;
    let packet = 0;
    for (; outcome === undefined && packet < 10_000; packet++) {
      outcome = receiver.take({ kind: "data", packet, index: 0, count: 2, bytes });
      receiver.ack(false);
    }
    expect([outcome, packet]).toEqual(["malformed", 513]);
  });
});

/** Its wall clock can be set. */
class SetClock extends VirtualClock {
  aheadMs = 0;

  override now(): number {
    return super.now() + this.aheadMs;
  }

  steady(): number {
    return super.now();
  }
}

describe("a connection", () => {
  function connected() {
    const clock = new SetClock();
    const said: Datagram[] = [];
    let isGone = false;
    const connection = new UdpConnection({
      name: "udp",
      clock,
      transmit: (datagram) => said.push(datagram),
      onGone: () => {
        isGone = true;
      },
    });
    return { clock, said, connection, isGone: () => isGone };
  }

  it("fails when nothing is heard for 25 seconds, and asks for nothing until then", async () => {
    const { clock, said, connection, isGone } = connected();
    for (let i = 0; i < 10; i++) {
      await clock.advance(4_000);
      connection.onDatagram({ kind: "ping" });
    }
    await clock.advance(20_000);
    expect(isGone()).toBe(false);
    await clock.advance(6_000);
    expect(isGone()).toBe(true);
    expect(new Set(said.map(({ kind }) => kind))).toEqual(new Set(["ack"]));
    const reading = connection.messages[Symbol.asyncIterator]().next();
    await expect(reading).rejects.toMatchObject({ code: "TRANSPORT_FAILED" });
    expect(clock.timers).toBe(0);
  });

  it("says goodbye a few times to one that does not answer", async () => {
    const { clock, said, connection, isGone } = connected();
    void connection.close();
    await clock.advance(5_000);
    expect(said.map(({ kind }) => kind)).toEqual(Array(5).fill("close"));
    expect([isGone(), clock.timers]).toEqual([true, 0]);
  });

  it("asks again a side that wants nothing for now", async () => {
    const { clock, said, connection } = connected();
    const bitmap = new Uint8Array(0);
    connection.onDatagram({ kind: "ack", next: 0, window: 0, bitmap });
    void connection.send(Uint8Array.of(1)).catch(() => undefined);
    await clock.advance(700);
    expect(said.map(({ kind }) => kind)).toEqual(["ping", "ping", "ping"]);
    connection.onDatagram({ kind: "ack", next: 0, window: 1, bitmap });
    await clock.advance(0);
    expect(said.at(-1)?.kind).toBe("data");
    connection.fail(undefined);
  });

  it("asks again in the middle of a message, too", async () => {
    const { clock, said, connection } = connected();
    void connection.send(new Uint8Array(50 * fragmentBytesMax));
    await clock.advance(0);
    const next = said.length;
    connection.onDatagram({ kind: "ack", next, window: 0, bitmap: new Uint8Array(0) });
    await clock.advance(700);
    expect(said.slice(next).map(({ kind }) => kind)).toEqual(["ping", "ping", "ping"]);
    connection.fail(undefined);
  });

  it("repeats what is lost, though the wall clock was set back", async () => {
    const { clock, said, connection } = connected();
    void connection.send(Uint8Array.of(1));
    await clock.advance(0);
    clock.aheadMs = -3_600_000;
    await clock.advance(3_000);
    expect(said.map(({ kind }) => kind)).toEqual(["data", "data", "data"]);
    connection.fail(undefined);
  });

  it("takes no more than it wants, whatever is sent", async () => {
    const { clock, connection } = connected();
    const bytes = new Uint8Array(fragmentBytesMax);
    for (let packet = 0; packet < 10_000; packet++) {
      connection.onDatagram({ kind: "data", packet, index: 0, count: 1, bytes });
      if (packet % 100 === 0) await clock.advance(5);
    }
    connection.fail(undefined);
    let count = 0;
    for await (const _ of connection.messages) count += 1;
    expect(count).toBeGreaterThan(3_500);
    expect(count).toBeLessThan(4_200);
  });
});

describe("datagrams", () => {
  const id = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);

  it.each<Datagram>([
    { kind: "hello", cookie: new Uint8Array(16).fill(3) },
    { kind: "challenge", cookie: new Uint8Array(16) },
    { kind: "welcome" },
    { kind: "data", packet: 2 ** 47, index: 1, count: 2, bytes: Uint8Array.of(9) },
    { kind: "data", packet: 0, index: 0, count: 1, bytes: new Uint8Array(0) },
    { kind: "ack", next: 5, window: 512, bitmap: Uint8Array.of(2) },
    { kind: "ping" },
    { kind: "close" },
    { kind: "reset" },
  ])("come out as they went in: $kind", (datagram) => {
    const bytes = encodeDatagram(id, datagram);
    expect(bytes.byteLength).toBeLessThanOrEqual(1200);
    const decoded = decodeDatagram(bytes);
    expect(decoded?.id).toEqual(id);
    expect(JSON.stringify(decoded?.datagram)).toBe(JSON.stringify(plain(datagram)));
    for (let at = 0; at < bytes.byteLength; at++) {
      expect(decodeDatagram(bytes.with(at, (bytes[at] ?? 0) ^ 0x10))).toBeUndefined();
      expect(decodeDatagram(bytes.subarray(0, at))).toBeUndefined();
    }
  });

  it("have the bytes the specification says", () => {
    const ping = encodeDatagram(id, { kind: "ping" });
    expect(Buffer.from(ping).toString("hex")).toBe("4d0676f6050102030405060708");
    const bytes = Uint8Array.of(0xaa, 0xbb);
    const data = encodeDatagram(id, { kind: "data", packet: 258, index: 2, count: 3, bytes });
    expect(Buffer.from(data).toString("hex").slice(8)).toBe(
      "03010203040506070802010000000002000300aabb",
    );
  });

  it.each<[string, Datagram]>([
    ["an index beyond the count", data({ index: 2, count: 2 })],
    ["no fragments", data({ index: 0, count: 0 })],
    ["more fragments than a message has", data({ index: 0, count: 60_000, size: 1177 })],
    ["a short fragment before the last", data({ index: 0, count: 2, size: 5 })],
    ["an empty fragment of several", data({ index: 1, count: 2, size: 0 })],
    ["a fragment before the first packet", data({ packet: 0, index: 1, count: 2 })],
    ["too wide a window", { kind: "ack", next: 0, window: 513, bitmap: new Uint8Array(0) }],
    ["too long a bitmap", { kind: "ack", next: 0, window: 1, bitmap: new Uint8Array(65) }],
    ["a short cookie", { kind: "hello", cookie: new Uint8Array(16) }],
  ])("are not read: %s", (text, datagram) => {
    const bytes = encodeDatagram(id, datagram);
    expect(
      decodeDatagram(text === "a short cookie" ? bytes.subarray(0, 28) : bytes),
    ).toBeUndefined();
  });
});

function data({ packet = 9, index = 0, count = 1, size = 1 }): Data {
  return { kind: "data", packet, index, count, bytes: new Uint8Array(size) };
}

/** Without the Buffer that decoding leaves the fragment in. */
function plain(datagram: Datagram): unknown {
  return datagram.kind === "data" ? { ...datagram, bytes: Buffer.from(datagram.bytes) } : datagram;
}
