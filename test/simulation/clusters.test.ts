/** A mesh of real replicas, in which every changeset could come over nineteen links. */
import { expect, it } from "vitest";
import { measureCluster } from "./clusters.ts";

it("a full mesh of 20 receives each changeset about once", { timeout: 120_000 }, async () => {
  const { copies, copiesAtFirst } = await measureCluster("full mesh of 20");
  expect(copies).toBeLessThan(1.3);
  // Three changesets of each origin are enough to learn the ways.
  expect(copiesAtFirst).toBeLessThan(10);
});
