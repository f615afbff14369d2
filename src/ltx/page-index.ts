/** The index behind the page blocks: where in the file each page's block is. */

/** Page number, offset and size, at seven bits a byte. */
const entryBytesMax = 5 + 8 + 5;

/** Grows by what a page takes in the file: about ten bytes. */
export class PageIndexWriter {
  #bytes = new Uint8Array(4096);
  #size = 0;
  /** Of the next block, from the beginning of the file. */
  #offset: number;

  constructor(offset: number) {
    this.#offset = offset;
  }

  get offset(): number {
    return this.#offset;
  }

  /** `sizes`: bytes of the blocks of pages `numbers`, heads included. */
  append(numbers: Uint32Array, sizes: Uint32Array): void {
    this.#reserve(numbers.length * entryBytesMax);
    numbers.forEach((number, i) => {
      const size = sizes[i] ?? 0;
      this.#varint(number);
      this.#varint(this.#offset);
      this.#varint(size);
      this.#offset += size;
    });
  }

  /** The index with its end mark and, as eight bytes, its own length. */
  finish(): Uint8Array {
    this.#reserve(1 + 8);
    this.#varint(0);
    new DataView(this.#bytes.buffer).setBigUint64(this.#size, BigInt(this.#size));
    return this.#bytes.subarray(0, this.#size + 8);
  }

  #reserve(bytes: number): void {
    if (this.#size + bytes <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(this.#bytes.length * 2, this.#size + bytes));
    grown.set(this.#bytes.subarray(0, this.#size));
    this.#bytes = grown;
  }

  #varint(value: number): void {
    let rest = value;
    for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) {
      this.#bytes[this.#size++] = (rest % 0x80) | 0x80;
    }
    this.#bytes[this.#size++] = rest;
  }
}
