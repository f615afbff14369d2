import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isReplicaErrorCode, ReplicaError } from "../../../src/errors.ts";
import {
  decodeMessage,
  encodeMessage,
  groupDescriptors,
  type Message,
} from "../../../src/sync/protocol.ts";
import { messageArbitraries, messageArbitrary } from "./messages.ts";

const kinds = Object.keys(messageArbitraries) as Message["kind"][];

function errorOf(fn: () => unknown): unknown {
  try {
    fn();
  } catch (error) {
    return error;
  }
  return undefined;
}

function codeOf(fn: () => unknown): string {
  const error = errorOf(fn);
  return error instanceof ReplicaError ? error.code : String(error);
}

/** Their last field goes on to the end of the message. */
const toTheEnd: readonly Message["kind"][] = [
  "changes",
  "fragment",
  "stateChunk",
  "repairRequest",
  "repair",
];

describe("messages", () => {
  it.each(kinds)("%s comes back as it was", (kind) => {
    fc.assert(
      fc.property(messageArbitraries[kind] as fc.Arbitrary<Message>, (message) => {
        expect(decodeMessage(encodeMessage(message))).toEqual(message);
      }),
      { numRuns: 200, seed: 1 },
    );
  });

  it("cut short anywhere are malformed", () => {
    fc.assert(
      fc.property(messageArbitrary, (message) => {
        // These run to the end of their message, whatever its length.
        fc.pre(!toTheEnd.includes(message.kind));
        const bytes = encodeMessage(message);
        for (let length = 0; length < bytes.byteLength; length++) {
          expect(codeOf(() => decodeMessage(bytes.subarray(0, length)))).toBe("PROTOCOL_MALFORMED");
        }
      }),
      { numRuns: 200, seed: 2 },
    );
  });

  it("followed by anything are malformed", () => {
    fc.assert(
      fc.property(messageArbitrary, fc.uint8Array({ minLength: 1 }), (message, rest) => {
        fc.pre(!toTheEnd.includes(message.kind));
        const bytes = Uint8Array.from([...encodeMessage(message), ...rest]);
        expect(codeOf(() => decodeMessage(bytes))).toBe("PROTOCOL_MALFORMED");
      }),
      { numRuns: 200, seed: 3 },
    );
  });

  it("of random bytes decode or are malformed, and nothing else", () => {
    const header = fc.tuple(fc.integer({ min: 0, max: 18 }), fc.integer({ min: 0, max: 2 }));
    fc.assert(
      fc.property(header, fc.uint8Array({ maxLength: 200 }), (start, rest) => {
        const error = errorOf(() => decodeMessage(Uint8Array.from([...start, ...rest])));
        if (error === undefined) return;
        expect(error).toBeInstanceOf(ReplicaError);
        expect(error).toMatchObject({ code: "PROTOCOL_MALFORMED" });
      }),
      { numRuns: 3000, seed: 4 },
    );
  });

  it("with a flipped bit never fail in another way", () => {
    fc.assert(
      fc.property(messageArbitrary, fc.nat(), (message, at) => {
        const bytes = Uint8Array.from(encodeMessage(message));
        const bit = at % (bytes.byteLength * 8);
        bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        const error = errorOf(() => decodeMessage(bytes));
        if (error !== undefined) expect(error).toMatchObject({ code: "PROTOCOL_MALFORMED" });
      }),
      { numRuns: 1000, seed: 5 },
    );
  });

  it("of another protocol version are malformed", () => {
    const bytes = encodeMessage({ kind: "have", full: true, vector: new Map() });
    bytes[1] = 2;
    expect(codeOf(() => decodeMessage(bytes))).toBe("PROTOCOL_MALFORMED");
  });

  it("that begin and end a link are understood in every version", () => {
    const hello = Uint8Array.from([1, 9, 8, 9, 0, 0, 1, 0, 0]);
    expect(decodeMessage(hello)).toMatchObject({ kind: "hello", minVersion: 8, maxVersion: 9 });
    const bye = Uint8Array.from([6, 9, 1, 0x58, 0]);
    expect(decodeMessage(bye)).toEqual({ kind: "bye", code: "X", text: "" });
  });

  it("about floors keep the bytes the specification gives", () => {
    const floor: Message = {
      kind: "floor",
      state: {
        bound: 300,
        gate: 200,
        floor: 200,
        passed: 100,
        added: new Map([
          [5, 0],
          [6, 200],
        ]),
        forgotten: new Set([7]),
        round: {
          timestamp: 300,
          announced: new Set([5]),
          vector: new Map([[5, 128]]),
          passed: new Set(),
        },
      },
    };
    const hex = (message: Message) => Buffer.from(encodeMessage(message)).toString("hex");
    const start = [
      "11",
      "01",
      "ac02",
      "c801",
      "c801",
      "64",
      "02",
      "0500",
      "06c801",
      "01",
      "07",
    ].join("");
    expect(hex(floor)).toBe(`${start}01${["ac02", "01", "05", "01", "058001", "00"].join("")}`);
    expect(hex({ ...floor, state: { ...floor.state, round: undefined } })).toBe(`${start}00`);
    const merged = new Map([[5, 9]]);
    const told = { ...floor, merged, state: { ...floor.state, round: undefined } };
    expect(hex(told)).toBe(`${start}02010509`);
    expect(decodeMessage(encodeMessage(told))).toEqual(told);
  });

  it("keep the bytes the specification gives", () => {
    const hello: Message = {
      kind: "hello",
      minVersion: 1,
      maxVersion: 1,
      answer: true,
      cluster: "c",
      peerId: 300,
      vector: new Map([[5, 128]]),
      shapes: ["0102030405060708"],
    };
    expect(Buffer.from(encodeMessage(hello)).toString("hex")).toBe(
      [
        "01",
        "01",
        "01",
        "01",
        "01",
        "0163",
        "ac02",
        "01",
        "05",
        "8001",
        "01",
        "0807060504030201",
      ].join(""),
    );
    const want: Message = { kind: "want", ranges: [{ origin: 7, first: 1, last: 2 }], shapes: [] };
    expect(Buffer.from(encodeMessage(want)).toString("hex")).toBe("05010107010200");
    const prune: Message = { kind: "prune", origins: [7, 300] };
    expect(Buffer.from(encodeMessage(prune)).toString("hex")).toBe("0b010207ac02");
    const bytes = Uint8Array.of(1, 2);
    const offer: Message = {
      kind: "stateOffer",
      vector: new Map([[7, 9]]),
      horizon: new Map([[7, 3]]),
      bytes: 300,
    };
    expect(Buffer.from(encodeMessage(offer)).toString("hex")).toBe("0d01010709010703ac02");
    const cursor = Uint8Array.of(0xaa);
    const request: Message = { kind: "stateRequest", requestId: 2, bytesMax: 300, cursor };
    expect(Buffer.from(encodeMessage(request)).toString("hex")).toBe("0e0102ac0201aa");
    const chunk: Message = {
      kind: "stateChunk",
      requestId: 2,
      ends: true,
      table: "note",
      next: Uint8Array.of(0xbb),
      chunk: Uint8Array.of(1, 2),
    };
    expect(Buffer.from(encodeMessage(chunk)).toString("hex")).toBe(
      "0f01020104" + "6e6f7465" + "01bb" + "0102",
    );
    const fragment: Message = { kind: "fragment", id: 5, index: 0, count: 9, bytes };
    expect(Buffer.from(encodeMessage(fragment)).toString("hex")).toBe("0c010500090102");
  });
});

describe("limits", () => {
  it.each([
    ["vector entries", [4, 1, 0, 0x81, 0x80, 0x04]],
    ["more entries than bytes", [4, 1, 0, 0x80, 0x02]],
    ["descriptors", [2, 1, 0x81, 0x80, 0x04]],
    ["a descriptor", [2, 1, 1, 0x81, 0x80, 0x40]],
    ["cluster name", [1, 1, 1, 1, 0, 0x80, 0x02]],
    ["an integer over 53 bits", [6 + 1, 1, 255, 255, 255, 255, 255, 255, 255, 127, 0, 1]],
    ["an integer without end", [6 + 1, 1, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1]],
    ["peer id 0", [4, 1, 0, 1, 0, 1]],
    ["an origin twice", [4, 1, 0, 2, 9, 1, 9, 2]],
    ["a sequence over 40 bits", [4, 1, 0, 1, 9, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20]],
    ["a range from 0", [5, 1, 1, 9, 0, 1, 0]],
    ["a range backwards", [5, 1, 1, 9, 2, 1, 0]],
    ["an outcome there is not", [8, 1, 0, 3, 0]],
    ["more ranges than one message has", [8, 1, 0, 0, 65]],
    ["a key longer than the message", [9, 1, 0, 0, 0, 9, 1]],
    ["more rows than bytes", [10, 1, 0, 1, 0, 3]],
    ["text that is not UTF-8", [6, 1, 1, 0xff, 0]],
    ["no version in common with anyone", [1, 1, 2, 1, 0, 0, 1, 0, 0]],
    ["a fragment beyond the last", [12, 1, 1, 3, 3]],
    ["a fragment of message 0", [12, 1, 0, 0, 3]],
    ["origins pruned that are not there", [11, 1, 2, 1]],
    ["a chunk of state of no size", [14, 1, 1, 0, 0]],
    ["a state cursor beyond the message", [14, 1, 1, 9, 4, 1]],
    ["a state cursor over the limit", [14, 1, 1, 9, 0x81, 0x80, 0x40, 0]],
    ["a state offer without horizon", [13, 1, 0]],
    ["65 fingerprints", [16, 1, 1, 65, ...Array(130).fill(1)]],
    ["a fingerprint of 0", [16, 1, 1, 1, 5, 0]],
    ["an unknown kind", [17, 1]],
  ])("%s is refused", (_, bytes) => {
    expect(codeOf(() => decodeMessage(Uint8Array.from(bytes)))).toBe("PROTOCOL_MALFORMED");
  });

  it("a message over 64 MiB is refused, unless it was put together from fragments", () => {
    const records = new Uint8Array(64 * 1024 * 1024 - 1);
    const bytes = encodeMessage({ kind: "changes", records });
    expect(bytes.byteLength).toBe(64 * 1024 * 1024 + 1);
    expect(codeOf(() => decodeMessage(bytes))).toBe("PROTOCOL_MALFORMED");
    expect(decodeMessage(bytes, bytes.byteLength)).toMatchObject({ kind: "changes" });
    const descriptors = [records, records];
    expect(codeOf(() => encodeMessage({ kind: "shapes", descriptors }))).toBe("MESSAGE_TOO_LARGE");
    const repair = { kind: "repairRequest", requestId: 1, table: "t", keys: [], chunk: records };
    expect(encodeMessage(repair as Message).byteLength).toBeGreaterThan(64 * 1024 * 1024);
  });

  it("a long goodbye is cut between characters, a long code is refused", () => {
    const message = decodeMessage(encodeMessage({ kind: "bye", code: "X", text: "€".repeat(500) }));
    expect(message).toEqual({ kind: "bye", code: "X", text: "€".repeat(170) });
    const bye: Message = { kind: "bye", code: "x".repeat(65), text: "" };
    expect(codeOf(() => encodeMessage(bye))).toBe("MESSAGE_TOO_LARGE");
  });

  it("records are a view of the message", () => {
    const bytes = encodeMessage({ kind: "changes", records: Uint8Array.of(1, 2, 3) });
    const message = decodeMessage(bytes);
    if (message.kind !== "changes") throw new Error("not CHANGES");
    expect(message.records.buffer).toBe(bytes.buffer);
  });

  it("descriptors are grouped without loss", () => {
    const descriptors = [10, 40, 60, 200, 5].map((length) => new Uint8Array(length));
    const groups = groupDescriptors(descriptors, 100);
    expect(groups.map((group) => group.map((bytes) => bytes.byteLength))).toEqual([
      [10, 40],
      [60],
      [200],
      [5],
    ]);
  });

  it("strings from outside are not taken for codes", () => {
    expect(isReplicaErrorCode("LINK_TIMEOUT")).toBe(true);
    expect(isReplicaErrorCode("toString")).toBe(false);
  });
});
