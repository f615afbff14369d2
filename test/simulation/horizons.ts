/** Whether trimming takes only what it may, and whether what is known of peers is true. */
import type { KnownPeer } from "../../src/log/trim.ts";
import { type Ledger, trimmedOf } from "./ledger.ts";
import type { Peer, Running } from "./peer.ts";

/** What a peer knew and had at the last look. */
interface Before {
  readonly trimmed: ReadonlyMap<number, number>;
  readonly known: readonly KnownPeer[];
}

/** Where timestamps count from, by `docs/format.md`. */
const epochMs = Date.UTC(2025, 0, 1);

export class Horizons {
  readonly #ledger: Ledger;
  readonly #fail: (text: string) => void;
  readonly #before = new Map<Peer, Before>();

  constructor(ledger: Ledger, fail: (text: string) => void) {
    this.#ledger = ledger;
    this.#fail = fail;
  }

  look(peers: readonly Peer[], changed: readonly Peer[]): void {
    const byId = new Map(peers.filter(({ gone }) => !gone).map((peer) => [peer.lastId, peer]));
    for (const peer of changed) {
      if (peer.running === undefined) continue;
      const known = peer.running.replica.peers();
      this.#checkKnown(peer, known, byId);
      this.#checkTrimmed(peer, peer.running, { known, byId });
    }
  }

  /** The file is not what it was. */
  forget(peer: Peer): void {
    this.#before.delete(peer);
  }

  /** Nobody is thought to hold what it does not. */
  #checkKnown(peer: Peer, known: readonly KnownPeer[], byId: ReadonlyMap<number, Peer>): void {
    for (const { peerId, vector } of known) {
      const other = byId.get(peerId);
      if (other === undefined || this.#ledger.forked.has(peerId)) continue;
      for (const [origin, sequence] of vector) {
        const held = other.held.get(origin) ?? 0;
        if (held >= sequence || this.#ledger.forked.has(origin)) continue;
        if (this.#ledger.givenUp.has(origin)) continue;
        this.#fail(
          `peer ${peer.number} thinks that ${other.number} holds ${origin}.${sequence} of ${held}`,
        );
      }
    }
  }

  #checkTrimmed(
    peer: Peer,
    running: Running,
    now: { known: readonly KnownPeer[]; byId: ReadonlyMap<number, Peer> },
  ): void {
    const trimmed = trimmedOf(running.handle);
    const before = this.#before.get(peer);
    this.#before.set(peer, { trimmed, known: now.known });
    if (before === undefined) return;
    const waitingFor = before.known.filter(
      ({ peerId, forgotten }) =>
        !forgotten &&
        !this.#ledger.forked.has(peerId) &&
        now.known.some((one) => one.peerId === peerId && !one.forgotten),
    );
    for (const [origin, sequence] of trimmed) {
      if (sequence <= (before.trimmed.get(origin) ?? 0)) continue;
      // Rows came instead of the log, which never was here.
      if (sequence <= (peer.transferred.get(origin) ?? 0)) continue;
      if (this.#ledger.forked.has(origin)) continue;
      const lacking = waitingFor
        .map(({ peerId }) => now.byId.get(peerId))
        .find((one) => one !== undefined && (one.held.get(origin) ?? 0) < sequence);
      if (this.#isOld(peer, origin, sequence)) continue;
      const { trim } = peer.plan;
      const isHeld = (trim === "held" || trim === "either") && lacking === undefined;
      if (isHeld) continue;
      const who = lacking === undefined ? "" : `, which ${lacking.number} lacks`;
      this.#fail(`peer ${peer.number} trimmed ${origin}.${sequence} too early (${trim})${who}`);
    }
    if (waitingFor.length > 0) this.#checkOwn(peer, trimmed, before.trimmed);
  }

  #isOld(peer: Peer, origin: number, sequence: number): boolean {
    const { trim, retentionMs } = peer.plan;
    if (trim !== "age" && trim !== "either") return false;
    const stampedMs = this.#ledger.stampedMs(origin, sequence);
    // Its log was trimmed everywhere before anyone looked.
    if (stampedMs === undefined) return true;
    return stampedMs + epochMs <= peer.clock.latestMs - retentionMs;
  }

  /** What a peer wrote stays until another one has it. */
  #checkOwn(
    peer: Peer,
    trimmed: ReadonlyMap<number, number>,
    before: ReadonlyMap<number, number>,
  ): void {
    const { peerId } = peer;
    const sequence = trimmed.get(peerId) ?? 0;
    if (sequence <= (before.get(peerId) ?? 0) || this.#ledger.forked.has(peerId)) return;
    const elsewhere = this.#ledger.elsewhere.get(peerId) ?? 0;
    if (sequence <= elsewhere) return;
    this.#fail(`peer ${peer.number} trimmed its own ${sequence}, and others hold ${elsewhere}`);
  }
}
