/**
 * Reads what is committed to a database, soon after it was, one look at a time, and keeps its WAL
 * small. What is done with it is the host's: a shipper's, or that of whoever streams it. Where both
 * are wanted one loop is the other's guest: it reads the same WAL at its own pace, and leaves it to
 * the other one to hold it and to write it back. Two that hold it would hardly ever let go at once.
 */
import type { Clock } from "../clock.ts";
import { ReplicaError } from "../errors.ts";
import type { Capture, Captured } from "./capture.ts";
import type { ShipSettings } from "./options.ts";
import type { StateFolder } from "./state-folder.ts";
import { hasSalts, type Wal, type WalPlace } from "./wal.ts";
import { watchWal } from "./watch.ts";

export interface CaptureSource {
  /** The database's file, and the folder of whoever reads it. */
  readonly file: string;
  readonly folder: StateFolder;
  readonly wal: Wal;
}

export interface CaptureSettings
  extends Pick<
    ShipSettings,
    "intervalMs" | "pollMs" | "checkpointBytes" | "walBytesMax" | "retryMs" | "clock"
  > {
  /** Hears of commits of others by the file system too, sooner than by a look. @default false */
  readonly watches?: boolean;
}

export interface CaptureHost {
  /** How reading begins. Called again when it fails, unless that is final. */
  start(): Promise<{ capture: Capture; captured: Captured }>;
  /** Of everything that is read, in its order. */
  took(captured: Captured): void;
  checkpointed(): void;
  /** Reading failed; it is tried again after `retryMs`. */
  failed(error: unknown, retryMs: number): void;
  /** It is not tried again. */
  gaveUp(error: ReplicaError): void;
}

const retryMsMax = 60_000;
/**
 * The WAL is that many times too long when writers are kept out, so that it can begin anew: while
 * its end is written back, and where that was not enough while all of it is.
 */
const barrierFactor = 4;
const wholeFactor = 8;
/** Frames are in the WAL some time before their commit is: so often is looked for it. */
const looksMax = 4;
const lookAgainMs = 5;

export class CaptureLoop {
  readonly #source: CaptureSource;
  readonly #settings: CaptureSettings;
  readonly #host: CaptureHost;
  readonly #clock: Clock;
  #starting: Promise<Capture> | undefined;
  #capture: Capture | undefined;
  #startFailures = 0;
  #failures = 0;
  #isStopped = false;
  #hasBegun = false;
  #cancelStart: (() => void) | undefined;
  #turn: Promise<unknown> = Promise.resolve();
  /** A look that has not begun yet. */
  #waiting: Promise<void> | undefined;
  #cancelCapture: (() => void) | undefined;
  /** Reading failed, and is tried again when its time has come. */
  #isPausing = false;
  #cancelPoll: (() => void) | undefined;
  #unwatch: (() => void) | undefined;
  #looksLeft = 0;
  readonly #leader: CaptureLoop | undefined;
  readonly #guests = new Set<CaptureLoop>();
  #leave: (() => void) | undefined;

  /** As a guest of `leader`: with its WAL, and a folder of its own. Stopped before it is. */
  constructor(
    source: CaptureSource,
    settings: CaptureSettings,
    host: CaptureHost,
    leader?: CaptureLoop,
  ) {
    this.#source = source;
    this.#settings = settings;
    this.#host = host;
    this.#clock = settings.clock;
    this.#leader = leader;
  }

  /** Once reading has begun. */
  get capture(): Capture | undefined {
    return this.#capture;
  }

  /** Begins to read, now if it waits after a failure. Rejects as the host's `start` does. */
  started(): Promise<Capture> {
    if (this.#cancelStart !== undefined) {
      this.#cancelStart();
      this.#cancelStart = undefined;
      this.#starting = undefined;
    }
    this.#starting ??= this.#begin();
    return this.#starting;
  }

  /** Everything that was committed before the call has been read when it resolves. */
  async captureNow(): Promise<Capture> {
    const capture = await this.started();
    // One that waits for its turn will do for all who come meanwhile.
    this.#waiting ??= this.inTurn(async () => {
      this.#waiting = undefined;
      const captured = await capture.changes();
      this.#host.took(captured);
      if (this.#leader === undefined) await this.#checkpoint(capture, captured.walBytes);
      else this.#leader.#hearOf(captured, capture.state.place);
    });
    await this.#waiting;
    return capture;
  }

  /** One at a time touches the WAL and the state. */
  inTurn<T>(work: () => Promise<T>): Promise<T> {
    if (this.#leader !== undefined) return this.#leader.inTurn(work);
    const result = this.#turn.then(work);
    this.#turn = result.catch(() => {});
    return result;
  }

  /** Looks no more of itself. */
  stop(): void {
    this.#isStopped = true;
    this.#cancelStart?.();
    this.#cancelCapture?.();
    this.#cancelPoll?.();
    this.#unwatch?.();
    this.#leave?.();
  }

  /** After `stop`: lets go of the database. */
  letGo(): Promise<void> {
    // A leader that waits for its place has the turn, and a guest of it has nothing.
    if (this.#leader !== undefined && !this.#hasBegun) return Promise.resolve();
    return this.inTurn(async () => {
      const { wal, folder } = this.#source;
      const capture = this.#capture;
      if (this.#leader === undefined) wal.unwatch();
      // The WAL is left as it is: who comes soon finds its place there.
      try {
        const isKnown = capture !== undefined && capture.map.txid === capture.state.txid;
        if (isKnown) await folder.save(capture.state, capture.map);
      } finally {
        if (this.#leader === undefined) await wal.close();
      }
    });
  }

  /** Whoever waits for it hears of what fails; so does the host. Then it is tried again. */
  #begin(): Promise<Capture> {
    const starting = this.#startInTurn();
    starting.catch((error: unknown) => {
      if (this.#isStopped) return;
      if (error instanceof ReplicaError && /^SHIP_|UNSAFE$/.test(error.code)) {
        this.#host.gaveUp(error);
        return;
      }
      const retryMs = Math.min(this.#settings.retryMs * 2 ** this.#startFailures++, retryMsMax);
      this.#cancelStart = this.#clock.setTimer(retryMs, () => {
        this.started().catch(() => {});
      });
      this.#host.failed(error, retryMs);
    });
    return starting;
  }

  async #startInTurn(): Promise<Capture> {
    // It opens the WAL; in its turn, so before ours.
    await this.#leader?.started();
    return await this.inTurn(async () => {
      if (this.#leader !== undefined && this.#isStopped) {
        throw new ReplicaError("CLOSED", "it was closed before it began");
      }
      this.#hasBegun = true;
      return await this.#start();
    });
  }

  async #start(): Promise<Capture> {
    const { file } = this.#source;
    const { capture, captured } = await this.#host.start();
    this.#capture = capture;
    if (this.#leader === undefined) this.#listen();
    else if (!this.#isStopped) this.#leave = this.#join(this.#leader, capture);
    this.#host.took(captured);
    if (this.#isStopped) return capture;
    if (this.#settings.watches === true) this.#unwatch = watchWal(file, () => this.#hear());
    this.#poll();
    return capture;
  }

  /** To the bell that commits of the application's connection ring, for guests, too. */
  #listen(): void {
    const { checkpointBytes: bytesMany, walBytesMax: bytesMax } = this.#settings;
    this.#source.wal.watch({ bytesMany, bytesMax }, (hasMany) => {
      if (hasMany) this.#noteMany();
      else this.#note();
      for (const guest of this.#guests) guest.#note();
    });
  }

  /** From here on what the other one reads is read here, too. */
  #join(leader: CaptureLoop, capture: Capture): () => void {
    leader.#guests.add(this);
    const leave = leader.#capture?.addGuest(capture, {
      took: (captured) => this.#host.took(captured),
      lost: (error) => (error === undefined ? this.#note() : this.#failed(error)),
    });
    return () => {
      leader.#guests.delete(this);
      leave?.();
    };
  }

  /** A guest has read up to `place`, which this one has not. */
  #hearOf({ commits, walBytes }: Captured, place: WalPlace): void {
    const own = this.#capture?.state.place;
    if (commits === 0 || own === undefined) return;
    const { wal } = this.#source;
    const fresh = hasSalts(own, place) ? walBytes - wal.offsetOf(own) : walBytes;
    if (fresh >= this.#settings.checkpointBytes) this.#noteMany();
    else this.#note();
  }

  /** The WAL is being written. */
  #hear(): void {
    this.#looksLeft = looksMax;
    this.#note();
  }

  /** Commits were made: they are read when some time has passed. */
  #note(afterMs = this.#settings.intervalMs): void {
    if (this.#cancelCapture !== undefined || this.#isStopped) return;
    this.#cancelCapture = this.#clock.setTimer(afterMs, () => {
      this.#cancelCapture = undefined;
      this.#look().catch((error: unknown) => this.#failed(error));
    });
  }

  /** They are read at once, unless that has just failed: otherwise the WAL becomes long. */
  #noteMany(): void {
    if (this.#isPausing) return;
    this.#cancelCapture?.();
    this.#cancelCapture = undefined;
    this.#note(0);
  }

  async #look(): Promise<void> {
    const before = this.#capture?.state.txid;
    const { state } = await this.captureNow();
    this.#failures = 0;
    if (state.txid === before && this.#looksLeft-- > 0) this.#note(lookAgainMs);
  }

  #failed(error: unknown): void {
    if (this.#isStopped) return;
    // A guest compares all pages each time, in everybody's turn.
    const factor = this.#leader === undefined ? 1 : 2 ** this.#failures++;
    const retryMs = Math.min(this.#settings.retryMs * factor, retryMsMax);
    this.#host.failed(error, retryMs);
    this.#cancelCapture?.();
    this.#isPausing = true;
    this.#cancelCapture = this.#clock.setTimer(retryMs, () => {
      this.#isPausing = false;
      this.#cancelCapture = undefined;
      this.#note();
    });
  }

  /** Commits of others ring no bell, but show in the memory that SQLite shares with them. */
  #poll(): void {
    if (this.#isStopped) return;
    const waitMs = untilPoll(this.#clock, this.#settings.pollMs);
    this.#cancelPoll = this.#clock.setTimer(waitMs, () => {
      if (this.#source.wal.hasMoved()) this.#note();
      this.#poll();
    });
  }

  async #checkpoint(capture: Capture, walBytes: number): Promise<void> {
    const { checkpointBytes, walBytesMax, intervalMs } = this.#settings;
    if (walBytes < checkpointBytes) return;
    const isBeyond = (factor: number) =>
      walBytes >= Math.min(walBytesMax / 2, checkpointBytes * factor);
    const end = isBeyond(barrierFactor) ? "end" : "none";
    const barrier = isBeyond(wholeFactor) ? "whole" : end;
    try {
      const { moved, captured } = await capture.checkpoint(barrier);
      if (moved) this.#host.checkpointed();
      if (captured !== undefined) this.#host.took(captured);
    } catch (error) {
      // The next one may succeed; what was read is safe.
      this.#host.failed(error, intervalMs);
    }
  }
}

/** All databases are looked at in so many moments of a period: to wake up costs the most. */
const momentsOfPoll = 16;

function untilPoll(clock: Clock, pollMs: number): number {
  const now = clock.steady?.() ?? clock.now();
  const stepMs = pollMs / momentsOfPoll;
  return Math.floor((now + pollMs) / stepMs) * stepMs - now;
}
