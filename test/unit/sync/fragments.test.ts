import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Assembler, fragmentsOf } from "../../../src/sync/fragments.ts";

const bytes = fc.uint8Array({ minLength: 1, maxLength: 500 });

describe("fragments", () => {
  it("in any order, any number of times, give the message once", () => {
    const shuffled = bytes.chain((message) => {
      const parts = [...fragmentsOf(message, 3, 64)];
      return fc.tuple(
        fc.constant(message),
        fc.shuffledSubarray([...parts, ...parts.slice(1)], { minLength: 2 * parts.length - 1 }),
      );
    });
    fc.assert(
      fc.property(shuffled, ([message, parts]) => {
        const assembler = new Assembler();
        const whole = parts.map((part) => assembler.add(part)).filter((one) => one !== undefined);
        expect(whole[0]).toEqual(message);
        // What was repeated after that begins a message that never becomes whole.
        expect(whole).toHaveLength(1);
      }),
      { numRuns: 300, seed: 1 },
    );
  });

  it("of another message drop those of the one before", () => {
    const assembler = new Assembler();
    const [first] = fragmentsOf(new Uint8Array(100).fill(1), 1, 64);
    const second = [...fragmentsOf(new Uint8Array(100).fill(2), 2, 64)];
    if (first === undefined) throw new TypeError("no fragment");
    assembler.add(first);
    const whole = second.map((part) => assembler.add(part));
    expect(whole).toEqual([undefined, new Uint8Array(100).fill(2)]);
  });

  it("of more than the limit are refused before they are put together", () => {
    const assembler = new Assembler(150);
    const parts = fragmentsOf(new Uint8Array(400), 1, 64);
    const addAll = () => {
      for (const part of parts) assembler.add(part);
    };
    expect(addAll).toThrow(expect.objectContaining({ code: "PROTOCOL_MALFORMED" }));
  });
});
