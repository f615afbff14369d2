/** Pages on their way into or out of an LTX file: many at a time, and in the order of a file. */
import { ReplicaError } from "../errors.ts";
import { native } from "../native.ts";
import { isSnapshot, type LtxHeader, lastPageOf, lockPageOf } from "./header.ts";

/** Some pages: their numbers, and their contents one after the other. */
export interface PageBatch {
  readonly numbers: Uint32Array;
  /** `numbers.length * pageSize` bytes. */
  readonly data: Uint8Array;
}

/** About the size of a batch: what one thread packs or unpacks at a stretch. */
export const batchBytes: number = 256 * 1024;

/** The number of pages in a full batch. */
export function batchPagesOf(pageSize: number, bytes: number = batchBytes): number {
  return Math.max(1, Math.floor(bytes / pageSize));
}

/**
 * For each page the checksum of its number and content. All of a database's, except its lock
 * page's, combined by exclusive or, with the highest bit set, are the database's checksum.
 */
export async function pageChecksums(batch: PageBatch, pageSize: number): Promise<BigUint64Array> {
  const checksums = new BigUint64Array(batch.numbers.length);
  if (checksums.length === 0) return checksums;
  await native.checksumLtxPages(pageSize, batch.numbers, batch.data, checksums);
  return checksums;
}

/** Holds a file to its order: rising page numbers, and every page where it is a snapshot. */
export class PageOrder {
  readonly #header: LtxHeader;
  readonly #lockPage: number;
  readonly #fail: (what: string) => ReplicaError;
  #last = 0;

  constructor(header: LtxHeader, name: string) {
    this.#header = header;
    this.#lockPage = lockPageOf(header.pageSize);
    this.#fail = (what) => new ReplicaError("LTX_CORRUPT", `${name}: ${what}`);
  }

  /** @throws `LTX_CORRUPT` */
  check(numbers: Uint32Array): void {
    const { commit } = this.#header;
    const isWhole = isSnapshot(this.#header);
    for (const number of numbers) {
      if (number <= this.#last) throw this.#fail(`page ${number} follows page ${this.#last}`);
      if (number > commit) throw this.#fail(`page ${number} is beyond the end, page ${commit}`);
      if (number === this.#lockPage) throw this.#fail(`it has the lock page, ${number}`);
      if (isWhole && number !== this.#next()) throw this.#missing();
      this.#last = number;
    }
  }

  /** @throws `LTX_CORRUPT` */
  checkEnd(): void {
    if (isSnapshot(this.#header) && this.#last !== lastPageOf(this.#header)) throw this.#missing();
  }

  #next(): number {
    return this.#last + 1 === this.#lockPage ? this.#last + 2 : this.#last + 1;
  }

  #missing(): ReplicaError {
    return this.#fail(`it is a snapshot and page ${this.#next()} is missing`);
  }
}
