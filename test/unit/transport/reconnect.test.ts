import { describe, expect, it } from "vitest";
import { memoryPair } from "../../../src/transport/memory.ts";
import { type DialEvent, keepDialing } from "../../../src/transport/reconnect.ts";
import type { Dialer, Transport } from "../../../src/transport/transport.ts";
import { settle, VirtualClock } from "./virtual-clock.ts";

function setUp(dial: () => Promise<Transport>, random = () => 1) {
  const clock = new VirtualClock();
  const controller = new AbortController();
  const events: DialEvent[] = [];
  const dialer: Dialer = { name: "test", dial };
  const start = (onTransport: (transport: Transport) => Promise<void>) =>
    keepDialing(dialer, onTransport, {
      clock,
      random,
      signal: controller.signal,
      onEvent: (event) => events.push(event),
    });
  const waits = () => events.flatMap((event) => (event.type === "waiting" ? [event.delayMs] : []));
  return { clock, controller, events, start, waits };
}

const never = () => new Promise<void>(() => undefined);

describe("keepDialing", () => {
  it("waits ever longer, up to the ceiling", async () => {
    const failure = new Error("refused");
    const { clock, controller, events, start, waits } = setUp(() => Promise.reject(failure));
    const done = start(never);
    await clock.advance(200_000);
    controller.abort();
    await done;
    expect(waits().slice(0, 10)).toEqual([
      100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000,
    ]);
    expect(events).toContainEqual({ type: "ended", attempt: 1, error: failure });
    expect(clock.timers).toBe(0);
  });

  it("spreads the waits over the whole interval", async () => {
    const draws = [0, 0.5, 0.25];
    const { clock, controller, start, waits } = setUp(
      () => Promise.reject(new Error("refused")),
      () => draws.shift() ?? 1,
    );
    const done = start(never);
    await clock.advance(5_000);
    controller.abort();
    await done;
    expect(waits().slice(0, 3)).toEqual([0, 100, 100]);
  });

  it("starts anew after a connection that lived, not after one that was refused at once", async () => {
    const lives = [0, 0, 60_000, 0];
    const transports: Transport[] = [];
    const { clock, controller, start, waits } = setUp(async () => {
      const [transport, other] = memoryPair();
      transports.push(other);
      return transport;
    });
    const done = start(async () => {
      const lifeMs = lives.shift();
      if (lifeMs === undefined) await never();
      else await clock.sleep(lifeMs);
    });
    await clock.advance(100_000);
    expect(waits()).toEqual([100, 200, 100, 100]);
    // The transports that ended were closed.
    for (const transport of transports.slice(0, 4)) {
      await expect(transport.send(new Uint8Array(1))).rejects.toThrow("closed");
    }
    controller.abort();
    expect(done).toBeInstanceOf(Promise);
  });

  it("closes the transport and stops at the abort", async () => {
    const [transport, other] = memoryPair();
    let dials = 0;
    const { controller, start } = setUp(async () => {
      dials += 1;
      return transport;
    });
    const read: Uint8Array[] = [];
    const done = start(async ({ messages }) => {
      for await (const message of messages) read.push(message);
    });
    await other.send(Uint8Array.of(1));
    await settle();
    controller.abort();
    await done;
    expect([read.length, dials]).toEqual([1, 1]);
    await expect(other.send(Uint8Array.of(2))).rejects.toMatchObject({ code: "TRANSPORT_CLOSED" });
  });
});
