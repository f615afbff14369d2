import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { plan } from "../../../src/sync/intake.ts";
import { createLink, isLive, type LinkAction, nextTickMs, step } from "../../../src/sync/link.ts";
import type { Message } from "../../../src/sync/protocol.ts";
import { record, World, type WorldLink } from "./world.ts";

const calm = { loss: 0, repetition: 0, delayMsMax: 0, seed: 1 };
/** Small, so that a few hundred changesets fill it. */
const smallWindow = { windowBytes: 8192, readBytes: 1024 };

function pair(world: World) {
  const [left, right] = [world.replica(11), world.replica(22)];
  const [there, back] = world.join(left, right) as [WorldLink, WorldLink];
  return { left, right, there, back };
}

function kindsSent(link: WorldLink): Message["kind"][] {
  return link.sent.map(({ kind }) => kind);
}

function hello(peerId: number, change: Partial<Message & { kind: "hello" }> = {}): Message {
  const vector = new Map<number, number>();
  return {
    kind: "hello",
    minVersion: 1,
    maxVersion: 1,
    cluster: "",
    peerId,
    answer: false,
    vector,
    shapes: [],
    ...change,
  };
}

function openLink(change: Partial<Parameters<typeof createLink>[0]> = {}) {
  const state = createLink({ peerId: 11, vector: new Map([[11, 5]]), shapes: [], ...change });
  step(state, { type: "open", nowMs: 0 });
  const receive = (message: Message, nowMs = 0): LinkAction[] =>
    step(state, { type: "message", message, bytes: 10, nowMs }).actions;
  /** Asks for what is missing if it is time, as the hub does. */
  const ask = (nowMs: number): LinkAction[] =>
    plan(state.intake, nowMs).flatMap(({ ranges }) => {
      return step(state, { type: "want", ranges, nowMs }).actions;
    });
  const tick = (nowMs: number): LinkAction[] => step(state, { type: "tick", nowMs }).actions;
  return { state, receive, ask, tick };
}

function closing(actions: LinkAction[]): unknown[] {
  return actions.flatMap((action) => {
    if (action.type === "close") return [action.code];
    return action.type === "send" && action.message.kind === "bye" ? ["BYE"] : [];
  });
}

describe("on a perfect network", () => {
  it("both sides end with everything, each changeset sent once, nothing sent back", () => {
    const world = new World(calm);
    const { left, right, there, back } = pair(world);
    left.commit(300);
    right.commit(200);
    world.run(1_000);
    expect(world.isConverged()).toBe(true);
    expect([left.held.get(11), left.held.get(22)]).toEqual([300, 200]);
    for (const link of [there, back]) {
      expect(link.state.metrics).toMatchObject({
        retransmissions: 0,
        duplicateChangesets: 0,
        wants: 0,
      });
      expect(link.state.push.bytesInFlight).toBe(0);
    }
    const originsRead = (link: WorldLink) =>
      new Set(link.actions.flatMap((action) => (action.type === "read" ? [action.origin] : [])));
    expect([originsRead(there), originsRead(back)]).toEqual([new Set([11]), new Set([22])]);
  });

  it("sends the shapes ahead of the first changeset", () => {
    const world = new World(calm);
    const { left, there } = pair(world);
    world.run(100);
    left.commit(1);
    world.run(100);
    const kinds = kindsSent(there);
    expect(kinds).toContain("changes");
    expect(kinds.indexOf("shapes")).toBeGreaterThanOrEqual(0);
    expect(kinds.indexOf("shapes")).toBeLessThan(kinds.indexOf("changes"));
  });

  it("does not send shapes the remote named in its HELLO or sent itself", () => {
    const { state, receive } = openLink({ shapes: ["aa".repeat(8), "bb".repeat(8)] });
    const actions = receive(hello(22, { shapes: ["aa".repeat(8)] }));
    expect(actions.filter(({ type }) => type === "sendShapes")).toEqual([
      { type: "sendShapes", hashes: ["bb".repeat(8)] },
    ]);
    const grew = { type: "shapesGrew", hashes: ["cc".repeat(8)], nowMs: 0 } as const;
    expect(step(state, { ...grew, fromRemote: true }).actions).toEqual([]);
    expect(step(state, grew).actions).toEqual([]);
  });

  it("says hello once each and then keeps quiet, but for heartbeats", () => {
    const world = new World(calm);
    const { there } = pair(world);
    world.run(60_000);
    expect(kindsSent(there).filter((kind) => kind === "hello")).toHaveLength(1);
    const haves = kindsSent(there).filter((kind) => kind === "have");
    expect(haves.length).toBeGreaterThan(5);
    expect(haves.length).toBeLessThan(15);
    expect(isLive(there.state)).toBe(true);
  });

  it("asks in vain without falling silent about what it holds", () => {
    const { state, receive } = openLink();
    receive(hello(22));
    const ranges = [{ origin: 7, first: 6, last: 9 }];
    const kinds: string[] = [];
    for (let nowMs = 1_000; nowMs <= 14_000; nowMs += 1_000) {
      for (const action of step(state, { type: "want", ranges, nowMs }).actions) {
        if (action.type === "send") kinds.push(action.message.kind);
      }
    }
    expect(kinds.filter((kind) => kind === "have").length).toBeGreaterThan(1);
  });

  it("offers state in vain without falling silent about what it holds", () => {
    const { state, receive } = openLink();
    receive(hello(22));
    const none = new Map<number, number>();
    const message = { kind: "stateOffer", vector: none, horizon: none, bytes: 0 } as const;
    const kinds: string[] = [];
    for (let nowMs = 1_000; nowMs <= 14_000; nowMs += 1_000) {
      for (const action of step(state, { type: "state", message, nowMs }).actions) {
        if (action.type === "send") kinds.push(action.message.kind);
      }
    }
    expect(kinds.filter((kind) => kind === "have").length).toBeGreaterThan(1);
  });

  it("relays through a hub", () => {
    const world = new World(calm);
    const [a, hub, b] = [world.replica(1), world.replica(2), world.replica(3)];
    world.join(a, hub);
    world.join(hub, b);
    a.commit(100);
    b.commit(50);
    world.run(5_000);
    expect(world.isConverged()).toBe(true);
    expect(b.held.get(1)).toBe(100);
  });
});

describe("flow control", () => {
  it("never has more than a window and one read in flight", () => {
    const world = new World({ ...calm, delayMsMax: 50, link: smallWindow });
    const { left, there } = pair(world);
    left.commit(2_000);
    expect(world.run(600_000, () => world.isConverged())).toBe(true);
    expect(there.inFlightMax).toBeGreaterThan(smallWindow.windowBytes / 2);
    expect(there.inFlightMax).toBeLessThanOrEqual(smallWindow.windowBytes + smallWindow.readBytes);
  });

  it("sends nothing beyond the window to a peer that does not acknowledge", () => {
    const world = new World({ ...calm, link: smallWindow, mergeMs: 1_000_000 });
    const { left, there } = pair(world);
    left.commit(2_000);
    world.run(1_500);
    const sentBytes = there.state.metrics.sentChangesBytes;
    expect(sentBytes).toBeGreaterThan(0);
    expect(sentBytes).toBeLessThanOrEqual(smallWindow.windowBytes + smallWindow.readBytes);
  });

  it("does not queue retransmissions for a merge that is slow", () => {
    const world = new World({ ...calm, link: smallWindow, mergeMs: 250_000 });
    const { left, there, back } = pair(world);
    left.commit(2_000);
    world.run(240_000);
    expect(there.state.metrics.retransmissions).toBeGreaterThan(3);
    const merges = back.actions.flatMap((action) => (action.type === "merge" ? [action] : []));
    const queuedBytes = merges.reduce((sum, { bytes }) => sum + bytes, 0);
    expect(queuedBytes).toBeLessThanOrEqual(smallWindow.windowBytes + smallWindow.readBytes);
    world.options.mergeMs = 1;
    expect(world.run(600_000, () => world.isConverged())).toBe(true);
  });

  it("asks again for what the host lost without a word", () => {
    const { state, receive, ask } = openLink({ vector: new Map() });
    receive(hello(22, { vector: new Map([[22, 1]]) }));
    receive({ kind: "changes", records: record({ origin: 22, sequence: 1 }) });
    for (let nowMs = 0; nowMs < 400_000; nowMs += 1_000) {
      receive({ kind: "have", full: false, vector: new Map() }, nowMs);
      ask(nowMs);
    }
    expect(state.metrics.wants).toBeGreaterThan(0);
  });

  it("takes turns between origins", () => {
    const vector = new Map([
      [1, 1_000],
      [2, 1_000],
      [3, 1_000],
    ]);
    const { state, receive } = openLink({ vector, ...smallWindow });
    const turns: number[] = [];
    let actions = receive(hello(22));
    for (let turn = 0; turn < 6; turn++) {
      const read = actions.find((action) => action.type === "read");
      if (read === undefined) throw new Error("nothing was read");
      turns.push(read.origin);
      const { origin, first: last } = read;
      actions = step(state, { type: "read", origin, last, bytes: 100, nowMs: 1 }).actions;
    }
    expect(turns).toEqual([1, 2, 3, 1, 2, 3]);
  });

  it("does not read again at once what was not there", () => {
    const { state, receive } = openLink();
    receive(hello(22));
    const none = { type: "read", origin: 11, last: 0, bytes: 0, nowMs: 1 } as const;
    expect(step(state, none).actions).toEqual([]);
    const want: Message = { kind: "want", ranges: [{ origin: 11, first: 1, last: 5 }], shapes: [] };
    expect(receive(want, 2)).toMatchObject([{ type: "read", origin: 11, first: 1, last: 5 }]);
  });

  it("does not send what the remote sent itself", () => {
    const { state, receive } = openLink();
    receive(hello(22, { vector: new Map([[11, 5]]) }));
    const records = record({ origin: 33, sequence: 1 });
    expect(receive({ kind: "changes", records })).toMatchObject([{ type: "merge" }]);
    const vector = new Map([[33, 1]]);
    expect(step(state, { type: "merged", vector, nowMs: 1 }).actions).toEqual([]);
  });
});

describe("acknowledging", () => {
  const changes: Message = { kind: "changes", records: record({ origin: 22, sequence: 1 }) };
  const merged = { type: "merged", vector: new Map([[22, 1]]) } as const;
  const have = (atMs: number): LinkAction => ({
    type: "send",
    // The first one tells the time.
    message: { kind: "have", full: false, vector: new Map([[22, 1]]), clock: { wallMs: atMs } },
  });

  it("waits a little for more", () => {
    const { state, receive } = openLink({ vector: new Map() });
    receive(hello(22));
    receive(changes, 10);
    expect(step(state, { ...merged, nowMs: 10 }).actions).toEqual([]);
    expect(step(state, { type: "tick", nowMs: 29 }).actions).toEqual([]);
    expect(step(state, { type: "tick", nowMs: 30 }).actions).toEqual([have(30)]);
  });

  it("does not wait when half the window is used up", () => {
    const { state, receive } = openLink({ vector: new Map(), windowBytes: 20 });
    receive(hello(22));
    receive(changes, 10);
    expect(step(state, { ...merged, nowMs: 10 }).actions).toEqual([have(10)]);
  });

  it("repeats itself when the remote does, without merging again", () => {
    const { state, receive } = openLink({ vector: new Map([[22, 1]]) });
    receive(hello(22));
    expect(receive(changes, 10)).toEqual([]);
    expect(state.metrics.duplicateChangesets).toBe(1);
    expect(step(state, { type: "tick", nowMs: 30 }).actions).toEqual([have(30)]);
  });
});

describe("the handshake refuses", () => {
  it.each([
    ["VERSION_MISMATCH", hello(22, { minVersion: 2, maxVersion: 3 })],
    ["CLUSTER_MISMATCH", hello(22, { cluster: "other" })],
    ["PEER_ID_IN_USE", hello(11)],
    ["IDENTITY_LOST", hello(22, { vector: new Map([[11, 6]]) })],
  ])("%s", (code, message) => {
    const { state, receive, tick } = openLink();
    // Two of these first hear what the remote knows of this side, for two seconds.
    const actions = [...receive(message), ...tick(2_000)];
    expect(closing(actions)).toEqual(["BYE", code]);
    expect(actions.some(({ type }) => type === "live")).toBe(false);
    expect(receive(hello(22))).toEqual([]);
    expect(state.phase).toBe("closed");
  });

  it("nobody who holds our own, but is sure of it when no fingerprints come", () => {
    const { state, receive, tick } = openLink();
    receive(hello(22, { vector: new Map([[11, 5]]) }));
    expect(state.unsureUntilMs).toBeGreaterThan(0);
    expect(nextTickMs(state)).toBeLessThanOrEqual(2_000);
    tick(1_000);
    expect(state.unsureUntilMs).toBeGreaterThan(0);
    expect(tick(2_000)).toContainEqual({ type: "remoteVector", vector: new Map() });
    expect(state.unsureUntilMs).toBe(0);
  });

  it("takes the highest common version", () => {
    const { receive } = openLink({ minVersion: 1, maxVersion: 5 });
    const actions = receive(hello(22, { minVersion: 2, maxVersion: 3 }));
    expect(actions).toContainEqual({ type: "live", peerId: 22, version: 3 });
  });

  it("and both sides learn why", () => {
    const world = new World(calm);
    const [one, other] = world.join(world.replica(7), world.replica(7));
    world.run(100);
    expect([one?.closed?.code, other?.closed?.code]).toEqual(["PEER_ID_IN_USE", "PEER_ID_IN_USE"]);
  });

  it("a remote that becomes another peer", () => {
    const { receive } = openLink();
    receive(hello(22));
    expect(closing(receive(hello(33)))).toEqual(["BYE", "LINK_CLOSED"]);
  });
});

describe("a live link closes", () => {
  it("when the remote holds more of our own origin than we do", () => {
    const { receive, tick } = openLink();
    receive(hello(22));
    const have: Message = { kind: "have", full: false, vector: new Map([[11, 6]]) };
    expect(receive(have)).toEqual([
      { type: "send", message: { kind: "fingerprints", origin: 11, fingerprints: [] } },
    ]);
    // Nothing is merged meanwhile.
    expect(receive({ kind: "changes", records: record({ origin: 22, sequence: 1 }) })).toEqual([]);
    expect(closing(tick(2_000))).toEqual(["BYE", "IDENTITY_LOST"]);
  });

  it("when the remote sends changesets of our own that we do not hold", () => {
    const { receive, tick } = openLink();
    receive(hello(22));
    const records = record({ origin: 11, sequence: 6 });
    expect(closing(receive({ kind: "changes", records }))).toEqual([]);
    expect(closing(tick(2_000))).toEqual(["BYE", "IDENTITY_LOST"]);
  });

  it("on records that are cut short", () => {
    const { receive } = openLink();
    receive(hello(22));
    const records = record({ origin: 22, sequence: 1 }).subarray(0, 9);
    expect(closing(receive({ kind: "changes", records }))).toEqual(["BYE", "PROTOCOL_MALFORMED"]);
  });

  it("on BYE, without answering, and keeps its own identity", () => {
    const close = (code: string) => {
      const { receive } = openLink();
      receive(hello(22));
      return closing(receive({ kind: "bye", code, text: "" }));
    };
    expect(close("LINK_TIMEOUT")).toEqual(["LINK_TIMEOUT"]);
    expect(close("IDENTITY_LOST")).toEqual(["LINK_CLOSED"]);
    expect(close("A_CODE_OF_TOMORROW")).toEqual(["LINK_CLOSED"]);
  });

  it("when the host says so", () => {
    const { state } = openLink();
    const { actions } = step(state, { type: "close", code: "PROTOCOL_MALFORMED", text: "bad" });
    expect(closing(actions)).toEqual(["BYE", "PROTOCOL_MALFORMED"]);
  });
});

describe("timeouts", () => {
  it("end a link whose remote fell silent", () => {
    const world = new World(calm);
    const { there, back } = pair(world);
    world.run(1_000);
    back.isSilent = true;
    world.run(60_000);
    expect(there.closed).toMatchObject({ code: "LINK_TIMEOUT", byRemote: false });
  });

  it("end a link that never got an answer, after several HELLOs", () => {
    const world = new World({ ...calm, loss: 1 });
    const { there } = pair(world);
    world.run(60_000);
    expect(there.closed?.code).toBe("LINK_TIMEOUT");
    const hellos = kindsSent(there).filter((kind) => kind === "hello");
    expect(hellos.length).toBeGreaterThan(2);
  });

  it("are not reached by a clock that jumps", () => {
    const { state, receive } = openLink();
    receive(hello(22));
    step(state, { type: "tick", nowMs: 10_000_000 });
    step(state, { type: "tick", nowMs: 5 });
    expect(isLive(state)).toBe(true);
  });
});

describe("loss", () => {
  it("of a HELLO is repaired by another one", () => {
    const world = new World(calm);
    const [left, right] = [world.replica(11), world.replica(22)];
    world.options.loss = 1;
    const [there, back] = world.join(left, right) as [WorldLink, WorldLink];
    world.options.loss = 0;
    expect(world.run(2_000, () => isLive(there.state) && isLive(back.state))).toBe(true);
  });

  it("of the last message is repaired", () => {
    const world = new World(calm);
    const { left, there } = pair(world);
    left.commit(1);
    world.run(1_000);
    there.isSilent = true;
    left.commit(1);
    there.isSilent = false;
    expect(world.isConverged()).toBe(false);
    expect(world.run(20_000, () => world.isConverged())).toBe(true);
    expect(there.state.metrics.retransmissions).toBe(1);
  });

  it("of the shapes is repaired", () => {
    const world = new World(calm);
    const { left, right, there } = pair(world);
    world.run(1_000);
    there.isSilent = true;
    left.learn(["000000000000000b"]);
    there.isSilent = false;
    expect(right.shapes.size).toBe(0);
    left.commit(3);
    expect(world.run(20_000, () => world.isConverged())).toBe(true);
  });

  it("of an acknowledgement frees the window in the end", () => {
    const world = new World(calm);
    const { left, there, back } = pair(world);
    world.run(1_000);
    left.commit(1);
    world.run(5);
    back.isSilent = true;
    world.run(100);
    back.isSilent = false;
    world.run(30_000);
    expect(there.state.push.bytesInFlight).toBe(0);
    expect(there.state.metrics.retransmissions).toBeLessThanOrEqual(1);
  });

  it("a gap is asked for once, though many messages show it", () => {
    const { state, receive, ask } = openLink({ vector: new Map() });
    receive(hello(22, { vector: new Map([[22, 9]]) }));
    const gap = { type: "gap", origin: 22, first: 1 } as const;
    step(state, { ...gap, nowMs: 1 });
    expect(ask(1)).toEqual([
      {
        type: "send",
        message: { kind: "want", ranges: [{ origin: 22, first: 1, last: 9 }], shapes: [] },
      },
    ]);
    step(state, { ...gap, nowMs: 2 });
    expect(ask(2)).toEqual([]);
    step(state, { ...gap, nowMs: 600 });
    expect(ask(600)).toMatchObject([{ type: "send" }]);
  });

  it("what is missing is asked for at growing intervals", () => {
    const { state, receive, ask } = openLink({ vector: new Map() });
    receive(hello(22, { vector: new Map([[22, 9]]) }));
    const wantedAt: number[] = [];
    for (let nowMs = 0; nowMs <= 8_000; nowMs += 100) {
      const before = state.metrics.wants;
      receive({ kind: "have", full: false, vector: new Map() }, nowMs);
      ask(nowMs);
      if (state.metrics.wants > before) wantedAt.push(nowMs);
    }
    const waits = wantedAt.map((atMs, index) => atMs - (wantedAt[index - 1] ?? 0));
    expect(wantedAt.length).toBeGreaterThan(2);
    expect(waits).toEqual([...waits].sort((a, b) => a - b));
  });
});

describe("on a network that loses, repeats and reorders", () => {
  const networks = fc.record({
    seed: fc.integer(),
    loss: fc.double({ min: 0, max: 0.3, noNaN: true }),
    repetition: fc.double({ min: 0, max: 0.2, noNaN: true }),
    delayMsMax: fc.integer({ min: 0, max: 200 }),
  });
  const shapesOfWorlds = fc.constantFrom("pair", "chain", "triangle");

  it("all replicas end with the same vector", () => {
    fc.assert(
      fc.property(networks, shapesOfWorlds, (network, form) => {
        // The longest timeouts would let a link end by chance; three lost heartbeats are no bug.
        const world = new World({ ...network, link: { ...smallWindow, heartbeatMs: 2_000 } });
        const replicas = [1, 2, 3].slice(0, form === "pair" ? 2 : 3).map((id) => world.replica(id));
        const [a, b, c] = replicas;
        const reconnect = (left = a, right = b) => {
          if (left === undefined || right === undefined) return;
          const links = world.join(left, right);
          const check = () => {
            const isOver = links.some(({ state }) => state.phase === "closed");
            if (!isOver) return world.after(1_000, check);
            for (const { replica } of links) {
              const kept = replica.links.filter((link) => !links.includes(link));
              replica.links.splice(0, replica.links.length, ...kept);
            }
            reconnect(left, right);
          };
          world.after(1_000, check);
        };
        reconnect(a, b);
        if (form !== "pair") reconnect(b, c);
        if (form === "triangle") reconnect(c, a);
        for (let round = 0; round < 10; round++) {
          world.after(world.random() * 3_000, () => {
            replicas[Math.floor(world.random() * replicas.length)]?.commit(1 + (round % 3) * 40);
          });
        }
        world.run(3_000);
        expect(world.run(600_000, () => world.isConverged())).toBe(true);
      }),
      { numRuns: 60, seed: 7, endOnFailure: true },
    );
  });

  it("the same seed gives the same run", () => {
    const run = () => {
      const world = new World({ seed: 5, loss: 0.2, repetition: 0.1, delayMsMax: 80 });
      const { left, there, back } = pair(world);
      left.commit(300);
      world.run(20_000);
      return [there.sent, back.sent, there.state.metrics];
    };
    expect(run()).toEqual(run());
  });
});
