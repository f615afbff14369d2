import { describe, expect, it } from "vitest";
import { ReplicaError } from "../../../src/errors.ts";
import { Inbox } from "../../../src/transport/inbox.ts";
import { memoryPair } from "../../../src/transport/memory.ts";
import { settle } from "./virtual-clock.ts";

describe("memoryPair", () => {
  it("carries copies, in order, both ways, and ends on both sides", async () => {
    const [left, right] = memoryPair();
    const message = Uint8Array.of(1);
    await left.send(message);
    message[0] = 9;
    await left.send(Uint8Array.of(2));
    await right.send(Uint8Array.of(3));
    await left.close?.();
    const read = async (messages: AsyncIterable<Uint8Array>) => {
      const all: number[] = [];
      for await (const bytes of messages) all.push(...bytes);
      return all;
    };
    expect(await read(right.messages)).toEqual([1, 2]);
    expect(await read(left.messages)).toEqual([3]);
    await expect(right.send(message)).rejects.toMatchObject({ code: "TRANSPORT_CLOSED" });
  });

  it("makes senders wait while the queue is full, in order", async () => {
    const [left, right] = memoryPair({ messagesMax: 2 });
    const sent: number[] = [];
    const sends = [0, 1, 2, 3, 4].map(async (index) => {
      await left.send(Uint8Array.of(index));
      sent.push(index);
    });
    await settle();
    expect(sent).toEqual([0, 1]);
    const read: number[] = [];
    for await (const message of right.messages) {
      read.push(...message);
      if (read.length === 5) break;
    }
    await Promise.all(sends);
    expect([read, sent]).toEqual([
      [0, 1, 2, 3, 4],
      [0, 1, 2, 3, 4],
    ]);
  });

  it("wakes a waiting sender when the other side closes", async () => {
    const [left, right] = memoryPair({ messagesMax: 1 });
    await left.send(Uint8Array.of(1));
    const waiting = left.send(Uint8Array.of(2));
    await settle();
    await right.close?.();
    await expect(waiting).rejects.toMatchObject({ code: "TRANSPORT_CLOSED" });
  });
});

describe("Inbox", () => {
  it("gives what is queued before it fails", async () => {
    const inbox = new Inbox({ bytesMax: 10, messagesMax: 10 }, () => undefined);
    inbox.push(Uint8Array.of(1));
    inbox.end(new ReplicaError("TRANSPORT_FAILED", "broke"));
    inbox.push(Uint8Array.of(2));
    const read: number[] = [];
    const reading = async () => {
      for await (const message of inbox) read.push(...message);
    };
    await expect(reading()).rejects.toMatchObject({ code: "TRANSPORT_FAILED" });
    expect(read).toEqual([1]);
  });

  it("tells once when there is room again", async () => {
    let rooms = 0;
    const inbox = new Inbox({ bytesMax: 3, messagesMax: 100 }, () => {
      rooms += 1;
    });
    for (let index = 0; index < 5; index++) inbox.push(Uint8Array.of(index));
    expect(inbox.isFull).toBe(true);
    const messages = inbox[Symbol.asyncIterator]();
    await messages.next();
    await messages.next();
    expect(rooms).toBe(0);
    await messages.next();
    await messages.next();
    expect(rooms).toBe(1);
  });
});
