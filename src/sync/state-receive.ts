/**
 * The receiving side of state transfers: one at a time, a chunk being merged in slices while the
 * next ones are on their way. How far it has come is in the file, so any peer can go on with it.
 */
import type { Clock } from "../clock.ts";
import { ReplicaError } from "../errors.ts";
import { heldOf, type OriginMarks } from "../log/store.ts";
import { covers, type VersionVector } from "../log/vector.ts";
import type { StateMergeResult } from "../native.ts";
import type { StateProgressEvent } from "../replica-events.ts";
import type { StateChunkMessage, StateMessage, StateOffer } from "./protocol-state.ts";
import type { StateLink } from "./state-send.ts";

export interface StateTarget {
  startState(options: { restart: boolean }): {
    busy: boolean;
    cursor: Uint8Array;
    vector: VersionVector;
    rows: number;
  };
  mergeState(
    message: { chunk: Uint8Array; next: Uint8Array },
    options: { offset: number; again: boolean },
    budgetMs: number,
  ): StateMergeResult;
}

export interface StateReceiverOptions<Link extends StateLink> {
  readonly clock: Clock;
  readonly sliceMs: number;
  marks(): readonly OriginMarks[];
  send(link: Link, message: StateMessage): void;
  /** Whether rows may be taken from this link now. */
  takes(link: Link): boolean;
  onProgress(event: StateProgressEvent): void;
  onMerged(link: Link, result: StateMergeResult): void;
  /** The link sent what makes no sense. */
  onRejected(link: Link, error: ReplicaError): void;
  onError(error: ReplicaError): void;
}

const chunkBytes = 256 * 1024;
/** Received and not merged. A sender that is slow to answer now and then holds nothing up. */
const chunksHeldMax = 4;
/** A request or its answer was lost. */
const answerMs = 10_000;
/**
 * So many requests without an answer, and another link is asked that has offered. Where all are
 * slower than that, the one asked next is given twice the time, or none would ever get to answer.
 */
const requestsUnanswered = { min: 6, max: 96 };
const busyRetryMs = { min: 1, max: 10 };
/** The clock here may have been wrong, and be set right. */
const lookAgainMs = 60_000;

/** Where merging a chunk stands, and how long to wait when the database is busy. */
interface Slice {
  readonly offset: number;
  readonly again: boolean;
  readonly waitMs: number;
}

interface Transfer<Link> {
  readonly link: Link;
  readonly bytesExpected: number;
  rows: number;
  bytes: number;
  /** Of the last request, and of the first one with the same cursor; 0 when none is out. */
  requestId: number;
  firstRequestId: number;
  cursor: Uint8Array;
  /** Received and not merged; the first is being merged. */
  readonly chunks: StateChunkMessage[];
  cancelAnswer: (() => void) | undefined;
  cancelSlice: (() => void) | undefined;
}

export class StateReceiver<Link extends StateLink> {
  readonly #target: StateTarget;
  readonly #options: StateReceiverOptions<Link>;
  #transfer: Transfer<Link> | undefined;
  /** Of other links: the one that offered first, or was given up first, is asked next. */
  readonly #offers = new Map<Link, StateOffer>();
  #unansweredMax = requestsUnanswered.min;
  #nextRequestId = 1;

  constructor(target: StateTarget, options: StateReceiverOptions<Link>) {
    this.#target = target;
    this.#options = options;
  }

  get active(): boolean {
    return this.#transfer !== undefined;
  }

  onOffer(link: Link, offer: StateOffer): void {
    if (this.#transfer === undefined) this.#begin(link, offer);
    else if (this.#transfer.link !== link) this.#offers.set(link, offer);
  }

  #begin(link: Link, offer: StateOffer): void {
    this.#offers.delete(link);
    if (!this.#options.takes(link)) return;
    // Since it was offered, what was missing may have come another way.
    const held = heldOf(this.#options.marks());
    if (covers(held, offer.horizon)) return;
    this.#guard(link, () => {
      let started = this.#target.startState({ restart: false });
      if (started.busy) return;
      // A sender that knows less than those before it would lower what can be claimed in the end.
      if (!covers(offer.vector, started.vector)) {
        started = this.#target.startState({ restart: true });
      }
      if (started.busy) return;
      const { rows, cursor } = started;
      this.#transfer = {
        link,
        bytesExpected: offer.bytes,
        rows,
        bytes: 0,
        requestId: 0,
        firstRequestId: 0,
        cursor,
        chunks: [],
        cancelAnswer: undefined,
        cancelSlice: undefined,
      };
      this.#report(this.#transfer, { table: "", done: false });
      this.#request(this.#transfer);
    });
  }

  onChunk(link: Link, message: StateChunkMessage): void {
    const transfer = this.#transfer;
    if (transfer === undefined || transfer.link !== link) return;
    // Where the network is slow, each answer comes after the next request: any of them will do.
    const { requestId, firstRequestId } = transfer;
    if (message.requestId < firstRequestId || message.requestId > requestId) return;
    transfer.cancelAnswer?.();
    transfer.requestId = 0;
    transfer.cursor = message.next;
    transfer.chunks.push(message);
    this.#requestMore(transfer);
    if (transfer.chunks.length === 1) this.#mergeNext(transfer);
  }

  onEnded(link: Link): void {
    this.#offers.delete(link);
    if (this.#transfer?.link === link) this.#stop();
  }

  #stop(): void {
    this.#transfer?.cancelAnswer?.();
    this.#transfer?.cancelSlice?.();
    this.#transfer = undefined;
  }

  #request(transfer: Transfer<Link>): void {
    const isAgain = transfer.requestId !== 0;
    transfer.requestId = this.#nextRequestId++;
    if (!isAgain) transfer.firstRequestId = transfer.requestId;
    const { requestId, cursor } = transfer;
    const message = { kind: "stateRequest", requestId, bytesMax: chunkBytes, cursor } as const;
    this.#options.send(transfer.link, message);
    this.#awaitAnswer(transfer);
  }

  #awaitAnswer(transfer: Transfer<Link>): void {
    const { link, requestId } = transfer;
    const before = link.fragments;
    transfer.cancelAnswer = this.#options.clock.setTimer(answerMs, () => {
      // A chunk with a large row is on its way.
      if (link.fragments > before) {
        this.#awaitAnswer(transfer);
        return;
      }
      const unanswered = requestId - transfer.firstRequestId + 1;
      if (unanswered < this.#unansweredMax || !this.#askAnother()) this.#request(transfer);
    });
  }

  /** Of what was merged the progress is in the file: the other one goes on from there. */
  #askAnother(): boolean {
    if (this.#offers.size === 0) return false;
    this.#stop();
    this.#unansweredMax = Math.min(this.#unansweredMax * 2, requestsUnanswered.max);
    for (const [link, offer] of this.#offers) {
      this.#begin(link, offer);
      if (this.active) break;
    }
    return true;
  }

  #requestMore(transfer: Transfer<Link>): void {
    const { chunks, requestId } = transfer;
    if (requestId !== 0 || chunks.length >= chunksHeldMax || chunks.at(-1)?.ends === true) return;
    this.#request(transfer);
  }

  /** In a turn of its own, for others to have theirs. */
  #mergeNext(transfer: Transfer<Link>): void {
    this.#options.clock.nextTurn(() => {
      const [message] = transfer.chunks;
      if (message === undefined) return;
      this.#merge(transfer, message, { offset: 0, again: false, waitMs: busyRetryMs.min });
    });
  }

  #merge(
    transfer: Transfer<Link>,
    message: StateChunkMessage,
    { offset, again, waitMs }: Slice,
  ): void {
    if (this.#transfer !== transfer) return;
    this.#guard(transfer.link, () => {
      const { clock, sliceMs } = this.#options;
      const result = this.#target.mergeState(message, { offset, again }, sliceMs);
      const goOn = (afterMs: number, next: Slice) => {
        const merge = () => this.#merge(transfer, message, next);
        if (afterMs === 0) clock.nextTurn(merge);
        else transfer.cancelSlice = clock.setTimer(afterMs, merge);
      };
      if (result.busy) {
        goOn(waitMs, { offset, again, waitMs: Math.min(waitMs * 2, busyRetryMs.max) });
        return;
      }
      // Stamps too far ahead wait for their time, as changesets do.
      if (result.resumeAtMs > 0) {
        const afterMs = Math.min(Math.max(result.resumeAtMs - clock.now(), 1), lookAgainMs);
        goOn(afterMs, { offset, again, waitMs: busyRetryMs.min });
        return;
      }
      transfer.rows += result.rows;
      this.#options.onMerged(transfer.link, result);
      if (this.#transfer !== transfer) return;
      if (result.more) goOn(0, { offset: result.consumed, again: true, waitMs: busyRetryMs.min });
      else this.#onChunkMerged(transfer, message, result);
    });
  }

  #onChunkMerged(
    transfer: Transfer<Link>,
    message: StateChunkMessage,
    { complete }: StateMergeResult,
  ): void {
    transfer.chunks.shift();
    transfer.bytes += message.chunk.byteLength;
    if (complete) {
      this.#stop();
      this.#offers.clear();
      this.#unansweredMax = requestsUnanswered.min;
    }
    this.#report(transfer, { table: message.table, done: complete });
    if (this.#transfer !== transfer) return;
    this.#requestMore(transfer);
    if (transfer.chunks.length > 0) this.#mergeNext(transfer);
  }

  #report(transfer: Transfer<Link>, { table, done }: { table: string; done: boolean }): void {
    const { rows, bytes, bytesExpected, link } = transfer;
    const share = Math.floor((100 * bytes) / Math.max(bytesExpected, 1));
    const percent = done ? 100 : Math.min(share, 99);
    this.#options.onProgress({ peerId: link.peerId, table, rows, bytes, percent, done });
  }

  #guard(link: Link, work: () => void): void {
    try {
      work();
    } catch (error) {
      if (!(error instanceof ReplicaError)) throw error;
      this.#stop();
      if (error.code === "CLOSED") return;
      // Another offer comes; what was merged is in the file.
      if (error.code === "PAYLOAD_CORRUPT") this.#options.onRejected(link, error);
      else this.#options.onError(error);
    }
  }
}
