/** LTX files for followers: what was committed, as it was, and what one lacks that fell behind. */
import { Change } from "../change.ts";
import type { Captured } from "../ship/capture.ts";
import type { CaptureLoop } from "../ship/capture-loop.ts";
import type { QueuedFile, StateFolder } from "../ship/state-folder.ts";

/** One that reads a file keeps it there until it lets go. */
export interface HeldFile {
  readonly file: QueuedFile;
  users: number;
  /** Nobody will ask for it any more. */
  isDropped: boolean;
}

/** Up to where a follower has been sent files. */
export interface Reader {
  readonly sentTxid: number;
}

export class Feed {
  readonly #loop: CaptureLoop;
  readonly #folder: StateFolder;
  readonly #bytesMax: number;
  readonly #took: (captured: Captured) => void;
  readonly #readers = new Set<Reader>();
  readonly #news = new Change();
  /** In the order of their transactions; each follows the one before, or there is a gap. */
  #files: HeldFile[] = [];
  #bytes = 0;
  /** Made for a follower that lacks more: joined transactions, or all pages. */
  #joined: HeldFile[] = [];
  #isEnded = false;

  /** `took`: told of what is read for one who fell behind, to `add` it as all else that is read. */
  constructor(
    loop: CaptureLoop,
    folder: StateFolder,
    { bytesMax, took }: { bytesMax: number; took: (captured: Captured) => void },
  ) {
    this.#loop = loop;
    this.#folder = folder;
    this.#bytesMax = bytesMax;
    this.#took = took;
  }

  get hasReaders(): boolean {
    return this.#readers.size > 0;
  }

  /** Of files that some follower has not been sent. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Returns what ends it. */
  read(reader: Reader): () => void {
    this.#readers.add(reader);
    return () => {
      this.#readers.delete(reader);
      this.trim();
    };
  }

  /** Of everything that is read from the database. */
  add({ file }: Captured): void {
    if (file !== undefined) {
      this.#files.push({ file, users: 0, isDropped: false });
      this.#bytes += file.bytes;
      this.trim();
    }
    this.#news.tell();
  }

  /**
   * A file that begins there and leads at least to `reach`, as soon as there is one; it is there
   * until `release`. `undefined` when the feed has ended, or nobody waits for it any more.
   */
  async next(minTxid: number, reach: number, signal: AbortSignal): Promise<HeldFile | undefined> {
    while (!this.#isEnded && !signal.aborted) {
      const newest = this.#loop.capture?.state.txid ?? 0;
      if (newest >= Math.max(minTxid, reach)) {
        return this.#find(minTxid, reach) ?? (await this.#make(minTxid, reach));
      }
      await this.#news.next(signal);
    }
    return undefined;
  }

  release(held: HeldFile): void {
    held.users--;
    if (held.users > 0) return;
    if (this.#joined.includes(held)) this.#drop(held);
    else if (held.isDropped) this.#remove(held);
  }

  pathOf({ file }: HeldFile): string {
    return this.#folder.pathOf(file.name);
  }

  /** Drops what every follower has been sent, and what is too much to be kept for slow ones. */
  trim(): void {
    const sent = Math.min(...[...this.#readers].map(({ sentTxid }) => sentTxid));
    for (;;) {
      const [oldest] = this.#files;
      const isNeeded = oldest !== undefined && oldest.file.maxTxid > sent;
      const isTooMuch = this.#bytes > this.#bytesMax && this.#files.length > 1;
      if (oldest === undefined || (isNeeded && !isTooMuch)) return;
      this.#files.shift();
      this.#bytes -= oldest.file.bytes;
      this.#drop(oldest);
    }
  }

  /** Whoever waits gets nothing; files that nobody reads are deleted. */
  end(): void {
    this.#isEnded = true;
    this.#readers.clear();
    this.trim();
    this.#news.tell();
  }

  #find(minTxid: number, reach: number): HeldFile | undefined {
    const held = [...this.#files, ...this.#joined].find(
      ({ file }) => file.minTxid === minTxid && file.maxTxid >= reach,
    );
    if (held !== undefined) held.users++;
    return held;
  }

  /** From the database: all pages that changed since, once for all who ask for the same. */
  async #make(minTxid: number, reach: number): Promise<HeldFile> {
    return await this.#loop.inTurn(async () => {
      const made = this.#find(minTxid, reach);
      if (made !== undefined) return made;
      const capture = await this.#loop.started();
      const { file, captured } = await capture.pagesSince(minTxid);
      const held = { file, users: 1, isDropped: false };
      this.#joined.push(held);
      this.#took(captured);
      return held;
    });
  }

  #drop(held: HeldFile): void {
    held.isDropped = true;
    this.#joined = this.#joined.filter((each) => each !== held);
    if (held.users === 0) this.#remove(held);
  }

  #remove({ file }: HeldFile): void {
    // What stays is removed when the folder is opened again.
    this.#folder.removeFile(file.name).catch(() => {});
  }
}
