/**
 * The way into a cluster for a file that stands outside of its floor. What is not known there is
 * issued again, so that nothing older than the floor comes in; `docs/decisions/0016` has the steps.
 */
import type { FloorStore, Readmission } from "../log/floor-store.ts";
import { mergedOf, type OriginMarks } from "../log/store.ts";
import { covers, type ReadonlyVersionVector } from "../log/vector.ts";
import { admits, type FloorState, isElsewhere, membersOf } from "./floor.ts";

/** Both sides as of now. */
export interface RejoinView {
  /** What the one who lets this file in holds, and what it had merged when it told its gate. */
  readonly held: ReadonlyVersionVector;
  readonly merged: ReadonlyVersionVector;
  readonly here: FloorState;
  readonly there: FloorState;
  readonly marks: readonly OriginMarks[];
}

/** `renewed`, `joined`: something has changed for others, too. */
export type RejoinStep = "wait" | "busy" | "more" | "renewed" | "ready";

export type RejoinStore = Pick<FloorStore, "unsent" | "reissueRows" | "giveUp" | "renewIdentity">;

type Phase = "look" | "catch up" | "reissue" | "give up";

export class Rejoin {
  readonly bound: number;
  /** Rows and columns issued again, and changesets given up. */
  patches = 0;
  givenUp = 0;
  readonly #store: RejoinStore;
  #phase: Phase = "look";
  #to: Readmission | undefined;
  /** To be merged here first. It does not move, or a busy cluster would never be reached. */
  #target: ReadonlyVersionVector | undefined;
  #cursor: Uint8Array = new Uint8Array(0);

  /** The gate of the one who lets this file in has been promised already. */
  constructor(store: RejoinStore, bound: number) {
    this.#store = store;
    this.bound = bound;
  }

  /** Does the next thing. `ready`: there is nothing left that would keep this file outside. */
  step(view: RejoinView, sliceMs: number): RejoinStep {
    switch (this.#phase) {
      case "look":
        return this.#look(view);
      case "catch up":
        if (this.#isBehind(view)) return "wait";
        this.#phase = "look";
        return "more";
      case "reissue":
        return this.#reissue(sliceMs);
      default:
        return this.#giveUp(sliceMs);
    }
  }

  #isBehind({ marks, merged }: RejoinView): boolean {
    this.#target ??= merged;
    return !covers(mergedOf(marks), this.#target);
  }

  #look(view: RejoinView): RejoinStep {
    const { held, here, there } = view;
    const to = { vector: held, members: membersOf(there), bound: there.gate };
    const unsent = this.#store.unsent(to);
    const isBehind = this.#isBehind(view);
    const isElse = isElsewhere(here, there) || there.forgotten.has(here.self);
    // As nobody it has promised nothing, and can take all that the other one has.
    const isClosed = (unsent.others || isBehind) && !admits(here, there);
    if (unsent.own || isElse || isClosed) {
      this.#store.renewIdentity();
      return "renewed";
    }
    if (isBehind) {
      this.#phase = "catch up";
      return "wait";
    }
    if (!unsent.others) return "ready";
    this.#to = to;
    this.#cursor = new Uint8Array(0);
    this.#phase = "reissue";
    return "more";
  }

  #reissue(sliceMs: number): RejoinStep {
    if (this.#to === undefined) return "wait";
    const slice = this.#store.reissueRows(this.#to, this.#cursor, sliceMs);
    if (slice.busy) return "busy";
    this.patches += slice.patches;
    this.#cursor = slice.cursor;
    if (!slice.more) this.#phase = "give up";
    return "more";
  }

  #giveUp(sliceMs: number): RejoinStep {
    if (this.#to === undefined) return "wait";
    const slice = this.#store.giveUp(this.#to, sliceMs);
    if (slice.busy) return "busy";
    this.givenUp += slice.changesets;
    if (!slice.more) this.#phase = "look";
    return "more";
  }
}
