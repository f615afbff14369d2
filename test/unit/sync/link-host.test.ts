import { describe, expect, it } from "vitest";
import type { Clock } from "../../../src/clock.ts";
import { fragmentsOf } from "../../../src/sync/fragments.ts";
import { LinkHost, type LinkOwner } from "../../../src/sync/link-host.ts";
import { decodeMessage, encodeMessage, type Message } from "../../../src/sync/protocol.ts";
import { Inbox, inboxLimits } from "../../../src/transport/inbox.ts";
import type { Transport } from "../../../src/transport/transport.ts";
import { VirtualClock } from "../transport/virtual-clock.ts";
import { record } from "./world.ts";

/** Takes `room` messages, then none until `free` is called. */
class StuckTransport implements Transport {
  readonly name = "stuck";
  readonly messages = new Inbox(inboxLimits, () => undefined);
  readonly sent: Message[] = [];
  closed = 0;
  #room: number;
  #wake: (() => void) | undefined;

  constructor(room: number) {
    this.#room = room;
  }

  async send(message: Uint8Array): Promise<void> {
    if (this.#room <= 0) await new Promise<void>((resolve) => (this.#wake = resolve));
    this.#room -= 1;
    this.sent.push(decodeMessage(message));
  }

  free(): void {
    this.#room = 1_000_000;
    this.#wake?.();
  }

  close(): void {
    this.closed += 1;
    this.messages.end();
  }
}

function ownerOn(clock: Clock, records: (first: number) => Uint8Array): LinkOwner {
  return {
    clock,
    readLog: ({ first }) => records(first),
    descriptors: () => [],
    merge: () => undefined,
    learnShapes: () => undefined,
    room: () => Promise.resolve(),
    onLive: () => undefined,
    onRemoteVector: () => undefined,
    onVerify: () => undefined,
    onState: () => undefined,
    onFloor: () => undefined,
    onSkew: () => undefined,
    fingerprints: () => [],
    onFingerprints: () => undefined,
    onError: (error) => {
      throw error;
    },
    onStepped: () => undefined,
  };
}

const settled = () => new Promise((resolve) => setTimeout(resolve, 5));

const hello: Message = {
  kind: "hello",
  minVersion: 1,
  maxVersion: 1,
  cluster: "",
  peerId: 22,
  answer: false,
  vector: new Map(),
  shapes: [],
};

function makeHost(room: number, records: (first: number) => Uint8Array) {
  const clock = new VirtualClock();
  const transport = new StuckTransport(room);
  const config = { peerId: 11, vector: new Map<number, number>(), shapes: [], heartbeatMs: 1_000 };
  const merged: number[] = [];
  const merge = (_: LinkHost, { byteLength }: Uint8Array) => void merged.push(byteLength);
  const host = new LinkHost(transport, config, { ...ownerOn(clock, records), merge });
  const ended = host.run();
  const receive = (message: Message) => transport.messages.push(encodeMessage(message));
  return { clock, transport, host, ended, receive, merged };
}

async function liveHost(room: number, records: (first: number) => Uint8Array) {
  const made = makeHost(room, records);
  made.receive(hello);
  await settled();
  expect(made.host.live).toBe(true);
  return made;
}

it("keeps no fragments of who has not introduced itself", async () => {
  const { transport, host, ended, receive, merged } = makeHost(9, () => new Uint8Array(0));
  const records = record({ origin: 22, sequence: 1 });
  const message = encodeMessage({ kind: "changes", records });
  const partsOf = (id: number) => [...fragmentsOf(message, id, 4)];
  for (const part of partsOf(1).slice(0, -1)) receive(part);
  receive(hello);
  for (const part of partsOf(1).slice(-1)) receive(part);
  await settled();
  expect(host.live).toBe(true);
  expect(merged).toEqual([]);
  for (const part of partsOf(2)) receive(part);
  await settled();
  expect(merged).toEqual([records.byteLength]);
  transport.close();
  await ended;
});

describe("a transport that takes nothing more", () => {
  it("is given no more than a bounded number of messages, whatever there is to say", async () => {
    const { clock, transport, host, ended, receive } = await liveHost(1, () => new Uint8Array(0));
    for (let round = 1; round <= 2_000; round++) {
      receive({ kind: "changes", records: record({ origin: 22, sequence: round }) });
      receive({ kind: "want", ranges: [], shapes: ["000000000000000b"] });
      host.input({ type: "merged", vector: new Map([[22, round]]), nowMs: clock.now() });
      const message = { kind: "ranges", requestId: 1, outcome: "unknown", ranges: [] } as const;
      host.input({ type: "verify", message, nowMs: clock.now() });
      if (round % 100 === 0) await settled();
      await clock.advance(500);
    }
    expect(host.metrics.waitingMessages).toBeLessThanOrEqual(64);
    expect(host.live).toBe(true);
    transport.free();
    await settled();
    await clock.advance(1_000);
    await settled();
    // What could not be said before is said in one HAVE.
    const last = transport.sent.filter(({ kind }) => kind === "have").at(-1);
    expect(last).toMatchObject({ vector: new Map([[22, 2_000]]) });
    transport.close();
    await ended;
  });

  it("does not hold up the end of a link", async () => {
    const { clock, transport, host, ended } = await liveHost(1, () => new Uint8Array(0));
    host.input({ type: "merged", vector: new Map([[22, 1]]), nowMs: clock.now() });
    await clock.advance(100);
    host.close("LINK_CLOSED", "closed");
    await settled();
    expect(transport.closed).toBe(0);
    await clock.advance(1_000);
    expect((await ended).code).toBe("LINK_CLOSED");
    expect(transport.closed).toBeGreaterThan(0);
  });
});
