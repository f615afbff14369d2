/** From the WAL into files: what was committed since, or what differs, or everything. */
import type { Clock } from "../clock.ts";
import { ReplicaError } from "../errors.ts";
import { batchPagesOf, type LtxHeader, type PageBatch, pageChecksums } from "../ltx/index.ts";
import { encodeLtx } from "../ltx/writer.ts";
import type { PageChanges, PageMap } from "./page-map.ts";
import type { RebaseReason } from "./shipper-events.ts";
import { type QueuedFile, queuedName, type ShipState, type StateFolder } from "./state-folder.ts";
import {
  type Barrier,
  type Carried,
  frameOf,
  hasSalts,
  isSamePlace,
  saltsOf,
  type Wal,
  WalBroken,
  type WalEnd,
  type WalPages,
  type WalPlace,
  walHeadBytes,
} from "./wal.ts";

export interface Rebased {
  readonly reason: RebaseReason;
  readonly txid: number;
  readonly pages: number;
}

export interface Captured {
  readonly file?: QueuedFile;
  readonly commits: number;
  readonly rebased?: Rebased;
  /** Of the WAL that is in use. */
  readonly walBytes: number;
}

/** Of what another one reads by the way. */
export interface GuestHost {
  took(captured: Captured): void;
  /** It has missed something, and compares all pages with its next reading. */
  lost(error?: unknown): void;
}

/**
 * Where the WAL is read and the folder written. One call at a time, also of those that share a WAL:
 * one of them holds its beginning, and the others are its guests. What that one has read may go, so
 * guests read as far before; what they read of themselves stays.
 */
export class Capture {
  readonly #wal: Wal;
  readonly #folder: StateFolder;
  readonly #clock: Clock;
  #map: PageMap;
  #state: ShipState;
  /** Of the database at that state, in pages: the map is ahead of it when a write has failed. */
  #size: number;
  #isLost = false;
  /** Those of the WAL when it was read last. */
  #openings: number;
  readonly #isGuest: boolean;
  readonly #guests = new Map<Capture, GuestHost>();

  constructor(
    wal: Wal,
    folder: StateFolder,
    clock: Clock,
    start: { state: ShipState; map: PageMap; isGuest: boolean },
  ) {
    this.#wal = wal;
    this.#folder = folder;
    this.#clock = clock;
    this.#state = start.state;
    this.#map = start.map;
    this.#size = start.map.size;
    this.#openings = wal.openings;
    this.#isGuest = start.isGuest;
  }

  get state(): ShipState {
    return this.#state;
  }

  get map(): PageMap {
    return this.#map;
  }

  /** Until what is returned is called. */
  addGuest(guest: Capture, host: GuestHost): () => void {
    this.#guests.set(guest, host);
    return () => this.#guests.delete(guest);
  }

  /** Goes on after a restart, unless frames read before are not those in the WAL any more. */
  async resume(): Promise<Captured | undefined> {
    const end = await this.#wal.next(false);
    if (end === undefined) return undefined;
    const { place } = this.#state;
    const isSame = frameOf(place) > 0 && hasSalts(place, end.place);
    return await this.#held(end, async () => (isSame ? await this.#changesTo(end) : undefined));
  }

  /** Everything that is committed. */
  async changes(): Promise<Captured> {
    if (this.#hasGap) return await this.rebase("wal");
    const end = await this.#wal.next(false);
    const captured = end && (await this.#held(end, () => this.#changesTo(end)));
    return captured ?? (await this.rebase("wal"));
  }

  /** Compares all pages, and makes those that differ the next transaction; then does `also`. */
  async rebase(
    reason: RebaseReason,
    also: (end: WalEnd) => Promise<boolean> = () => Promise.resolve(true),
  ): Promise<Captured> {
    // If it fails, what was committed meanwhile may be gone from the WAL when it is tried again.
    this.#isLost = true;
    let end = await this.#wal.next(true).catch((error: unknown) => {
      // Others would have a gap if it were opened anew.
      if (this.#isGuest) throw error;
      return undefined;
    });
    if (end === undefined) {
      await this.#wal.letGo("newer");
      await this.#wal.open();
      end = await this.#wal.next(true);
    }
    const at = end;
    const compare = async (to: WalEnd) => {
      const pages = await this.#compare(to);
      return pages !== undefined && (await also(to)) ? pages : undefined;
    };
    const rebased = at === undefined ? undefined : await this.#held(at, () => compare(at));
    if (at === undefined || rebased === undefined) throw walTooFast();
    this.#isLost = false;
    this.#openings = this.#wal.openings;
    const { txid } = this.#state;
    return { commits: 0, rebased: { reason, txid, pages: rebased }, walBytes: this.#used(at) };
  }

  /**
   * A file of transactions `minTxid` up to now: all pages that changed since, from the database.
   * With 1 a snapshot.
   */
  async pagesSince(minTxid: number): Promise<{ file: QueuedFile; captured: Captured }> {
    const end = this.#hasGap ? undefined : await this.#wal.next(true);
    const made = end && (await this.#held(end, () => this.#since(minTxid, end)));
    if (made !== undefined) return made;
    let file: QueuedFile | undefined;
    // With the same readers: under a load that gives up the WAL again there would be another gap.
    const captured = await this.rebase("wal", async (at) => {
      file = (await this.#since(minTxid, at))?.file;
      return file !== undefined;
    });
    if (file === undefined) throw walTooFast();
    return { file, captured };
  }

  /** Bounds the WAL; see `Wal.checkpoint`. */
  async checkpoint(barrier: Barrier): Promise<{ moved: boolean; captured?: Captured }> {
    const { place } = this.#state;
    const { moved, carried } = await this.#wal.checkpoint(barrier, place, this.#size);
    if (carried === undefined) return { moved };
    try {
      return { moved, captured: await this.#keepCarried(carried) };
    } finally {
      for (const [guest, host] of this.#guests) {
        await guest.#readAsGuest(host, async () => {
          return isSamePlace(guest.#state.place, place) ? guest.#keepCarried(carried) : undefined;
        });
      }
    }
  }

  /** Frames that were to be read may have been replaced. */
  get #hasGap(): boolean {
    return this.#isLost || this.#openings !== this.#wal.openings;
  }

  async #keepCarried({ end, pages, data }: Carried): Promise<Captured> {
    // Nobody else has them: unless they are kept now, all pages have to be compared.
    this.#isLost = true;
    const captured = await this.#keep(pages, end, batchesOf(pages, data, this.#wal.pageSize));
    this.#isLost = false;
    return captured;
  }

  /** What fails is the guest's, and holds nobody up. */
  async #readAsGuest(host: GuestHost, read: () => Promise<Captured | undefined>): Promise<void> {
    if (this.#hasGap) return;
    this.#isLost = true;
    try {
      const captured = await read();
      if (captured === undefined) return host.lost();
      this.#isLost = false;
      host.took(captured);
    } catch (error) {
      host.lost(error instanceof WalBroken ? undefined : error);
    }
  }

  /** Runs while two readers are held; the newer one stays if all before it has been read. */
  async #held<T>(end: WalEnd, work: () => Promise<T | undefined>): Promise<T | undefined> {
    let unneeded: "older" | "newer" = "newer";
    try {
      const result = await work();
      if (result === undefined || this.#isGuest) return result;
      for (const [guest, host] of this.#guests) {
        await guest.#readAsGuest(host, () => guest.#changesTo(end));
      }
      unneeded = "older";
      return result;
    } catch (error) {
      if (error instanceof WalBroken) return undefined;
      throw error;
    } finally {
      await this.#wal.letGo(unneeded);
    }
  }

  async #changesTo(end: WalEnd): Promise<Captured | undefined> {
    const found = await this.#wal.changes(this.#state.place, this.#size, end);
    if (found === undefined) return undefined;
    if (found.commits > 0) {
      return await this.#keep(found, end, this.#wal.read(found, end.place, false));
    }
    await this.#moveTo(end.place);
    return { commits: 0, walBytes: this.#used(end) };
  }

  /** Makes a file of commits; they count when the state has been replaced. */
  async #keep(found: WalPages, end: WalEnd, batches: AsyncIterable<PageBatch>): Promise<Captured> {
    const { place, txid, pageSize } = this.#state;
    const timestampMs = this.#clock.now();
    const offset = hasSalts(place, end.place) ? this.#wal.offsetOf(place) : walHeadBytes;
    const [salt1, salt2] = saltsOf(end.place);
    const header: LtxHeader = {
      pageSize,
      commit: found.size,
      minTxid: txid + 1,
      maxTxid: txid + found.commits,
      timestampMs,
      wal: { offset, size: this.#wal.offsetOf(end.place) - offset, salt1, salt2 },
    };
    const { file, changes } = await this.#write(header, found.numbers, batches, true);
    const state = { txid: header.maxTxid, timestampMs, pageSize, place: end.place };
    try {
      await this.#folder.log({ state, after: txid, changes });
    } catch (error) {
      // It is read from the WAL again, maybe with more behind it.
      await this.#folder.removeFile(file.name);
      throw error;
    }
    this.#state = state;
    this.#size = found.size;
    if (this.#folder.isLogLong(this.#map)) await this.#folder.save(state, this.#map);
    return { file, commits: found.commits, walBytes: this.#used(end) };
  }

  /** Writes pages into a file, and takes them into the map when they are new to it. */
  async #write(
    header: LtxHeader,
    numbers: Uint32Array,
    batches: AsyncIterable<PageBatch>,
    isNew: boolean,
  ): Promise<{ file: QueuedFile; changes: PageChanges }> {
    const checksums = new BigUint64Array(numbers.length);
    let at = 0;
    const summing = async function* (): AsyncGenerator<PageBatch, void, undefined> {
      for await (const batch of batches) {
        const sums = await pageChecksums(batch, header.pageSize);
        checksums.set(sums, at);
        at += sums.length;
        yield batch;
      }
    };
    const { minTxid, maxTxid, timestampMs, commit } = header;
    const changes = { txid: maxTxid, size: commit, numbers, checksums };
    let facts: Omit<QueuedFile, "name" | "bytes"> | undefined;
    const nameOf = () => {
      if (facts === undefined) {
        if (isNew) this.#map.apply(changes);
        const { checksum } = this.#map;
        facts = { minTxid, maxTxid, timestampMs, pages: commit, checksum };
      }
      return queuedName(facts);
    };
    const pieces = encodeLtx(header, summing());
    const { name, bytes } = await this.#folder.writeFile(pieces, nameOf);
    const file = { ...(facts ?? { minTxid, maxTxid, timestampMs, pages: commit, checksum: 0n }) };
    return { file: { ...file, name, bytes }, changes };
  }

  async #compare(end: WalEnd): Promise<number | undefined> {
    const found = await this.#wal.all(end);
    if (found === undefined) return undefined;
    const pageSize = this.#wal.pageSize;
    const numbers: number[] = [];
    const sums: bigint[] = [];
    for await (const batch of this.#wal.read(found, end.place, true)) {
      const checksums = await pageChecksums(batch, pageSize);
      batch.numbers.forEach((number, i) => {
        const checksum = checksums[i] ?? 0n;
        if (number <= this.#map.size && this.#map.checksumOf(number) === checksum) return;
        numbers.push(number);
        sums.push(checksum);
      });
    }
    let { txid, timestampMs } = this.#state;
    // What was read and could not be kept counts as changed, too.
    const isAhead = this.#map.txid > txid;
    if (numbers.length > 0 || found.size !== this.#map.size || isAhead) {
      txid = Math.max(txid + 1, this.#map.txid);
      timestampMs = this.#clock.now();
      const checksums = BigUint64Array.from(sums);
      this.#map.apply({ txid, size: found.size, numbers: Uint32Array.from(numbers), checksums });
    }
    const state = { txid, timestampMs, pageSize, place: end.place };
    await this.#folder.save(state, this.#map);
    this.#state = state;
    this.#size = found.size;
    return numbers.length;
  }

  async #since(
    minTxid: number,
    end: WalEnd,
  ): Promise<{ file: QueuedFile; captured: Captured } | undefined> {
    const captured = await this.#changesTo(end);
    if (captured === undefined) return undefined;
    const found = await this.#wal.all(end);
    if (found === undefined) return undefined;
    const pages = only(found, minTxid === 1 ? found.numbers : this.#map.changedSince(minTxid - 1));
    const { txid, timestampMs, pageSize } = this.#state;
    const header = { pageSize, commit: found.size, minTxid, maxTxid: txid, timestampMs };
    const batches = this.#wal.read(pages, end.place, true);
    const { file } = await this.#write(header, pages.numbers, batches, false);
    return { captured, file };
  }

  /** Nothing was committed, but the WAL may have begun anew. */
  async #moveTo(place: WalPlace): Promise<void> {
    if (isSamePlace(this.#state.place, place)) return;
    this.#state = { ...this.#state, place };
    await this.#folder.log({ state: this.#state, after: this.#state.txid });
  }

  #used(end: WalEnd): number {
    return this.#wal.offsetOf(end.place);
  }
}

/** A commit found the WAL longer than `walBytesMax`, and gave up what was being read. */
function walTooFast(): ReplicaError {
  return new ReplicaError("SQLITE", "the WAL became too long while all pages were read", {
    hint: "It is tried again; a larger walBytesMax leaves it more time.",
  });
}

/** Those of the pages that are asked for; both are in the order of their numbers. */
function only(
  { numbers, frames }: Pick<WalPages, "numbers" | "frames">,
  wanted: Uint32Array,
): Pick<WalPages, "numbers" | "frames"> {
  const found = new Uint32Array(wanted.length);
  let at = 0;
  wanted.forEach((number, i) => {
    while ((numbers[at] ?? number) < number) at++;
    found[i] = frames[at] ?? 0;
  });
  return { numbers: wanted, frames: found };
}

async function* batchesOf(
  { numbers }: WalPages,
  data: Uint8Array,
  pageSize: number,
): AsyncGenerator<PageBatch, void, undefined> {
  const step = batchPagesOf(pageSize);
  for (let at = 0; at < numbers.length; at += step) {
    const some = numbers.slice(at, at + step);
    yield { numbers: some, data: data.subarray(at * pageSize, (at + some.length) * pageSize) };
  }
}
