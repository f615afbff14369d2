/** How others read the WAL that a shipper reads. */
import type { CaptureLoop, CaptureSource } from "./capture-loop.ts";

/** Closed before the shipper lets go of the database. */
export interface Guest {
  close(): Promise<void>;
}

export interface Sharing {
  readonly loop: CaptureLoop;
  readonly source: CaptureSource;
  readonly guests: Set<Guest>;
  readonly isClosed: () => boolean;
}

const sharings = new WeakMap<object, Sharing>();

export function share(shipper: object, sharing: Sharing): void {
  sharings.set(shipper, sharing);
}

/** `undefined` for what is no shipper. */
export function sharingOf(shipper: object): Sharing | undefined {
  return sharings.get(shipper);
}
