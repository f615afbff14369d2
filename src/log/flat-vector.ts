/** How version vectors cross to the native core, and back. */
import type { ReadonlyVersionVector, VersionVector } from "./vector.ts";

/** Flat pairs as the native core gives them. */
export function pairs(flat: Float64Array): VersionVector {
  const vector: VersionVector = new Map();
  for (let i = 0; i + 1 < flat.length; i += 2) vector.set(flat[i] ?? 0, flat[i + 1] ?? 0);
  return vector;
}

export function flat(vector: ReadonlyVersionVector): Float64Array {
  return new Float64Array([...vector].flat());
}
