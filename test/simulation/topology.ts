/** Who dials whom. */
import type { Topology } from "./plan.ts";

export function linksOf(topology: Topology, peers: number): [number, number][] {
  const others = Array.from({ length: Math.max(peers - 1, 0) }, (_, i) => i + 1);
  switch (topology) {
    case "mesh":
      return others.flatMap((a) => Array.from({ length: a }, (_, b): [number, number] => [a, b]));
    case "chain":
      return others.map((a) => [a, a - 1]);
    case "ring": {
      const chain = others.map((a): [number, number] => [a, a - 1]);
      return peers > 2 ? [...chain, [0, peers - 1]] : chain;
    }
    case "hub":
      return others.map((a) => [a, 0]);
    case "two hubs":
      return others.map((a) => [a, a === 1 ? 0 : a % 2]);
    case "tree":
      return others.map((a) => [a, (a - 1) >> 1]);
  }
}
