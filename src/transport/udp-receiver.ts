/** The receiving half of a UDP connection: which packets came, and the messages they make up. */

import { messageBytesMax } from "./transport.ts";
import { type Ack, type Data, fragmentBytesMax, windowMax } from "./udp-datagram.ts";

interface Assembly {
  readonly fragments: Uint8Array[];
  readonly count: number;
  missing: number;
}

/** One of the largest messages, and what may be on its way behind it. */
const assemblyBytesMax = messageBytesMax + 2 * windowMax * fragmentBytesMax;

export class UdpReceiver {
  /** The lowest packet that has not come. */
  #next = 0;
  /** The first that the other side has not been told to send. */
  #end = windowMax;
  /** Those beyond it that have. */
  readonly #beyond = new Set<number>();
  /** Messages that have begun to arrive, by the packet they begin with. */
  readonly #assemblies = new Map<number, Assembly>();
  #assemblyBytes = 0;

  /**
   * Takes a packet: gives the message that it completes, `undefined` for none, and "malformed" for
   * what no sound sender would send. Repeated packets are dropped, and so are those nobody wanted.
   */
  take({ packet, index, count, bytes }: Data): Uint8Array | "malformed" | undefined {
    if (packet < this.#next || packet >= this.#end) return undefined;
    if (this.#beyond.has(packet)) return undefined;
    const first = packet - index;
    const assembly = this.#assemblies.get(first) ?? { fragments: [], count, missing: count };
    this.#assemblies.set(first, assembly);
    this.#assemblyBytes += bytes.byteLength;
    const isSound =
      assembly.count === count &&
      this.#assemblies.size <= windowMax &&
      this.#assemblyBytes <= assemblyBytesMax;
    if (!isSound) return "malformed";
    assembly.fragments[index] = Uint8Array.from(bytes);
    assembly.missing -= 1;
    this.#advance(packet);
    if (assembly.missing > 0) return undefined;
    this.#assemblies.delete(first);
    return this.#join(assembly);
  }

  /** `isFull`: nothing more is wanted for now. */
  ack(isFull: boolean): Ack {
    if (!isFull) this.#end = this.#next + windowMax;
    const end = Math.max(this.#next, ...[...this.#beyond].map((packet) => packet + 1));
    const bitmap = new Uint8Array(Math.ceil((end - this.#next) / 8));
    for (const packet of this.#beyond) {
      const bit = packet - this.#next;
      bitmap[bit >> 3] = (bitmap[bit >> 3] ?? 0) | (1 << (bit & 7));
    }
    return { kind: "ack", next: this.#next, window: isFull ? 0 : windowMax, bitmap };
  }

  #advance(packet: number): void {
    this.#beyond.add(packet);
    while (this.#beyond.delete(this.#next)) this.#next += 1;
  }

  #join({ fragments }: Assembly): Uint8Array {
    const size = fragments.reduce((sum, { byteLength }) => sum + byteLength, 0);
    this.#assemblyBytes -= size;
    const message = new Uint8Array(size);
    fragments.forEach((fragment, index) => {
      message.set(fragment, index * fragmentBytesMax);
    });
    return message;
  }
}
