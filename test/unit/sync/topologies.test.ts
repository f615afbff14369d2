import { describe, expect, it } from "vitest";
import { makeWorld, measure, type Topology, topologies } from "./topologies.ts";

const names = Object.keys(topologies) as Topology[];
const writers = 4;

describe("each changeset is received about once", () => {
  it.each(names)("%s", (name) => {
    const world = makeWorld(name);
    measure(world, { rounds: 3, writers });
    expect(measure(world, { writers }).copies).toBeLessThan(1.05);
    expect(world.isConverged()).toBe(true);
  });
});

describe("a full mesh of 20", () => {
  it("keeps what it costs to learn below one window a link", () => {
    const world = makeWorld("full mesh of 20");
    const [writer] = world.replicas;
    for (let second = 0; second < 5; second++) {
      writer?.commit(20);
      world.run(1_000);
    }
    const received = world.links.reduce(
      (sum, { state }) => sum + state.metrics.receivedChangesets,
      0,
    );
    expect(received / (100 * 19)).toBeLessThan(6);
    expect(received / (100 * 19)).toBeGreaterThan(1);
  });

  it("finds another way when all but one of a writer's links break", () => {
    const world = makeWorld("full mesh of 20");
    const [writer] = world.replicas;
    if (writer === undefined) throw new TypeError("no replicas");
    measure(world, { rounds: 3, writers });
    for (const link of writer.links.slice(1)) {
      link.other?.end();
      link.end();
    }
    const repair = measure(world, { rounds: 1, writers: 1 });
    expect(world.isConverged()).toBe(true);
    expect(repair.maxMs).toBeLessThan(3_000);
    measure(world, { rounds: 3, writers });
    const repaired = measure(world, { writers });
    expect(repaired.copies).toBeLessThan(1.05);
    expect(repaired.maxMs).toBeLessThan(500);
  });

  it("finds another way when a link stops carrying without a word", () => {
    const world = makeWorld("full mesh of 20");
    measure(world, { rounds: 3, writers });
    const [writer, reader] = world.replicas;
    const silent = world.links.find((link) => {
      return link.replica === writer && link.state.remotePeerId === reader?.peerId;
    });
    if (silent === undefined) throw new TypeError("no such link");
    silent.isSilent = true;
    expect(measure(world, { rounds: 1, writers: 1 }).maxMs).toBeLessThan(3_000);
    expect(world.isConverged()).toBe(true);
  });
});
