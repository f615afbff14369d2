import fc from "fast-check";
import { sequenceMax } from "../../../src/log/vector.ts";
import type { Message } from "../../../src/sync/protocol.ts";

const peerId = fc.oneof(
  fc.integer({ min: 1, max: 300 }),
  fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
);
const sequence = fc.oneof(
  fc.integer({ min: 0, max: 300 }),
  fc.integer({ min: 0, max: sequenceMax }),
);
const count = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const requestId = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const text = (maxLength: number) => fc.string({ unit: "grapheme", maxLength });
const hash = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const shapeHash = hash.map((value) => value.toString(16).padStart(16, "0"));
const shapes = fc.array(shapeHash, { maxLength: 20 });
const bytes = fc.uint8Array({ maxLength: 300 });

export const vectorArbitrary = fc
  .array(fc.tuple(peerId, sequence), { maxLength: 30 })
  .map((entries) => new Map(entries));

const range = fc.tuple(peerId, sequence, sequence).map(([origin, a, b]) => ({
  origin,
  first: Math.max(1, Math.min(a, b)),
  last: Math.max(1, a, b),
}));

const peers = fc.array(peerId, { maxLength: 10 }).map((ids): ReadonlySet<number> => new Set(ids));
const round = fc.record({
  timestamp: count,
  announced: peers,
  vector: vectorArbitrary,
  passed: peers,
});

export const messageArbitraries = {
  hello: fc.record({
    kind: fc.constant("hello" as const),
    minVersion: fc.constant(1),
    maxVersion: fc.integer({ min: 1, max: 255 }),
    answer: fc.boolean(),
    cluster: text(10),
    peerId,
    vector: vectorArbitrary,
    shapes,
  }),
  shapes: fc.record({
    kind: fc.constant("shapes" as const),
    descriptors: fc.array(bytes, { maxLength: 8 }),
  }),
  changes: fc.record({ kind: fc.constant("changes" as const), records: bytes }),
  have: fc.record({
    kind: fc.constant("have" as const),
    full: fc.boolean(),
    vector: vectorArbitrary,
  }),
  want: fc.record({
    kind: fc.constant("want" as const),
    ranges: fc.array(range, { maxLength: 20 }),
    shapes,
  }),
  prune: fc.record({
    kind: fc.constant("prune" as const),
    origins: fc.array(peerId, { maxLength: 30 }),
  }),
  stateOffer: fc.record({
    kind: fc.constant("stateOffer" as const),
    vector: vectorArbitrary,
    horizon: vectorArbitrary,
    bytes: requestId,
  }),
  stateRequest: fc.record({
    kind: fc.constant("stateRequest" as const),
    requestId,
    bytesMax: fc.integer({ min: 1, max: 4_194_304 }),
    cursor: bytes,
  }),
  stateChunk: fc.record({
    kind: fc.constant("stateChunk" as const),
    requestId,
    ends: fc.boolean(),
    table: text(10),
    next: bytes,
    chunk: bytes,
  }),
  fingerprints: fc.record({
    kind: fc.constant("fingerprints" as const),
    origin: peerId,
    fingerprints: fc.array(
      fc.record({ sequence, print: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }) }),
      { maxLength: 41 },
    ),
  }),
  floor: fc.record({
    kind: fc.constant("floor" as const),
    state: fc.record({
      bound: count,
      gate: count,
      floor: count,
      passed: count,
      added: fc
        .array(fc.tuple(peerId, count), { maxLength: 10 })
        .map((members): ReadonlyMap<number, number> => new Map(members)),
      forgotten: peers,
      round: fc.option(round, { nil: undefined }),
    }),
  }),
  fragment: fc.record({
    kind: fc.constant("fragment" as const),
    id: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
    index: fc.integer({ min: 0, max: 99 }),
    count: fc.integer({ min: 100, max: 65_536 }),
    bytes,
  }),
  bye: fc.record({ kind: fc.constant("bye" as const), code: text(3), text: text(20) }),
  rangesRequest: fc.record({
    kind: fc.constant("rangesRequest" as const),
    requestId,
    table: text(20),
    order: hash,
    deep: fc.boolean(),
    ranges: fc.array(fc.record({ from: bytes, to: bytes, rows: count, digest: hash }), {
      maxLength: 64,
    }),
  }),
  ranges: fc.record({
    kind: fc.constant("ranges" as const),
    requestId,
    outcome: fc.constantFrom("compared" as const, "unknown" as const, "unordered" as const),
    ranges: fc.array(fc.record({ equal: fc.boolean(), rows: count }), { maxLength: 64 }),
  }),
  rowsRequest: fc.record({
    kind: fc.constant("rowsRequest" as const),
    requestId,
    table: text(20),
    after: fc.boolean(),
    from: bytes,
    to: bytes,
  }),
  rows: fc.record({
    kind: fc.constant("rows" as const),
    requestId,
    rows: fc.array(fc.record({ key: bytes, hash }), { maxLength: 10 }),
    done: fc.boolean(),
  }),
  repairRequest: fc.record({
    kind: fc.constant("repairRequest" as const),
    requestId,
    table: text(20),
    keys: fc.array(
      bytes.filter(({ length }) => length > 0),
      { maxLength: 10 },
    ),
    chunk: bytes,
  }),
  repair: fc.record({
    kind: fc.constant("repair" as const),
    requestId,
    outcome: fc.constantFrom("done" as const, "unknown" as const, "behind" as const, "ahead"),
    keys: count,
    taken: count,
    rewritten: count,
    chunk: bytes,
  }),
} satisfies { [Kind in Message["kind"]]: fc.Arbitrary<Message & { kind: Kind }> };

export const messageArbitrary: fc.Arbitrary<Message> = fc.oneof(
  ...(Object.values(messageArbitraries) as fc.Arbitrary<Message>[]),
);
