import fc from "fast-check";
import { expect, it } from "vitest";
import { FrameReader, frameHeader } from "../../../src/transport/framing.ts";

it("messages come out whole, however the stream is cut", () => {
  const messages = fc.array(fc.uint8Array({ maxLength: 50 }), { maxLength: 10 });
  const cuts = fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 1 });
  fc.assert(
    fc.property(messages, cuts, (sent, sizes) => {
      const stream = Buffer.concat(sent.flatMap((message) => [frameHeader(message), message]));
      const frames = new FrameReader();
      const received: Uint8Array[] = [];
      for (let start = 0, turn = 0; start < stream.byteLength; turn++) {
        const end = start + (sizes[turn % sizes.length] ?? 1);
        received.push(...frames.push(stream.subarray(start, end)));
        start = end;
      }
      expect(received.map((message) => [...message])).toEqual(sent.map((bytes) => [...bytes]));
      expect(frames.isMidMessage).toBe(false);
    }),
    { seed: 1 },
  );
});

it("a claimed length over the limit is refused at the header", () => {
  const header = Uint8Array.of(1, 0, 0, 4);
  expect(() => new FrameReader().push(header)).toThrow(
    expect.objectContaining({ code: "MESSAGE_TOO_LARGE" }),
  );
});

it("the largest length is only believed as its bytes arrive", () => {
  const frames = new FrameReader();
  const before = process.memoryUsage().arrayBuffers;
  expect(frames.push(Uint8Array.of(0, 0, 0, 4))).toEqual([]);
  expect(frames.isMidMessage).toBe(true);
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1024 * 1024);
});

it("random bytes are frames or too large, and nothing is kept beyond what arrived", () => {
  const chunks = fc.array(fc.uint8Array({ maxLength: 12 }), { maxLength: 20 });
  fc.assert(
    fc.property(chunks, (arriving) => {
      const frames = new FrameReader();
      let arrived = 0;
      let given = 0;
      try {
        for (const chunk of arriving) {
          arrived += chunk.byteLength;
          for (const message of frames.push(chunk)) given += 4 + message.byteLength;
        }
        expect(given).toBeLessThanOrEqual(arrived);
        expect(frames.isMidMessage).toBe(given < arrived);
      } catch (error) {
        expect(error).toMatchObject({ code: "MESSAGE_TOO_LARGE" });
      }
    }),
    { numRuns: 2000, seed: 2 },
  );
});
