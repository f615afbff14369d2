// A storage that costs no disk: objects in memory, of those too large to be a lease only the size.
import { ManagedStorage } from "../dist/storage/managed.js";

const keptBytesMax = 4096;

export function memoryStorage() {
  const objects = new Map();
  return new ManagedStorage({
    kind: "file",
    keepsMetadata: true,
    name: "memory://bench",
    async put(key, body, { ifAbsent }) {
      const pieces = body instanceof Uint8Array ? [body] : body();
      const kept = [];
      let bytes = 0;
      for await (const piece of pieces) {
        bytes += piece.length;
        if (bytes <= keptBytesMax) kept.push(Uint8Array.from(piece));
      }
      if (ifAbsent && objects.has(key)) return false;
      objects.set(key, { bytes, kept, modifiedMs: Date.now() });
      return true;
    },
    async get(key) {
      const { bytes, kept } = objects.get(key);
      return {
        bytes,
        metadata: {},
        version: "",
        body: (async function* () {
          yield* kept;
        })(),
      };
    },
    async *list(prefix, { after }) {
      const keys = [...objects.keys()].filter((key) => key.startsWith(prefix) && key > after);
      keys.sort((a, b) => (a < b ? -1 : 1));
      yield keys.map((key) => ({ key, ...objects.get(key) }));
    },
    async delete(key) {
      objects.delete(key);
    },
    async close() {},
  });
}
