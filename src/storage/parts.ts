/** Large objects go to object stores in parts, several at a time. */
import { piecesOf } from "./driver.ts";
import type { Body } from "./storage.ts";

export const partBytesDefault: number = 8 * 1024 * 1024;

/** A body that is one part is sent as it is. */
export async function splitBody(
  body: Body,
  partBytes: number,
): Promise<{ whole: Uint8Array } | { whole?: never; parts: AsyncIterable<Uint8Array> }> {
  const parts = partsOf(body, partBytes);
  const first = (await parts.next()).value ?? new Uint8Array();
  const second = await parts.next();
  if (second.done) return { whole: first };
  async function* all(next: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
    yield first;
    yield next;
    yield* parts;
  }
  return { parts: all(second.value) };
}

/** Stores take 10,000 to 50,000 parts; so a part grows with its number, up to 40 times. */
function partBytesAt(index: number, partBytes: number): number {
  return partBytes * (1 + Math.floor(index / 256));
}

/** The body in parts: all but the last are full. One at least, which may be empty. */
async function* partsOf(
  body: Body,
  partBytes: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  let held: Uint8Array[] = [];
  let size = 0;
  let index = 0;
  for await (const piece of piecesOf(body)) {
    for (let rest = piece; rest.length > 0; ) {
      const room = partBytesAt(index, partBytes) - size;
      // The part is given away only when something follows it.
      if (room === 0) {
        yield held.length === 1 ? (held[0] ?? rest) : Buffer.concat(held);
        held = [];
        size = 0;
        index++;
        continue;
      }
      const taken = rest.subarray(0, room);
      // A copy: the caller may use its piece again.
      held.push(body === piece ? taken : taken.slice());
      size += taken.length;
      rest = rest.subarray(taken.length);
    }
  }
  yield held.length === 1 ? (held[0] ?? new Uint8Array()) : Buffer.concat(held);
}

/** Runs `send` for each part, up to `count` at a time; the results are in the parts' order. */
export async function sendParts<T>(
  parts: AsyncIterable<Uint8Array>,
  count: number,
  send: (part: Uint8Array, index: number) => Promise<T>,
): Promise<T[]> {
  const results: T[] = [];
  const running = new Set<Promise<void>>();
  let failure: { error: unknown } | undefined;
  let index = 0;
  for await (const part of parts) {
    const at = index++;
    const sending = send(part, at)
      .then((result) => {
        results[at] = result;
      })
      .catch((error: unknown) => {
        failure ??= { error };
      })
      .finally(() => running.delete(sending));
    running.add(sending);
    if (running.size >= count) await Promise.race(running);
    if (failure !== undefined) break;
  }
  await Promise.all(running);
  if (failure !== undefined) throw failure.error;
  return results;
}
