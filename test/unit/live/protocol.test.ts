/** The messages of live streaming: their bytes, and that nothing else passes for one. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ReplicaError } from "../../../src/errors.ts";
import {
  dataMessage,
  decodeFollower,
  decodePrimary,
  encodeFollower,
  encodePrimary,
  type FollowerMessage,
  type PrimaryMessage,
} from "../../../src/restore/live-protocol.ts";

const source = "0123456789abcdef";
const error = new ReplicaError("TRANSPORT_OVERLOADED", "it is full");

const fromFollower: [FollowerMessage, string][] = [
  [
    { type: "hello", source, txid: 258, reach: 259 },
    "014d4c5753010123456789abcdef00000000000001020000000000000103",
  ],
  [{ type: "status", txid: 258 }, "020000000000000102"],
];
const fromPrimary: [Exclude<PrimaryMessage, { type: "data" }>, string][] = [
  [
    { type: "welcome", source, from: 258, txid: 512, heartbeatMs: 5000 },
    "104d4c5753010123456789abcdef0000000000000102000000000000020000001388",
  ],
  [{ type: "file", bytes: 4096 }, "110000000000001000"],
  [{ type: "heartbeat", txid: 512 }, "130000000000000200"],
];
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

describe("a message", () => {
  test.each(fromFollower)("$type of a follower", (message, bytes) => {
    expect(hex(encodeFollower(message))).toBe(bytes);
    expect(decodeFollower(Buffer.from(bytes, "hex"))).toEqual(message);
  });

  test.each(fromPrimary)("$type of a primary", (message, bytes) => {
    expect(hex(encodePrimary(message))).toBe(bytes);
    expect(decodePrimary(Buffer.from(bytes, "hex"))).toEqual(message);
  });

  test("data and bye of a primary", () => {
    const { message, content } = dataMessage(2);
    content.set([7, 8]);
    expect(hex(message)).toBe("120708");
    expect(decodePrimary(message)).toEqual({ type: "data", bytes: Uint8Array.of(7, 8) });
    const bye = encodePrimary({ type: "bye", error });
    expect(hex(bye)).toBe(`1414${hex(Buffer.from("TRANSPORT_OVERLOADEDit is full"))}`);
    const told = decodePrimary(bye);
    expect(told).toMatchObject({ error: { code: "TRANSPORT_OVERLOADED" } });
    const long = new ReplicaError("CLOSED", "é".repeat(5000));
    expect(encodePrimary({ type: "bye", error: long }).length).toBeLessThan(1100);
    const unknown = Buffer.concat([Uint8Array.of(20, 3), Buffer.from("NEWsorry")]);
    expect(decodePrimary(unknown)).toMatchObject({ error: { code: "PROTOCOL_MALFORMED" } });
  });

  test("of another version is told from one that is malformed", () => {
    const hello = Buffer.from(fromFollower[0]?.[1] ?? "", "hex");
    hello[5] = 2;
    const longer = Buffer.concat([hello, Buffer.alloc(9)]);
    for (const bytes of [hello, longer, hello.subarray(0, 6)]) {
      expect(() => decodeFollower(bytes)).toThrow(
        expect.objectContaining({ code: "VERSION_MISMATCH" }),
      );
    }
  });

  test("that says what cannot be is refused", () => {
    const wrong = [
      "",
      "00",
      "0200000000000001",
      "02ffffffffffffffff",
      "014d4c5753010123456789abcdef00000000000001030000000000000102",
      "014d4c5754010123456789abcdef00000000000001020000000000000103",
    ];
    for (const bytes of wrong) expectRefused(decodeFollower, Buffer.from(bytes, "hex"));
    const wrongToo = [
      "",
      "12",
      "14ff41",
      "104d4c5753010123456789abcdef0000000000000202000000000000020000001388",
      "104d4c5753010123456789abcdef0000000000000102000000000000020000000001",
    ];
    for (const bytes of wrongToo) expectRefused(decodePrimary, Buffer.from(bytes, "hex"));
    expectRefused(decodePrimary, dataMessage(262_145).message);
  });
});

describe("any bytes", () => {
  const seeds = [...fromFollower, ...fromPrimary].map(([, bytes]) => Buffer.from(bytes, "hex"));
  const altered = fc
    .tuple(
      fc.constantFrom(...seeds),
      fc.array(fc.tuple(fc.nat(40), fc.nat(255)), { maxLength: 4 }),
      fc.nat(40),
    )
    .map(([seed, changes, length]) => {
      const bytes = Buffer.alloc(length);
      seed.copy(bytes);
      for (const [at, value] of changes) if (at < length) bytes[at] = value;
      return Uint8Array.from(bytes);
    });
  const any = fc.oneof(fc.uint8Array({ maxLength: 60 }), altered);

  test("are a message that is written as it was read, or refused", () => {
    fc.assert(
      fc.property(any, (bytes) => {
        const follower = read(decodeFollower, bytes);
        if (follower !== undefined) expect(hex(encodeFollower(follower))).toBe(hex(bytes));
        const primary = read(decodePrimary, bytes);
        if (primary === undefined || primary.type === "data" || primary.type === "bye") return;
        expect(hex(encodePrimary(primary))).toBe(hex(bytes));
      }),
      { numRuns: Number(process.env.PROPERTY_RUNS ?? 2000) },
    );
  });
});

const codes = ["PROTOCOL_MALFORMED", "VERSION_MISMATCH"];

function read<Message>(
  decode: (bytes: Uint8Array) => Message,
  bytes: Uint8Array,
): Message | undefined {
  try {
    return decode(bytes);
  } catch (thrown) {
    if (thrown instanceof ReplicaError && codes.includes(thrown.code)) return undefined;
    throw thrown;
  }
}

function expectRefused(decode: (bytes: Uint8Array) => unknown, bytes: Uint8Array): void {
  expect(() => decode(bytes)).toThrow(expect.objectContaining({ code: "PROTOCOL_MALFORMED" }));
}
