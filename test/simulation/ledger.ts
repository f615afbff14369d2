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
  /** Ids that stand for two histories: files were set back in place, or cloned while in use. */
  readonly forked = new Set<number>();
  /** Two peers have merged different histories of one id in part: they may differ for ever. */
  mixed: string | undefined;
  /** What others than the owner have of a forked id's changesets. */
  readonly #handedOn = new Map<string, number>();
  readonly #owners = new Map<number, number>();
  readonly #timestamps = new Map<string, number>();
  /** Highest sequence of an origin that any other peer has ever held. */
  readonly elsewhere = new Map<number, number>();
  /** Origins of which a file has given changesets up, after it had issued their rows again. */
  readonly givenUp = new Set<number>();
  /** Read already, by peer and origin. */
  readonly #seen = new Map<Peer, Map<number, number>>();

  readonly #floors: boolean;

  /** `floors`: changesets may be given up. */
  constructor(fail: (text: string) => void, { floors = false } = {}) {
    this.#fail = fail;
    this.#floors = floors;
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
      if (!this.forked.has(self.peerId)) this.guaranteed.set(self.peerId, self.held);
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
      if (origin !== peer.peerId) {
        this.elsewhere.set(origin, Math.max(this.elsewhere.get(origin) ?? 0, held));
      }
      if (this.#floors) this.#noteGivenUp(peer, origin, held);
      this.#read(peer, origin, held);
    }
  }

  #noteGivenUp(peer: Peer, origin: number, held: number): void {
    const seen = this.#seen.get(peer);
    if ((seen?.get(origin) ?? 0) <= held) return;
    seen?.set(origin, held);
    this.givenUp.add(origin);
  }

  /** Rows that came instead of the log have no fingerprints that would tell two histories apart. */
  noteTransferred(peer: Peer): void {
    for (const origin of peer.transferred.keys()) {
      if (!this.forked.has(origin) || origin === peer.peerId) continue;
      this.mixed ??= `peer ${peer.number} has the state of one of two ${origin}`;
    }
  }

  /**
   * Whether all that is not merged belongs to a transaction whose rest is gone for ever: a large one
   * is sent in parts, and its origin may lose it before it has sent them all.
   */
  isCutOff(origin: number, merged: number, held: number): boolean {
    for (let sequence = held; sequence > merged; sequence--) {
      if (!this.#continues.has(`${origin}.${sequence}`)) return false;
    }
    return true;
  }

  /** What a changeset was stamped, in ms since 2025. */
  stampedMs(origin: number, sequence: number): number | undefined {
    const timestamp = this.#timestamps.get(`${origin}.${sequence}`);
    return timestamp === undefined ? undefined : Math.floor(timestamp / 8192);
  }

  /** From here on the id may stand for two histories. */
  fork(peerId: number): void {
    this.forked.add(peerId);
    this.guaranteed.delete(peerId);
  }

  /**
   * Changesets of a forked id may have been issued again under `peerId`. The file that wrote them
   * remembers the rows by the former id, so stamps of the two are the same.
   */
  reissued(former: number, peerId: number): void {
    if (this.forked.has(former)) this.#owners.set(peerId, this.ownerOf(former));
  }

  ownerOf(peerId: number): number {
    return this.#owners.get(peerId) ?? peerId;
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
    const trimmed = trimmedOf(running.handle).get(origin) ?? 0;
    for (let first = Math.max(seen.get(origin) ?? 0, trimmed) + 1; first <= last; ) {
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
      if (this.forked.has(origin)) this.#compareForked(peer, origin, { name, sum });
      else if (known !== undefined && known !== sum) {
        this.#fail(`peer ${peer.number} has another ${name}: used twice`);
      }
      if (known !== undefined) continue;
      this.#payloads.set(name, sum);
      this.#timestamps.set(name, timestamp);
    }
    return sequence;
  }

  /** Whoever goes by the id finds out in time. Third parties cannot know which history is right. */
  #compareForked(peer: Peer, origin: number, { name, sum }: { name: string; sum: number }): void {
    if (peer.peerId === origin) return;
    const other = this.#handedOn.get(name);
    if (other === undefined) this.#handedOn.set(name, sum);
    else if (other !== sum) this.mixed ??= `peer ${peer.number} has another ${name} than others`;
  }
}

/** Up to where a file's log is trimmed, by origin. */
export function trimmedOf(handle: number): Map<number, number> {
  const flat = native.horizon(handle);
  const trimmed = new Map<number, number>();
  for (let i = 0; i + 1 < flat.length; i += 2) trimmed.set(flat[i] ?? 0, flat[i + 1] ?? 0);
  return trimmed;
}
