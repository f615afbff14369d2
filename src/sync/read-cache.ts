/**
 * What was read from the log last. Links at the same place ask for the same changesets, which never
 * change: one commit costs one read, however many links there are.
 */
export interface LogRange {
  readonly origin: number;
  readonly first: number;
  readonly last: number;
  readonly bytesMax: number;
}

const entriesMax = 8;
const entryBytesMax = 256 * 1024;

export class ReadCache {
  readonly #read: (range: LogRange) => Uint8Array;
  readonly #records = new Map<string, Uint8Array>();

  constructor(read: (range: LogRange) => Uint8Array) {
    this.#read = read;
  }

  read(range: LogRange): Uint8Array {
    const key = `${range.origin} ${range.first} ${range.last} ${range.bytesMax}`;
    const known = this.#records.get(key);
    if (known !== undefined) return known;
    const records = this.#read(range);
    if (records.byteLength === 0 || records.byteLength > entryBytesMax) return records;
    for (const oldest of this.#records.keys()) {
      if (this.#records.size < entriesMax) break;
      this.#records.delete(oldest);
    }
    this.#records.set(key, records);
    return records;
  }

  clear(): void {
    this.#records.clear();
  }
}
