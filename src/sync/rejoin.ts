/**
 * The way into a cluster for a file that stands outside of its floor. What is not known there is
 * issued again, so that nothing older than the floor comes in; `docs/decisions/0016` has the steps.
 */
import type { FloorStore, Readmission } from "../log/floor-store.ts";
import { heldOf, type OriginMarks } from "../log/store.ts";
import { covers, type ReadonlyVersionVector } from "../log/vector.ts";
import { admits, type FloorState, isElsewhere, membersOf } from "./floor.ts";

export interface RejoinLink {
  readonly remoteVector: ReadonlyVersionVector;
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
  #cursor: Uint8Array = new Uint8Array(0);

  /** The gate of the one who lets this file in has been promised already. */
  constructor(store: RejoinStore, bound: number) {
    this.#store = store;
    this.bound = bound;
  }

  /** Does the next thing. `ready`: there is nothing left that would keep this file outside. */
  step(
    link: RejoinLink,
    { here, there, marks }: { here: FloorState; there: FloorState; marks: readonly OriginMarks[] },
    sliceMs: number,
  ): RejoinStep {
    switch (this.#phase) {
      case "look":
        return this.#look(link, here, there);
      case "catch up":
        if (this.#to === undefined || !covers(heldOf(marks), this.#to.vector)) return "wait";
        this.#phase = "reissue";
        return "more";
      case "reissue":
        return this.#reissue(sliceMs);
      default:
        return this.#giveUp(sliceMs);
    }
  }

  #look(link: RejoinLink, here: FloorState, there: FloorState): RejoinStep {
    const vector = new Map(link.remoteVector);
    const to = { vector, members: membersOf(there), bound: there.gate };
    const unsent = this.#store.unsent(to);
    const isElse = isElsewhere(here, there) || there.forgotten.has(here.self);
    // As nobody it has promised nothing, and can take all that the other one has.
    const isClosed = unsent.others && !admits(here, there);
    if (unsent.own || isElse || isClosed) {
      this.#store.renewIdentity();
      return "renewed";
    }
    if (!unsent.others) return "ready";
    this.#to = to;
    this.#phase = "catch up";
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
