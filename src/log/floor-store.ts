/** The file's part in floors: what it has promised, its tombstones, and its way back in. */
import { type Handle, native } from "../native.ts";
import { call } from "../native-error.ts";
import { flat } from "./flat-vector.ts";
import type { ReadonlyVersionVector } from "./vector.ts";

/** What a file keeps of `src/sync/floor.ts`. */
export interface FloorRecord {
  /** Empty at first. */
  readonly state: Uint8Array;
  /** Counts what was saved. */
  readonly revision: number;
  /** Nothing here is stamped below this. */
  readonly bound: number;
}

/** What tells whether the file is whole. */
export interface Sweeps {
  /** Tombstones below it are gone, here or where rows came from; 0 for none. */
  readonly swept: number;
  /** Rows instead of the log have begun to come, and not ended. */
  readonly transfer: boolean;
}

/** The member that lets this file in again. */
export interface Readmission {
  /** What it holds. */
  readonly vector: ReadonlyVersionVector;
  /** Whose changesets come by themselves. */
  readonly members: Iterable<number>;
  /** It takes nothing unknown stamped below. */
  readonly bound: number;
}

/** Where a sweep stands; `table` and `after` are empty at its start. */
export interface SweepPosition {
  readonly table: string;
  readonly after: Uint8Array;
}

interface Slice {
  readonly busy: boolean;
  readonly more: boolean;
}

export class FloorStore {
  readonly #handle: Handle;

  constructor(handle: Handle) {
    this.#handle = handle;
  }

  read(): FloorRecord & Sweeps {
    return call(() => native.floor(this.#handle));
  }

  /** `stale`: another process on the file has saved since; look again. */
  save({ state, revision, bound }: FloorRecord): { busy: boolean; stale: boolean } {
    return call(() => native.saveFloor(this.#handle, state, revision, bound));
  }

  /** Drops row clocks of rows that died below `horizon`, for a while. */
  sweep(
    horizon: number,
    { table, after }: SweepPosition,
    budgetMs: number,
  ): Slice & SweepPosition & { dropped: number; kept: number } {
    return call(() => native.sweepTombstones(this.#handle, horizon, table, after, budgetMs));
  }

  /** What the member lacks and does not take: of this peer id, and of others. */
  unsent(to: Readmission): { own: boolean; others: boolean } {
    return call(() => native.unsentBelow(this.#handle, ...parts(to)));
  }

  /** Issues again what only this file knows; `cursor` is empty at the start. */
  reissueRows(
    to: Readmission,
    cursor: Uint8Array,
    budgetMs: number,
  ): Slice & { cursor: Uint8Array; patches: number } {
    return call(() => native.reissueRows(this.#handle, ...parts(to), cursor, budgetMs));
  }

  /** Drops the changesets that have been issued again. */
  giveUp(to: Readmission, budgetMs: number): Slice & { changesets: number } {
    return call(() => native.giveUp(this.#handle, ...parts(to), budgetMs));
  }

  /** @throws IN_TRANSACTION */
  renewIdentity(): number {
    return call(() => native.renewIdentity(this.#handle));
  }
}

function parts({ vector, members, bound }: Readmission): [Float64Array, Float64Array, number] {
  return [flat(vector), new Float64Array([...members]), bound];
}
