/** What an exchange over HTTP keeps of what a link says. */
import { describe, expect, it } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { Exchange } from "../../src/http/exchange.ts";
import { encodeMessage, type Message } from "../../src/sync/protocol.ts";

const mebibyte = new Uint8Array(1024 * 1024);
const changes: Message = { kind: "changes", records: mebibyte };

/** Sends as a link does, one after the other; tells how many the exchange has taken. */
function saying(exchange: Exchange, messages: readonly Message[]) {
  const state = { taken: 0, error: undefined as unknown };
  const say = async () => {
    for (const message of messages) {
      await exchange.send(encodeMessage(message));
      state.taken += 1;
    }
  };
  say().catch((error: unknown) => {
    state.error = error;
  });
  return state;
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

describe("an exchange", () => {
  it("takes no more than an answer holds, and the rest later", async () => {
    const exchange = new Exchange("test", systemClock);
    const said = saying(exchange, Array<Message>(40).fill(changes));
    await settled();
    expect(said.taken).toBe(16);
    expect(exchange.take()).toHaveLength(16);
    await settled();
    expect(said.taken).toBe(32);
    exchange.close();
    await settled();
    expect(said.error).toMatchObject({ code: "TRANSPORT_CLOSED" });
  });

  it("takes all parts of a message", async () => {
    const exchange = new Exchange("test", systemClock);
    const parts = Array.from({ length: 30 }, (_, index): Message => {
      return { kind: "fragment", id: 1, index, count: 30, bytes: mebibyte };
    });
    const said = saying(exchange, [...parts, changes]);
    await settled();
    expect(said.taken).toBe(30);
    expect(exchange.take()).toHaveLength(30);
    exchange.close();
  });
});
