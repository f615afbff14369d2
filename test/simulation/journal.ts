/**
 * Writes known by what they say, not by who numbered them how: a peer enters a number that nobody
 * else ever writes, and some peer that sees it may delete it later, once. So whatever becomes of
 * peer ids, logs and files, it is plain what must be there in the end, what must not, and what never
 * comes back.
 */
import type Database from "better-sqlite3";
import type { Peer } from "./peer.ts";
import { prepared } from "./statements.ts";

/** What a peer has been seen to show, and to show no more. */
interface Seen {
  readonly shown: Set<number>;
  readonly gone: Set<number>;
}

export class Journal {
  readonly #fail: (text: string) => void;
  readonly #seen = new Map<Peer, Seen>();
  readonly #entered = new Set<number>();
  readonly #erased = new Set<number>();
  /** No file is left that surely has these; some may have them all the same. */
  readonly #doubtful = new Set<number>();
  #last = 0;

  constructor(fail: (text: string) => void) {
    this.#fail = fail;
  }

  get entries(): number {
    return this.#entered.size;
  }

  /** A part of an open transaction; call what it returns when that has been committed. */
  enter(db: Database.Database, peer: Peer, erase: number | undefined): () => void {
    const id = ++this.#last;
    db.prepare("INSERT INTO journal VALUES (?, ?)").run(id, peer.number);
    const erased = erase === undefined ? undefined : anyOf(db, erase, id);
    if (erased !== undefined) db.prepare("DELETE FROM journal WHERE id = ?").run(erased);
    return () => {
      this.#entered.add(id);
      if (erased !== undefined) this.#erased.add(erased);
      this.look(peer);
    };
  }

  /** Whether everything a peer shows was written, and nothing has come back. */
  look(peer: Peer): void {
    if (peer.running === undefined) return;
    const seen = this.#seen.get(peer) ?? { shown: new Set(), gone: new Set() };
    this.#seen.set(peer, seen);
    const now = new Set(numbersIn(peer.running.db));
    for (const id of now) {
      if (!this.#entered.has(id)) {
        this.#fail(`peer ${peer.number} shows journal entry ${id}, which was never committed`);
      }
      if (seen.gone.has(id)) {
        this.#fail(`resurrected: journal entry ${id} is back at peer ${peer.number}`);
      }
      seen.shown.add(id);
      if (!this.#erased.has(id)) this.#doubtful.delete(id);
    }
    for (const id of seen.shown) {
      if (now.has(id)) continue;
      if (!this.#erased.has(id)) {
        this.#fail(`lost: journal entry ${id} is gone from peer ${peer.number}, nobody deleted it`);
      }
      seen.shown.delete(id);
      seen.gone.add(id);
      this.#doubtful.delete(id);
    }
  }

  /** The peer's file has lost something, or is gone with all it had. */
  lost(peer: Peer): void {
    this.#seen.delete(peer);
    const rest = [...this.#seen.values()];
    for (const id of this.#entered) {
      const isErased = this.#erased.has(id);
      const isSure = rest.some(({ shown, gone }) => gone.has(id) || (!isErased && shown.has(id)));
      if (!isSure) this.#doubtful.add(id);
    }
  }

  /** In the end, when all peers hold the same. */
  finish(peers: readonly Peer[]): void {
    for (const peer of peers) {
      if (peer.running === undefined) continue;
      this.look(peer);
      const shown = new Set(numbersIn(peer.running.db));
      for (const id of this.#entered) {
        if (this.#doubtful.has(id)) continue;
        const isErased = this.#erased.has(id);
        if (shown.has(id) === !isErased) continue;
        const what = isErased ? `still shows ${id}, which was deleted` : `does not show ${id}`;
        this.#fail(`lost: peer ${peer.number} ${what} (journal)`);
      }
    }
  }
}

function numbersIn(db: Database.Database): number[] {
  return prepared(db, "SELECT id FROM journal ORDER BY id").pluck().all() as number[];
}

function anyOf(db: Database.Database, index: number, but: number): number | undefined {
  const all = numbersIn(db).filter((id) => id !== but);
  return all[index % Math.max(all.length, 1)];
}
