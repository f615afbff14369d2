/** The WAL of one database, read through SQLite on other threads. */
import { messageOf, ReplicaError } from "../errors.ts";
import { batchPagesOf, type PageBatch } from "../ltx/pages.ts";
import { type Handle, native, type WalAnswer, type WalSource } from "../native.ts";
import { call } from "../native-error.ts";

/** A place behind a frame of the WAL: salts, frame, and the checksum there. Five words. */
export type WalPlace = Uint32Array;

export interface WalEnd {
  readonly place: WalPlace;
  readonly words: Uint32Array;
}

export interface WalPages {
  readonly numbers: Uint32Array;
  readonly frames: Uint32Array;
  readonly commits: number;
  /** Of the database behind it, in pages. */
  readonly size: number;
}

export interface WalCheckpoint {
  readonly moved: boolean;
  readonly carried?: Carried;
}

const barriers = ["none", "end", "whole"] as const;

/** What of the WAL is written back while writers are kept out. */
export type Barrier = (typeof barriers)[number];

/** Commits that were read by the way. */
export interface Carried {
  readonly end: WalEnd;
  readonly pages: WalPages;
  readonly data: Uint8Array;
}

/** Frames that were to be read have been replaced. */
export class WalBroken extends Error {}

export const walHeadBytes = 32;
const frameHeadBytes = 24;
/** Of pages: each batch costs JavaScript's thread some turns. */
const readBytes = 1024 * 1024;

export const saltsOf = (place: WalPlace): [number, number] => [place[0] ?? 0, place[1] ?? 0];
export const hasSalts = (a: WalPlace, b: WalPlace): boolean => a[0] === b[0] && a[1] === b[1];
export const isSamePlace = (a: WalPlace, b: WalPlace): boolean =>
  a.every((word, i) => word === b[i]);
export const frameOf = (place: WalPlace): number => place[2] ?? 0;

/** One operation at a time. What reads the WAL gives `undefined` when the chain is broken. */
export class Wal {
  readonly #source: WalSource;
  /** Of the application's connection. */
  readonly handle: Handle;
  #openings = 0;
  pageSize = 0;

  constructor(handle: Handle) {
    this.handle = handle;
    this.#source = call(() => native.walSource(handle));
  }

  /** How often it was opened: who has read before the last time may have missed something. */
  get openings(): number {
    return this.#openings;
  }

  /** Begins to hold a read transaction, again when it was given up. */
  async open(): Promise<void> {
    try {
      this.pageSize = (await native.walOpen(this.#source)).pageSize;
      this.#openings++;
    } catch (cause) {
      const message = messageOf(cause);
      const isMode = message.includes("journal_mode");
      throw new ReplicaError(isMode ? "SHIP_UNSUPPORTED" : "SQLITE", message, { cause });
    }
  }

  /**
   * `onCommit` is called soon after a commit of the application's own connection: after the first
   * one since the WAL was read, and after the one that made it longer by `bytesMany` (`hasMany`).
   */
  watch(
    { bytesMany, bytesMax }: { bytesMany: number; bytesMax: number },
    onCommit: (hasMany: boolean) => void,
  ): void {
    const frames = (bytes: number) =>
      Math.min(Math.max(Math.floor(bytes / this.frameBytes), 16), 0x7fff_ffff);
    const [many, max] = [frames(bytesMany), frames(bytesMax)];
    native.walWatch(this.handle, this.#source, many, max, onCommit);
  }

  /** Whether anybody may have committed since it was read last. */
  hasMoved(): boolean {
    return native.walHasMoved(this.#source);
  }

  unwatch(): void {
    native.walUnwatch(this.handle);
  }

  get frameBytes(): number {
    return frameHeadBytes + this.pageSize;
  }

  /** Where frames behind `place` begin, in bytes. */
  offsetOf(place: WalPlace): number {
    return walHeadBytes + frameOf(place) * this.frameBytes;
  }

  async next(exact: boolean): Promise<WalEnd | undefined> {
    const { broken, end } = await native.walNext(this.#source, exact ? 1 : 0);
    return broken ? undefined : { place: end.slice(3), words: end };
  }

  async letGo(which: "older" | "newer"): Promise<void> {
    await native.walLetGo(this.#source, which === "newer" ? 1 : 0);
  }

  /** What was committed behind `from`, in a database that had `before` pages then. */
  async changes(from: WalPlace, before: number, end: WalEnd): Promise<WalPages | undefined> {
    return pagesOf(await native.walScan(this.#source, before, from, end.words));
  }

  /** All pages as they are at `end`, which must be exact. */
  async all(end: WalEnd): Promise<WalPages | undefined> {
    const begin = Uint32Array.of(...saltsOf(end.place), 0, 0, 0);
    return pagesOf(await native.walScan(this.#source, 0, begin, end.words));
  }

  /** @throws WalBroken when the WAL began anew and not all pages were asked for */
  async *read(
    { numbers, frames }: Pick<WalPages, "numbers" | "frames">,
    place: WalPlace,
    whole: boolean,
  ): AsyncGenerator<PageBatch, void, undefined> {
    const step = batchPagesOf(this.pageSize, readBytes);
    for (let at = 0; at < numbers.length; at += step) {
      const some = numbers.slice(at, at + step);
      const data = Buffer.allocUnsafeSlow(some.length * this.pageSize);
      const there = frames.slice(at, at + step);
      const flag = whole ? 1 : 0;
      const answer = await native.walPages(this.#source, flag, place, some, there, data);
      if (answer.broken) throw new WalBroken();
      yield { numbers: some, data };
    }
  }

  /**
   * Writes the WAL back, and lets the next writer begin it anew (`moved`). What was committed since
   * `place` comes with it: it may be gone from the WAL, and nobody else has it.
   */
  async checkpoint(barrier: Barrier, place: WalPlace, before: number): Promise<WalCheckpoint> {
    const kind = barriers.indexOf(barrier);
    const answer = await native.walCheckpoint(this.#source, kind, place, before);
    const { moved, end, data } = answer;
    const pages = pagesOf(answer);
    if (pages === undefined || pages.commits === 0) return { moved };
    return { moved, carried: { end: { place: end.slice(3), words: end }, pages, data } };
  }

  async close(): Promise<void> {
    await native.walClose(this.#source);
  }
}

function pagesOf({ broken, pages, frames, commits, size }: WalAnswer): WalPages | undefined {
  return broken ? undefined : { numbers: pages, frames, commits, size };
}
