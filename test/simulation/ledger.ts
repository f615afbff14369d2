/**
 * What all peers together have written, seen from outside: which changeset each sequence stands
 * for, and which of them no fault may take away.
 */
import { crc32 } from "node:zlib";
import { ByteReader } from "../../src/log/bytes.ts";
import { native } from "../../src/native.ts";
import type { Held } from "./files.ts";
import type { Peer } from "./peer.ts";

const readBytes = 4 * 1024 * 1024;

export class Ledger {
  readonly #fail: (text: string) => void;
  readonly #payloads = new Map<string, number>();
  /** Highest sequence ever written, by origin. */
  readonly written = new Map<number, number>();
  /** Highest sequence that has to be everywhere in the end. */
  readonly guaranteed = new Map<number, number>();
  /** Sequences that another one has to follow before they are merged. */
  readonly #continues = new Set<string>();
  /** Read already, by peer and origin. */
  readonly #seen = new Map<Peer, Map<number, number>>();

  constructor(fail: (text: string) => void) {
    this.#fail = fail;
  }

  get changesets(): number {
    return this.#payloads.size;
  }

  /** Takes note of what a peer has written; returns its newest sequence. */
  record(peer: Peer): number {
    const { running } = peer;
    if (running === undefined) return 0;
    const [self] = running.replica.vector();
    if (self === undefined) return 0;
    const before = this.written.get(self.peerId) ?? 0;
    if (self.held > before) {
      this.written.set(self.peerId, self.held);
      this.guaranteed.set(self.peerId, self.held);
    }
    this.#read(peer, self.peerId, self.held);
    return self.held;
  }

  /** Whether what a peer says it holds is there, was written, and is what was written. */
  check(peer: Peer): void {
    const { running } = peer;
    if (running === undefined) return;
    for (const { peerId: origin, held, merged } of running.replica.vector()) {
      const written = this.written.get(origin) ?? 0;
      if (merged > held) this.#fail(`peer ${peer.number} merged ${origin}.${merged} of ${held}`);
      if (held > written) this.#fail(`peer ${peer.number} holds ${origin}.${held} of ${written}`);
      this.#read(peer, origin, held);
    }
  }

  /**
   * Whether the rest of the transaction is gone for ever: a large one is sent in parts, and its
   * origin may lose it before it has sent them all.
   */
  isCutOff(origin: number, held: number): boolean {
    return this.#continues.has(`${origin}.${held}`);
  }

  /** A file has lost something, or is gone: what nobody else has was never promised. */
  afterLoss(files: readonly Held[]): void {
    for (const [origin, sequence] of this.guaranteed) {
      const held = Math.max(0, ...files.map((file) => file.get(origin) ?? 0));
      if (held < sequence) this.guaranteed.set(origin, held);
    }
  }

  /** The file has been set back or replaced: what it holds is read anew. */
  forget(peer: Peer): void {
    this.#seen.delete(peer);
  }

  #read(peer: Peer, origin: number, last: number): void {
    const { running } = peer;
    if (running === undefined) return;
    const seen = this.#seen.get(peer) ?? new Map<number, number>();
    this.#seen.set(peer, seen);
    for (let first = (seen.get(origin) ?? 0) + 1; first <= last; ) {
      const records = native.readLog(running.handle, origin, first, last, readBytes);
      const end = this.#compare(peer, records);
      if (end < first) {
        this.#fail(
          `peer ${peer.number} has no ${origin}.${first}, and says it holds up to ${last}`,
        );
        return;
      }
      first = end + 1;
      seen.set(origin, end);
    }
  }

  #compare(peer: Peer, records: Uint8Array): number {
    const reader = new ByteReader(records);
    let sequence = 0;
    while (reader.remaining > 0) {
      const origin = reader.varint();
      sequence = reader.varint();
      const timestamp = reader.varint();
      const payload = reader.bytes(reader.varint());
      const name = `${origin}.${sequence}`;
      const sum = crc32(payload, timestamp % 2 ** 32);
      const known = this.#payloads.get(name);
      if (((payload[1] ?? 0) & 1) !== 0) this.#continues.add(name);
      if (known === undefined) this.#payloads.set(name, sum);
      else if (known !== sum) this.#fail(`peer ${peer.number} has another ${name}: used twice`);
    }
    return sequence;
  }
}
