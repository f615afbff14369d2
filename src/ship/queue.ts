/** LTX files that wait for storages, in the order of their transactions. */
import type { QueuedFile, StateFolder } from "./state-folder.ts";

export class Queue {
  readonly #folder: StateFolder;
  #files: QueuedFile[] = [];
  /** Made for one storage that lacks more than the others; the same transactions, joined. */
  #catchUps: QueuedFile[] = [];
  #bytes = 0;
  #last: QueuedFile | undefined;

  constructor(folder: StateFolder) {
    this.#folder = folder;
  }

  get files(): readonly QueuedFile[] {
    return this.#files;
  }

  get bytes(): number {
    return this.#bytes;
  }

  add(...files: readonly QueuedFile[]): void {
    for (const file of files) {
      this.#files.push(file);
      this.#bytes += file.bytes;
    }
  }

  addCatchUp(file: QueuedFile): void {
    this.#catchUps.push(file);
  }

  has(name: string): boolean {
    return [...this.#files, ...this.#catchUps].some((file) => file.name === name);
  }

  /** The file that begins there. */
  find(minTxid: number): QueuedFile | undefined {
    return [...this.#files, ...this.#catchUps].find((file) => file.minTxid === minTxid);
  }

  /** When the last transaction of a file was that is there or was the last one to go. */
  timeOf(txid: number): number | undefined {
    const known = [...this.#files, ...this.#catchUps, ...(this.#last ? [this.#last] : [])];
    return known.find((file) => file.maxTxid === txid)?.timestampMs;
  }

  /** When the oldest of those was that wait and have more than `txid`; `undefined` without any. */
  oldestAfter(txid: number): number | undefined {
    return this.#files.find((file) => file.maxTxid > txid)?.timestampMs;
  }

  /** Every storage has the transactions up to `txid`. */
  async forget(txid: number): Promise<void> {
    const isDone = (file: QueuedFile) => file.maxTxid <= txid;
    const done = [...this.#files, ...this.#catchUps].filter(isDone);
    this.#last = done.at(-1) ?? this.#last;
    this.#files = this.#files.filter((file) => !isDone(file));
    this.#catchUps = this.#catchUps.filter((file) => !isDone(file));
    this.#bytes = this.#files.reduce((sum, { bytes }) => sum + bytes, 0);
    for (const { name } of done) await this.#folder.removeFile(name);
  }

  /** It is not there any more. */
  drop({ name }: QueuedFile): void {
    this.#files = this.#files.filter((file) => file.name !== name);
    this.#catchUps = this.#catchUps.filter((file) => file.name !== name);
    this.#bytes = this.#files.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** Gives up all files; an upload that is under way finds its file gone, or ends well. */
  async clear(): Promise<void> {
    const files = this.#files;
    this.#files = [];
    this.#bytes = 0;
    for (const { name } of files) await this.#folder.removeFile(name);
  }
}
